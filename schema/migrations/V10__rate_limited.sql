-- Datagrams of sources that sent more than they may. Rows of before are of stations that knew no
-- such limit: they refused none.

ALTER TABLE station_health ADD COLUMN rate_limited bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN station_health.rate_limited IS 'Datagrams refused because their source sent more than --source-rate';
