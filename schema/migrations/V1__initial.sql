-- The first tables: what the satellites sent, what could not be stored, and how far each writer is.
--
-- Runs in one transaction. Where the extension timescaledb is present in the database, telemetry
-- and attitude become hypertables; without it they are ordinary tables with the same columns and
-- the same index, and every query works the same.
--
-- telemetry and attitude have no primary key, no foreign key and no row trigger on purpose: each of
-- them makes a COPY into the columnstore fall back to single rows. What keeps a sample from being
-- stored twice is ingest_batch, below.

CREATE TABLE satellite_mode (
    mode smallint PRIMARY KEY,
    name text NOT NULL UNIQUE
);

COMMENT ON TABLE satellite_mode IS 'Names of the values of telemetry.mode';

INSERT INTO satellite_mode (mode, name)
VALUES (0, 'safe'), (1, 'nominal'), (2, 'payload'), (3, 'detumble');


CREATE TABLE satellite (
    spacecraft_id int PRIMARY KEY CHECK (spacecraft_id BETWEEN 1 AND 65535),
    name text NOT NULL UNIQUE
);

COMMENT ON TABLE satellite IS 'The satellites heard so far';
COMMENT ON COLUMN satellite.spacecraft_id IS 'Number in the frame, 1 to 65535';
COMMENT ON COLUMN satellite.name IS 'Name in every other table: SAT-01, SAT-02, ... SAT-100, ...';


CREATE TABLE telemetry (
    time timestamptz NOT NULL,
    satellite_id text NOT NULL,
    station text,
    received_at timestamptz,
    sequence int,
    boot_count int,
    mode smallint,
    in_eclipse boolean,
    charging boolean,
    heater_on boolean,
    cpu_temp real,
    battery_temp real,
    panel_temp real,
    payload_temp real,
    battery_voltage real,
    bus_voltage real,
    battery_current real,
    solar_current real,
    battery_charge real,
    signal_strength real,
    cpu_load real,
    storage_used double precision,
    latitude double precision,
    longitude double precision,
    altitude double precision,
    speed real
);

COMMENT ON TABLE telemetry IS 'Housekeeping of the satellites: one row per frame of kind health (APID 100) or JSON sample. Everything but time and satellite_id may be NULL: a JSON sample carries only some channels';
COMMENT ON COLUMN telemetry.time IS 'When the satellite measured';
COMMENT ON COLUMN telemetry.satellite_id IS 'Name of the satellite, such as SAT-01';
COMMENT ON COLUMN telemetry.station IS 'Ground station that received the sample';
COMMENT ON COLUMN telemetry.received_at IS 'When the ground station received it';
COMMENT ON COLUMN telemetry.sequence IS 'Full 30-bit frame counter of this satellite, kind and boot; NULL for JSON samples';
COMMENT ON COLUMN telemetry.boot_count IS 'Boot of the satellite that the sequence belongs to; NULL for JSON samples';
COMMENT ON COLUMN telemetry.mode IS 'Operating mode, named in satellite_mode';
COMMENT ON COLUMN telemetry.in_eclipse IS 'The satellite is in the shadow of the Earth';
COMMENT ON COLUMN telemetry.charging IS 'The battery is being charged';
COMMENT ON COLUMN telemetry.heater_on IS 'The battery heater is on';
COMMENT ON COLUMN telemetry.cpu_temp IS 'On-board computer, degrees Celsius';
COMMENT ON COLUMN telemetry.battery_temp IS 'Battery, degrees Celsius';
COMMENT ON COLUMN telemetry.panel_temp IS 'Solar panel, degrees Celsius';
COMMENT ON COLUMN telemetry.payload_temp IS 'Payload, degrees Celsius';
COMMENT ON COLUMN telemetry.battery_voltage IS 'V';
COMMENT ON COLUMN telemetry.bus_voltage IS 'V';
COMMENT ON COLUMN telemetry.battery_current IS 'A; positive while the battery is being charged';
COMMENT ON COLUMN telemetry.solar_current IS 'A';
COMMENT ON COLUMN telemetry.battery_charge IS 'State of charge, percent';
COMMENT ON COLUMN telemetry.signal_strength IS 'dBm';
COMMENT ON COLUMN telemetry.cpu_load IS 'Percent';
COMMENT ON COLUMN telemetry.storage_used IS 'MiB';
COMMENT ON COLUMN telemetry.latitude IS 'Geodetic, degrees, north positive';
COMMENT ON COLUMN telemetry.longitude IS 'Degrees, east positive';
COMMENT ON COLUMN telemetry.altitude IS 'Above the ellipsoid, km';
COMMENT ON COLUMN telemetry.speed IS 'km/s';


CREATE TABLE attitude (
    time timestamptz NOT NULL,
    satellite_id text NOT NULL,
    station text,
    received_at timestamptz,
    sequence int,
    boot_count int,
    q0 real,
    q1 real,
    q2 real,
    q3 real,
    rate_x real,
    rate_y real,
    rate_z real,
    wheel_1 real,
    wheel_2 real,
    wheel_3 real,
    wheel_4 real
);

