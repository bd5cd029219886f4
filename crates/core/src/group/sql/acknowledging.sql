-- Fails if no transaction is open.
SAVEPOINT pgherald;
RELEASE SAVEPOINT pgherald;
SET LOCAL pgherald.acknowledging = 'on';
-- From here on, each written row is found by its whole key.
SET LOCAL enable_seqscan = off;
SET LOCAL idle_in_transaction_session_timeout =
