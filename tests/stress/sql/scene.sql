-- Tables beside the watched table jobs (id, n, version), whose version counts the writes of a row.
-- One row per committed write. No trigger watches this table. After a crash of the server, versions and transaction ids are
-- assigned again, but numbers of writes are not.
CREATE TABLE written (
    n bigint PRIMARY KEY,
    id int NOT NULL,
    version bigint NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- Start time of the server that assigned the transaction id.
    server timestamptz NOT NULL DEFAULT pg_postmaster_start_time()
);
-- The effects of the groups' handlers, in order.
CREATE TABLE effects (
    number bigserial PRIMARY KEY,
    n bigint NOT NULL,
    id int NOT NULL,
    version bigint NOT NULL,
    outbox_id bigint,
    worker text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX effects_by_n ON effects (n);
CREATE TABLE resyncs (reason text NOT NULL, worker text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
-- Trimmed rows of the outbox, which the audit shows.
CREATE TABLE trimmed (
    id bigint PRIMARY KEY, xid xid8, sent_at timestamptz, hash int, operation "char", columns text
);
CREATE VIEW recorded AS
    SELECT id, xid, sent_at, hash, operation, (columns::json ->> 'n')::bigint AS n FROM pgherald.outbox
    UNION ALL
    SELECT id, xid, sent_at, hash, operation, (columns::json ->> 'n')::bigint AS n FROM trimmed AS t
    WHERE NOT EXISTS (SELECT FROM pgherald.outbox AS o WHERE o.id = t.id);
-- Writes each of the rows once, in one statement.
CREATE FUNCTION write(keys int[], numbers bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH changed AS (
        INSERT INTO jobs AS j (id, n, version)
        SELECT key, number, 1 FROM unnest(keys, numbers) AS a (key, number)
        ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n, version = j.version + 1
        RETURNING j.n, j.id, j.version
    )
    INSERT INTO written (n, id, version) SELECT c.n, c.id, c.version FROM changed AS c;
END
$$;
-- Copies the outbox, and trims it as far as groups allow.
CREATE FUNCTION copy_and_trim() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO trimmed SELECT id, xid, sent_at, hash, operation, columns FROM pgherald.outbox ON CONFLICT DO NOTHING;
    RETURN pgherald.trim_outbox('0 s', 1 << 30);
END
$$;