COMMENT ON TABLE attitude IS 'Orientation of the satellites: one row per frame of kind attitude (APID 101) or JSON sample. Everything but time and satellite_id may be NULL';
COMMENT ON COLUMN attitude.time IS 'When the satellite measured';
COMMENT ON COLUMN attitude.satellite_id IS 'Name of the satellite, such as SAT-01';
COMMENT ON COLUMN attitude.station IS 'Ground station that received the sample';
COMMENT ON COLUMN attitude.received_at IS 'When the ground station received it';
COMMENT ON COLUMN attitude.sequence IS 'Full 30-bit frame counter of this satellite, kind and boot; NULL for JSON samples';
COMMENT ON COLUMN attitude.boot_count IS 'Boot of the satellite that the sequence belongs to; NULL for JSON samples';
COMMENT ON COLUMN attitude.q0 IS 'Attitude quaternion, component 0, no unit';
COMMENT ON COLUMN attitude.q1 IS 'Attitude quaternion, component 1, no unit';
COMMENT ON COLUMN attitude.q2 IS 'Attitude quaternion, component 2, no unit';
COMMENT ON COLUMN attitude.q3 IS 'Attitude quaternion, component 3, no unit';
COMMENT ON COLUMN attitude.rate_x IS 'Angular rate about x, degrees per second';
COMMENT ON COLUMN attitude.rate_y IS 'Angular rate about y, degrees per second';
COMMENT ON COLUMN attitude.rate_z IS 'Angular rate about z, degrees per second';
COMMENT ON COLUMN attitude.wheel_1 IS 'Speed of reaction wheel 1, revolutions per minute';
COMMENT ON COLUMN attitude.wheel_2 IS 'Speed of reaction wheel 2, revolutions per minute';
COMMENT ON COLUMN attitude.wheel_3 IS 'Speed of reaction wheel 3, revolutions per minute';
COMMENT ON COLUMN attitude.wheel_4 IS 'Speed of reaction wheel 4, revolutions per minute';


CREATE TABLE quarantine (
    time timestamptz NOT NULL DEFAULT now(),
    station text,
    reason text NOT NULL,
    sqlstate text,
    raw bytea NOT NULL
);

COMMENT ON TABLE quarantine IS 'Samples that cannot be stored as they are, kept whole so that nothing is lost';
COMMENT ON COLUMN quarantine.time IS 'When the sample was set aside, not when it was measured';
COMMENT ON COLUMN quarantine.reason IS 'Why, in words';
COMMENT ON COLUMN quarantine.sqlstate IS 'Error code of the database that refused the row; NULL when the station itself refused it';
COMMENT ON COLUMN quarantine.raw IS 'The sample as it came: the octets of the frame, or the JSON text';

CREATE INDEX quarantine_time_idx ON quarantine (time DESC);


-- One small row is updated with every batch. Neither next nor samples nor updated_at is indexed and
-- three quarters of each page stay free, so these updates stay heap-only: no index entry, and the
-- dead versions are pruned in passing instead of waiting for a vacuum.
CREATE TABLE ingest_batch (
    station text NOT NULL,
    journal bigint NOT NULL,
    shard smallint NOT NULL CHECK (shard BETWEEN 0 AND 63),
    next bigint NOT NULL,
    samples bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (station, journal, shard)
) WITH (fillfactor = 25);

COMMENT ON TABLE ingest_batch IS 'The commit ledger: one row per station, journal and shard. A writer advances next in the same transaction as the rows it copies, so a batch whose outcome is unknown is found either stored and counted here, or neither, and a retry never stores it twice';
COMMENT ON COLUMN ingest_batch.journal IS 'Identity of the journal (or of the run, without one) whose positions next counts';
COMMENT ON COLUMN ingest_batch.shard IS 'Spacecraft id modulo 64; samples of one shard are stored in order';
COMMENT ON COLUMN ingest_batch.next IS 'First position in this journal and shard that is not stored yet';
COMMENT ON COLUMN ingest_batch.samples IS 'Rows stored from this journal and shard so far';
COMMENT ON COLUMN ingest_batch.updated_at IS 'When the last batch was stored';


-- Chunks of six hours: the newest chunk takes every insert, so it and its index should stay in
-- memory. At 1,000 rows a second six hours are 22 million rows, 5 GB with the index, which a
-- machine with 8 GB can hold; a day would be four times that. Shorter chunks mean more of them for
-- every query over weeks to plan (30 days are 120 chunks), and writers wait while one is created.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM create_hypertable('telemetry', by_range('time', INTERVAL '6 hours'),
                                  create_default_indexes => false);
        PERFORM create_hypertable('attitude', by_range('time', INTERVAL '6 hours'),
                                  create_default_indexes => false);
    END IF;
END
$$;

-- One satellite over a span of time, and the newest sample of one satellite, are what people
-- ask for. A second index on time alone would cost a third of the insert rate.
CREATE INDEX telemetry_satellite_id_time_idx ON telemetry (satellite_id, time DESC);
CREATE INDEX attitude_satellite_id_time_idx ON attitude (satellite_id, time DESC);
