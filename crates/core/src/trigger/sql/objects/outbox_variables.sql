    pgherald_depth pg_catalog.int4;
    pgherald_deepest pg_catalog.int4;
    pgherald_mark pg_catalog.text;
    pgherald_as_installed pg_catalog.bool;
    pgherald_rows pg_catalog.text;
