-- Packs the rows of one statement into payloads that pg_notify accepts, and sends them.
--
--   channel   the channel
--   operation TG_OP
--   relation  the JSON members "schema" and "table"
--   key       JSON array of the key's column names, followed by the member "types" if there is one; null for a payload about the
--             whole table
--   keys      the key of each row as JSON; a null element is a key that is too large to send
--   cols      the columns of each row as JSON; an element is null if it is too large; null if the specification names no columns
--   old_keys  the keys before an UPDATE
--
-- Inherits search_path from the trigger functions, its only callers.
CREATE OR REPLACE FUNCTION pgherald.notify_rows(
    channel text, operation text, relation text, key text, keys text[], cols text[], old_keys text[]
) RETURNS void LANGUAGE plpgsql AS {{body}};
REVOKE ALL ON FUNCTION pgherald.notify_rows(text, text, text, text, text[], text[], text[])
    FROM PUBLIC;
COMMENT ON FUNCTION pgherald.notify_rows(text, text, text, text, text[], text[], text[])
    IS {{comment}};
