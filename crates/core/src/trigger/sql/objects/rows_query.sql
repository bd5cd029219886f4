-- Returns a query that lists the changed rows of one statement, for cases that the function's own query cannot handle: a column was
-- renamed, dropped or got another type, or nested statements of triggers were recorded before this one. The query returns key k,
-- columns c, old columns o, names of the changed columns d, and operation p ("D" for a row that an UPDATE lost on its way to another
-- partition). Null if a key column is gone.
--
--   relation    TG_RELID
--   operation   TG_OP
--   label       the table's name, for warnings
--   names       the columns: first those of the key, as many as key_length
--   types       the type of each at the installation, as to_regtype reads it
--   expressions the JSON expression of each, for as long as it has that type
--   watched     the columns of which at least one must change for an UPDATE to count; empty if every UPDATE counts
--   has_old     whether the specification includes old columns
--   pinned      whether the function pins the settings that text depends on
--   is_nested   whether to read the rows as they are in the table now
--
-- The query runs under the caller's search_path, so every name in it is qualified. Values are converted by the type's output
-- function, and only types that come with the server are compared in the table, so that no code of the table's owner runs.
CREATE OR REPLACE FUNCTION pgherald.rows_query(
    relation oid, operation text, label text, names text[], types text[], expressions text[], key_length integer,
    watched text[], has_old boolean, pinned boolean, is_nested boolean
) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS {{body}};
REVOKE ALL ON FUNCTION pgherald.rows_query(
    oid, text, text, text[], text[], text[], integer, text[], boolean, boolean, boolean
) FROM PUBLIC;
COMMENT ON FUNCTION pgherald.rows_query(
    oid, text, text, text[], text[], text[], integer, text[], boolean, boolean, boolean
) IS {{comment}};
