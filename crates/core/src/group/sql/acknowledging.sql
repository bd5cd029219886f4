-- Refused where no transaction is open.
SAVEPOINT pgherald;
RELEASE SAVEPOINT pgherald;
SET LOCAL pgherald.acknowledging = 'on';
-- Only what is found by a whole key is written from here on.
SET LOCAL enable_seqscan = off;
SET LOCAL idle_in_transaction_session_timeout =
