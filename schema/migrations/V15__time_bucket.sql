-- time_bucket(interval, timestamptz) is found in the schema of the tables, wherever TimescaleDB is:
-- dashboards and people call it without a schema, and the extension may be in one that is not in
-- their search_path. Where the extension is in the schema of the tables, it is there already; on
-- plain tables V4 has made it.
--
-- Inlined where it is called, so that chunks are excluded as with the original. TimescaleDB takes
-- only its own function in the definition of a continuous aggregate: later migrations that make one
-- have to name the extension's schema.
DO $$
DECLARE
    extension_schema name;
BEGIN
    SELECT space.nspname INTO extension_schema
    FROM pg_extension AS extension
        JOIN pg_namespace AS space ON space.oid = extension.extnamespace
    WHERE extension.extname = 'timescaledb';
    IF extension_schema IS NULL
        OR to_regprocedure(format('%I.time_bucket(interval, timestamptz)', current_schema()))
            IS NOT NULL
    THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE FUNCTION time_bucket(width interval, moment timestamptz)
                    RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
                    RETURN %I.time_bucket(width, moment)', extension_schema);
    COMMENT ON FUNCTION time_bucket(interval, timestamptz) IS
        'The function of TimescaleDB of the same name, which is in another schema';
END
$$;
