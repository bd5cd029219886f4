-- One installer at a time; the lock goes with the transaction.
SELECT pg_catalog.pg_advisory_xact_lock(8099557239769099364);
