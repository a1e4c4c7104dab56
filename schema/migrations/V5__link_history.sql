-- Link health by minute, hour and day, as telemetry has it since V4: a question about the loss of a
-- month should not have to read a row for each stream and second.
--
-- bucket, station, satellite_id, apid, the sums of what link_health counts, how many intervals were
-- summed, the average of their median latencies, and the longest latency. Hour and day are made
-- from the minutes. Without TimescaleDB they are views of link_health itself.
DO $$
DECLARE
    of_rows text := 'count(*) AS intervals, sum(seconds::double precision) AS seconds,
                     sum(received)::bigint AS received, sum(missed)::bigint AS missed,
                     sum(late)::bigint AS late, sum(duplicate)::bigint AS duplicate,
                     sum(bytes)::bigint AS bytes,
                     avg(latency_ms_p50) AS latency_ms_p50_avg,
                     count(latency_ms_p50) AS latency_ms_p50_count,
                     max(latency_ms_max) AS latency_ms_max';
    of_buckets text := 'sum(intervals)::bigint AS intervals, sum(seconds) AS seconds,
                     sum(received)::bigint AS received, sum(missed)::bigint AS missed,
                     sum(late)::bigint AS late, sum(duplicate)::bigint AS duplicate,
                     sum(bytes)::bigint AS bytes,
                     sum(latency_ms_p50_avg * latency_ms_p50_count)
                         / nullif(sum(latency_ms_p50_count), 0)::double precision
                         AS latency_ms_p50_avg,
                     sum(latency_ms_p50_count)::bigint AS latency_ms_p50_count,
                     max(latency_ms_max) AS latency_ms_max';
    level record;
    has_timescaledb boolean := EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb');
    is_first boolean;
BEGIN
    FOR level IN
        SELECT * FROM (VALUES ('link_health_1m', '1 minute', 'link_health', 'time'),
                              ('link_health_1h', '1 hour', 'link_health_1m', 'bucket'),
                              ('link_health_1d', '1 day', 'link_health_1h', 'bucket'))
                      AS levels (name, width, source, moment)
    LOOP
        is_first := level.source = 'link_health';
        EXECUTE format('CREATE %s %I %s AS
                        SELECT time_bucket(%L, %I) AS bucket, station, satellite_id, apid, %s
                        FROM %I GROUP BY 1, 2, 3, 4 %s',
                       CASE WHEN has_timescaledb THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END,
                       level.name,
                       CASE WHEN has_timescaledb THEN
                           'WITH (timescaledb.continuous, timescaledb.materialized_only = false)'
                       ELSE '' END,
                       level.width,
                       CASE WHEN has_timescaledb THEN level.moment ELSE 'time' END,
                       CASE WHEN is_first OR NOT has_timescaledb THEN of_rows ELSE of_buckets END,
                       CASE WHEN has_timescaledb THEN level.source ELSE 'link_health' END,
                       CASE WHEN has_timescaledb THEN 'WITH NO DATA' ELSE '' END);
        EXECUTE format('COMMENT ON VIEW %I IS %L', level.name,
                       'Link health by ' || level.width || ', per station, satellite and APID: '
                       'sums, the average of the median latencies and the longest. Loss is '
                       '(sum(missed) - sum(late)) / (sum(received) + sum(missed) - sum(late))');
    END LOOP;
END
$$;

-- Aggregates go to the columnstore like what they are made from: a question reads a few of their
-- columns, and the minutes would otherwise take more room than the samples.
DO $$
DECLARE
    layout record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        RETURN;
    END IF;
    FOR layout IN
        SELECT source || level AS name, segments
        FROM (VALUES ('telemetry', 'satellite_id'),
                     ('link_health', 'station, satellite_id, apid')) AS sources (source, segments),
             unnest(ARRAY['_1m', '_1h', '_1d']) AS level
    LOOP
        EXECUTE format('ALTER MATERIALIZED VIEW %I SET (timescaledb.enable_columnstore,
                                                        timescaledb.segmentby = %L,
                                                        timescaledb.orderby = ''bucket DESC'')',
                       layout.name, layout.segments);
    END LOOP;
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'orbitstream_reader') THEN
        GRANT SELECT ON link_health_1m, link_health_1h, link_health_1d TO orbitstream_reader;
    END IF;
END
$$;
