-- The newest sample of every satellite, however old it is.
--
-- Asked of the hypertable without a bound in time, that question plans all chunks of a month to read
-- one row of the newest. Here the few chunks of the last hours are asked first, older ones only for
-- satellites that are missing in them, and all of them only for satellites silent for days. The bounds
-- have to be constants of the inner query, since chunks are ruled out when it is planned.
CREATE FUNCTION telemetry_latest() RETURNS SETOF telemetry
LANGUAGE plpgsql STABLE ROWS 100 AS $$
DECLARE
    silent text[] := ARRAY(SELECT name FROM satellite);
    heard text[];
    bound text;
    sample telemetry;
BEGIN
    FOREACH bound IN ARRAY ARRAY[format('AND time > %L', now() - INTERVAL '6 hours'),
                                 format('AND time > %L', now() - INTERVAL '2 days'),
                                 '']
    LOOP
        heard := '{}';
        FOR sample IN EXECUTE format(
            'SELECT newest.*
             FROM unnest($1) AS name
             CROSS JOIN LATERAL (
                 SELECT * FROM telemetry WHERE satellite_id = name %s
                 ORDER BY time DESC LIMIT 1) AS newest', bound) USING silent
        LOOP
            heard := heard || sample.satellite_id;
            RETURN NEXT sample;
        END LOOP;
        silent := ARRAY(SELECT unnest(silent) EXCEPT SELECT unnest(heard));
        EXIT WHEN silent = '{}';
    END LOOP;
END
$$;

COMMENT ON FUNCTION telemetry_latest() IS
    'The newest sample of every satellite, however old; fast, since it asks the newest chunks first';
