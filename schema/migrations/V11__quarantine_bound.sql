-- Quarantine is bounded: frames that are quarantined for their date only so many a second, the rest
-- counted as `quarantine_dropped`, and rows only for a time: a hypertable where TimescaleDB is, with the
-- period of ../policies.sql. Rows of station_health of before are of stations that knew no such bound:
-- they dropped none.

ALTER TABLE station_health ADD COLUMN quarantine_dropped bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN station_health.quarantine_dropped IS 'Frames dated outside --time-past and --time-future that were accepted and not stored in quarantine: more than --quarantine-per-second';

-- Existing rows move into chunks of a day, by the time at which they were quarantined.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM create_hypertable('quarantine', by_range('time', INTERVAL '1 day'),
                                  create_default_indexes => false, migrate_data => true);
    END IF;
END
$$;
