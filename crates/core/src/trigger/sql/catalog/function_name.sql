-- The function of the table written $1, within the 63 bytes of an identifier. Not md5, which servers in
-- FIPS mode refuse.
SELECT 'notify_' OPERATOR(pg_catalog.||) pg_catalog.left(
    pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to($1, 'UTF8')), 'hex'), 16
)
