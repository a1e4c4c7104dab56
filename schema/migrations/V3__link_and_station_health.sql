-- How well the links and the station itself are doing, and what was refused.
--
-- Rows are differences over an interval, so that sums over any span are right and a restart of the
-- station leaves no step.

CREATE TABLE link_health (
    time timestamptz NOT NULL,
    seconds real NOT NULL,
    station text NOT NULL,
    satellite_id text NOT NULL,
    apid int NOT NULL,
    received bigint NOT NULL,
    missed bigint NOT NULL,
    late bigint NOT NULL,
    duplicate bigint NOT NULL,
    bytes bigint NOT NULL,
    latency_ms_p50 real,
    latency_ms_max real
);

COMMENT ON TABLE link_health IS 'What came and what did not, per stream (satellite and APID) and interval. An interval is a second, longer when there are more than 1000 streams; a stream that falls silent gets rows for a minute, then one a minute. Loss over any span is (sum(missed) - sum(late)) / (sum(received) + sum(missed) - sum(late))';
COMMENT ON COLUMN link_health.time IS 'End of the interval, by the clock of the station';
COMMENT ON COLUMN link_health.seconds IS 'Length of the interval, s';
COMMENT ON COLUMN link_health.station IS 'Ground station that received';
COMMENT ON COLUMN link_health.satellite_id IS 'Name of the satellite, such as SAT-01';
COMMENT ON COLUMN link_health.apid IS 'Packet kind: 100 health, 101 attitude';
COMMENT ON COLUMN link_health.received IS 'New frames, late ones included, duplicates not';
COMMENT ON COLUMN link_health.missed IS 'Sequence counts that were skipped';
COMMENT ON COLUMN link_health.late IS 'Frames that filled a gap which was counted as missed, in this interval or an earlier one';
COMMENT ON COLUMN link_health.duplicate IS 'Frames that had come before';
COMMENT ON COLUMN link_health.bytes IS 'Octets of the valid frames that came, duplicates included';
COMMENT ON COLUMN link_health.latency_ms_p50 IS 'Median time from generation to arrival, ms, to about a tenth; NULL without frames';
COMMENT ON COLUMN link_health.latency_ms_max IS 'Longest time from generation to arrival, ms; NULL without frames';


CREATE TABLE station_health (
    time timestamptz NOT NULL,
    station text NOT NULL,
    datagrams bigint NOT NULL,
    bytes bigint NOT NULL,
    frames bigint NOT NULL,
    idle bigint NOT NULL,
    too_short bigint NOT NULL,
    length_mismatch bigint NOT NULL,
    crc_mismatch bigint NOT NULL,
    bad_version bigint NOT NULL,
    bad_layout bigint NOT NULL,
    unknown_apid bigint NOT NULL,
    unknown_spacecraft bigint NOT NULL,
    bad_time bigint NOT NULL,
    not_allowed bigint NOT NULL,
    accepted bigint NOT NULL,
    json bigint NOT NULL,
    recovered bigint NOT NULL,
    duplicate bigint NOT NULL,
    stale bigint NOT NULL,
    missed bigint NOT NULL,
    late bigint NOT NULL,
    lost bigint NOT NULL,
    resets bigint NOT NULL,
    kernel_dropped bigint NOT NULL,
    queue_dropped bigint NOT NULL,
    quarantined bigint NOT NULL,
    committed bigint NOT NULL,
    pending bigint NOT NULL
);

COMMENT ON TABLE station_health IS 'The ledger of the station, each second: every counter as its difference since the row before (lost can be negative, when late frames come), but pending as it stands. The refused frames stand under their reasons';
COMMENT ON COLUMN station_health.time IS 'End of the interval, by the clock of the station';
COMMENT ON COLUMN station_health.pending IS 'Samples received and not stored yet, at this moment';


CREATE TABLE rejected_frame (
    time timestamptz NOT NULL,
    station text NOT NULL,
    source inet,
    reason text NOT NULL,
    raw bytea NOT NULL
);

COMMENT ON TABLE rejected_frame IS 'Refused frames with their octets, up to a number each second that the station is set to; station_health counts all of them';
COMMENT ON COLUMN rejected_frame.time IS 'When it arrived';
COMMENT ON COLUMN rejected_frame.source IS 'Address that sent it';
COMMENT ON COLUMN rejected_frame.reason IS 'The first check that it failed';
COMMENT ON COLUMN rejected_frame.raw IS 'Its octets, or the first 2048 of them';


-- At most 1,000 rows of link_health a second: a day is 86 million, a chunk of six hours some 3 GB,
-- like those of telemetry. The others are small.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM create_hypertable('link_health', by_range('time', INTERVAL '6 hours'),
                                  create_default_indexes => false);
        PERFORM create_hypertable('station_health', by_range('time', INTERVAL '1 week'),
                                  create_default_indexes => false);
        PERFORM create_hypertable('rejected_frame', by_range('time', INTERVAL '1 day'),
                                  create_default_indexes => false);
    END IF;
END
$$;

CREATE INDEX link_health_satellite_id_time_idx ON link_health (satellite_id, time DESC);
CREATE INDEX link_health_time_idx ON link_health (time DESC);
CREATE INDEX station_health_time_idx ON station_health (time DESC);
CREATE INDEX rejected_frame_time_idx ON rejected_frame (time DESC);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'orbitstream_writer') THEN
        GRANT INSERT ON link_health, station_health, rejected_frame TO orbitstream_writer;
    END IF;
END
$$;
