-- Every period of the stored history, in one place. `receiver migrate` runs this after the
-- migrations, each time, with the periods of its options; running it again changes nothing.
--
-- | what                                    | option              | unless given |
-- |-----------------------------------------|---------------------|--------------|
-- | samples, link and station health,       | --retention         | 30 days      |
-- | refused and quarantined frames kept     |                     |              |
-- | minutes kept                            | --retention-minutes | 180 days     |
-- | hours kept                              | --retention-hours   | 730 days     |
-- | days kept                               |                     | for ever     |
-- | moved to the columnstore after          | --columnstore-after | 1 day        |
--
-- Aggregates are refreshed each minute, half hour and six hours. A refresh looks for changes as far
-- back as that is kept which it is made from, and half a day more: so it finds whatever is stored
-- late, after an outage or a replay, and costs only what changed. What is kept is dropped half a
-- day later still, so that no refresh ever reaches to where samples have been dropped: it would
-- erase the history made from them. Where a longer period is set, samples may have been dropped
-- already by the shorter one: then the reach grows no further than to the oldest that are left, and
-- to its full length when this is run again later.
--
-- Oldest first, since what lies before the newest refreshed bucket is read from the aggregate
-- alone: a gap behind it would show until it is filled. One level after the other, since each is
-- made from the one below. In steps of a day of minutes or a month of hours or days, each of them
-- one transaction: with steps of ten buckets, as TimescaleDB has it, one sample that is weeks late
-- costs thousands of them.

DO $$
DECLARE
    retention interval := current_setting('orbitstream.retention');
    retention_minutes interval := current_setting('orbitstream.retention_minutes');
    retention_hours interval := current_setting('orbitstream.retention_hours');
    columnstore_after interval := current_setting('orbitstream.columnstore_after');
    dropped_late interval := INTERVAL '1 day';
    refreshed_late interval := INTERVAL '12 hours';
    refreshed_past interval;
    oldest timestamptz;
    before interval;
    policy record;
BEGIN
    -- What the tables are decides: the extension may have been installed beside plain ones.
    IF to_regclass('timescaledb_information.hypertables') IS NULL THEN
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM timescaledb_information.hypertables
                   WHERE hypertable_schema = current_schema() AND hypertable_name = 'telemetry')
    THEN
        RETURN;
    END IF;
    FOR policy IN
        SELECT * FROM (VALUES ('telemetry', retention),
                              ('attitude', retention),
                              ('link_health', retention),
                              ('station_health', retention),
                              ('rejected_frame', retention),
                              ('quarantine', retention),
                              ('telemetry_1m', retention_minutes),
                              ('link_health_1m', retention_minutes),
                              ('telemetry_1h', retention_hours),
                              ('link_health_1h', retention_hours)) AS policies (name, kept)
    LOOP
        PERFORM remove_retention_policy(policy.name::regclass, if_exists => true);
        PERFORM add_retention_policy(policy.name::regclass,
                                     drop_after => policy.kept + dropped_late);
    END LOOP;
    FOR policy IN
        SELECT source || level AS name, source || below AS made_from, levels.*
        FROM unnest(ARRAY['telemetry', 'link_health']) AS source,
             (VALUES ('_1m', '', retention, INTERVAL '1 minute', INTERVAL '1 minute',
                      INTERVAL '0', 1440),
                     ('_1h', '_1m', retention_minutes, INTERVAL '1 hour', INTERVAL '30 minutes',
                      INTERVAL '5 min', 720),
                     ('_1d', '_1h', retention_hours, INTERVAL '1 day', INTERVAL '6 hours',
                      INTERVAL '10 min', 30))
                 AS levels (level, below, kept, newest, every, after, step)
    LOOP
        refreshed_past := policy.kept + refreshed_late;
        SELECT min(range_start) INTO oldest
        FROM timescaledb_information.chunks AS chunk
        LEFT JOIN timescaledb_information.continuous_aggregates AS aggregate
            ON aggregate.view_schema = current_schema() AND aggregate.view_name = policy.made_from
        WHERE chunk.hypertable_schema
                  = coalesce(aggregate.materialization_hypertable_schema, current_schema())
          AND chunk.hypertable_name
                  = coalesce(aggregate.materialization_hypertable_name, policy.made_from);
        SELECT (config->>'start_offset')::interval INTO before
        FROM timescaledb_information.jobs
        WHERE proc_name = 'policy_refresh_continuous_aggregate'
          AND hypertable_schema = current_schema() AND hypertable_name = policy.name;
        IF before IS NOT NULL THEN
            refreshed_past := least(refreshed_past, greatest(before, now() - oldest));
        END IF;
        PERFORM remove_continuous_aggregate_policy(policy.name::regclass, if_exists => true);
        PERFORM add_continuous_aggregate_policy(policy.name::regclass,
                                                start_offset => refreshed_past,
                                                end_offset => policy.newest,
                                                schedule_interval => policy.every,
                                                initial_start => now() + policy.after,
                                                buckets_per_batch => policy.step,
                                                refresh_newest_first => false);
    END LOOP;
    -- After the refresh policies: some versions want them first.
    FOR policy IN
        SELECT unnest(ARRAY['telemetry', 'attitude', 'link_health', 'station_health',
                            'telemetry_1m', 'telemetry_1h', 'telemetry_1d',
                            'link_health_1m', 'link_health_1h', 'link_health_1d']) AS name
    LOOP
        CALL remove_columnstore_policy(policy.name::regclass, if_exists => true);
        CALL add_columnstore_policy(policy.name::regclass, after => columnstore_after);
    END LOOP;
END
$$;
