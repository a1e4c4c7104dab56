-- Which frames of a satellite are stored: the only question that the writer role can ask about the
-- samples. It may insert them and not read them; `receiver replay --once` has to know which are there.
--
-- stored_frames(table, satellite_id, from, to): one row for each row of that satellite whose time is
-- within from … to, both included. `table` is 'telemetry' or 'attitude' and nothing else. It tells
-- when, by which station, and the counters; no measured value.
--
-- It runs with the rights of its owner, so nothing of the caller's is looked up by it: search_path
-- has the system's catalogue first and temporary objects last, the table's name is one of a list and
-- qualified with its schema, and dates are written and read in one form whatever the session has set.
-- The schema is that of the migration, whose name may need quotes.
--
-- The times are constants of the inner query, since chunks are ruled out when it is planned.
DO $$
DECLARE
    schema_name text := current_schema();
    role_name text;
BEGIN
    EXECUTE format($definition$
        CREATE FUNCTION %1$I.stored_frames("table" text, satellite_id text,
                                           "from" timestamptz, "to" timestamptz)
        RETURNS TABLE ("time" timestamptz, station text, sequence int, boot_count int)
        LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1000
        SET search_path = pg_catalog, %1$I, pg_temp
        SET datestyle = 'ISO, YMD'
        SET timezone = 'UTC'
        AS $body$
        BEGIN
            IF $1 IS NULL OR $1 NOT IN ('telemetry', 'attitude') THEN
                RAISE EXCEPTION 'stored_frames: there is no data table of the name given'
                    USING ERRCODE = 'undefined_table';
            END IF;
            RETURN QUERY EXECUTE format(
                'SELECT time, station, sequence, boot_count FROM %%I.%%I
                 WHERE satellite_id = $1 AND time >= %%L AND time <= %%L',
                %1$L, $1, $3, $4) USING $2;
        END
        $body$
    $definition$, schema_name);
    EXECUTE format('COMMENT ON FUNCTION %I.stored_frames(text, text, timestamptz, timestamptz) IS %L',
                   schema_name,
                   'Which frames of a satellite are stored in telemetry or attitude, from a time to '
                   'another, both included: for the writer role, which cannot read these tables');
    EXECUTE format('REVOKE ALL ON FUNCTION
                    %I.stored_frames(text, text, timestamptz, timestamptz) FROM PUBLIC', schema_name);
    SELECT rolname INTO role_name FROM pg_roles WHERE rolname = 'orbitstream_writer';
    IF role_name IS NOT NULL THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION
                        %I.stored_frames(text, text, timestamptz, timestamptz) TO %I',
                       schema_name, role_name);
    END IF;
END
$$;
