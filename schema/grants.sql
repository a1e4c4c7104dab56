-- Rights that `receiver migrate` gives each time, after the migrations: on the record of migrations,
-- and the reader's sight of all else, since what V2 set as default holds only for tables of the user
-- that ran it.
DO $$
DECLARE
    reader name;
    relation regclass;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'orbitstream_writer') THEN
        GRANT SELECT ON refinery_schema_history TO orbitstream_writer;
    END IF;
    SELECT rolname INTO reader FROM pg_roles WHERE rolname = 'orbitstream_reader';
    IF reader IS NULL THEN
        RETURN;
    END IF;
    FOR relation IN
        SELECT class.oid
        FROM pg_class AS class
            JOIN pg_namespace AS space ON space.oid = class.relnamespace
        WHERE space.nspname = current_schema() AND class.relkind IN ('r', 'p', 'v', 'm')
            AND NOT has_table_privilege(reader, class.oid, 'SELECT')
            AND pg_has_role(class.relowner, 'USAGE')
    LOOP
        EXECUTE format('GRANT SELECT ON %s TO %I', relation, reader);
    END LOOP;
END
$$;
