-- Every period of the stored history, in one place. `receiver migrate` runs this after the
-- migrations, each time, with the periods of its options; running it again changes nothing.
--
-- | what                                    | option              | unless given |
-- |-----------------------------------------|---------------------|--------------|
-- | samples, link and station health kept   | --retention         | 30 days      |
-- | minutes kept                            | --retention-minutes | 180 days     |
-- | hours kept                              | --retention-hours   | 730 days     |
-- | days kept                               |                     | for ever     |
-- | moved to the columnstore after          | --columnstore-after | 1 day        |
--
-- Aggregates are refreshed each minute, half hour and six hours. A refresh looks for changes as far
-- back as a day less than samples are kept: what comes late, after an outage or a replay, is found
-- there, and costs only what changed. It never reaches to where samples have been dropped, which
-- would erase the history made from them. Oldest first, since what lies before the newest refreshed
-- bucket is read from the aggregate alone: a gap behind it would show until it is filled. And one
-- level after the other, since each is made from the one below.

DO $$
DECLARE
    retention interval := current_setting('orbitstream.retention');
    retention_minutes interval := current_setting('orbitstream.retention_minutes');
    retention_hours interval := current_setting('orbitstream.retention_hours');
    columnstore_after interval := current_setting('orbitstream.columnstore_after');
    refresh_past interval := retention - INTERVAL '1 day';
    policy record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        RETURN;
    END IF;
    FOR policy IN
        SELECT * FROM (VALUES ('telemetry', retention),
                              ('attitude', retention),
                              ('link_health', retention),
                              ('station_health', retention),
                              ('rejected_frame', retention),
                              ('telemetry_1m', retention_minutes),
                              ('telemetry_1h', retention_hours)) AS policies (name, kept)
    LOOP
        PERFORM remove_retention_policy(policy.name::regclass, if_exists => true);
        PERFORM add_retention_policy(policy.name::regclass, drop_after => policy.kept);
    END LOOP;
    FOR policy IN
        SELECT unnest(ARRAY['telemetry', 'attitude', 'link_health', 'station_health']) AS name
    LOOP
        CALL remove_columnstore_policy(policy.name::regclass, if_exists => true);
        CALL add_columnstore_policy(policy.name::regclass, after => columnstore_after);
    END LOOP;
    FOR policy IN
        SELECT * FROM (VALUES ('telemetry_1m', INTERVAL '1 minute', INTERVAL '1 minute', INTERVAL '0'),
                              ('telemetry_1h', INTERVAL '1 hour', INTERVAL '30 minutes', INTERVAL '5 min'),
                              ('telemetry_1d', INTERVAL '1 day', INTERVAL '6 hours', INTERVAL '10 min'))
                      AS policies (name, newest, every, after)
    LOOP
        PERFORM remove_continuous_aggregate_policy(policy.name::regclass, if_exists => true);
        PERFORM add_continuous_aggregate_policy(policy.name::regclass,
                                                start_offset => refresh_past,
                                                end_offset => policy.newest,
                                                schedule_interval => policy.every,
                                                initial_start => now() + policy.after,
                                                refresh_newest_first => false);
    END LOOP;
END
$$;
