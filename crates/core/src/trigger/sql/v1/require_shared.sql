-- Fails if somebody uninstalled the last table since this was planned.
SELECT 'pgherald.notify_rows(text,text,text,text,text[],text[],text[])'::pg_catalog.regprocedure;
