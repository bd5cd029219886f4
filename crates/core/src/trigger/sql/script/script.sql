-- Triggers of pgherald {{release}} on the tables that are listed below, written by `pgherald install --migration`.
--
-- This is one statement: it takes effect as a whole, within a transaction and without one. It finds out by itself what is
-- installed, so it can run on every database, and running it again changes nothing.
DO {{body}};
