-- How large batches are: samples stored over batches stored.

ALTER TABLE station_health ADD COLUMN batches bigint;
COMMENT ON COLUMN station_health.batches IS 'Batches that were stored, each in a transaction of its own; NULL in rows of before it was counted';
