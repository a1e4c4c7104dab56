-- Which station an event was found by: what it leaves open at its end, its next run closes.

ALTER TABLE anomaly ADD COLUMN station text;
COMMENT ON COLUMN anomaly.station IS 'Ground station that found it';
CREATE INDEX anomaly_station_open_idx ON anomaly (station) WHERE closed_at IS NULL;
