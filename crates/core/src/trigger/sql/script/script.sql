-- Installs triggers of pgherald {{release}} on the tables that are listed below. Written by `pgherald install --migration`.
--
-- This is one statement, so it is atomic inside a transaction and outside of one. It inspects what is installed when it runs. So it
-- can run on every database, and running it again changes nothing.
DO {{body}};
