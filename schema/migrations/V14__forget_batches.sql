-- Each run of a station has rows of its own in ingest_batch, so old ones are removed: those of runs
-- that have stored nothing for a time. A journal that still has records of such a run is not harmed:
-- where the commit ledger has no row, the station compares its records with the rows that are stored.
--
-- forget_batches(station, unused_for): how many rows were removed. A running station stores its
-- figures each second, so all rows of its run are kept. SECURITY DEFINER, since the writer role
-- deletes nothing; search_path and schema as in V12.
DO $$
DECLARE
    schema_name text := current_schema();
BEGIN
    EXECUTE format($definition$
        CREATE FUNCTION %1$I.forget_batches(station text, unused_for interval)
        RETURNS bigint
        LANGUAGE sql VOLATILE SECURITY DEFINER
        SET search_path = pg_catalog, %1$I, pg_temp
        AS $body$
            WITH forgotten AS (
                DELETE FROM %1$I.ingest_batch AS ledger
                WHERE ledger.station = $1 AND ledger.journal IN (
                    SELECT run.journal FROM %1$I.ingest_batch AS run
                    WHERE run.station = $1
                    GROUP BY run.journal
                    HAVING max(run.updated_at) < now() - greatest($2, INTERVAL '1 day'))
                RETURNING 1)
            SELECT count(*) FROM forgotten
        $body$
    $definition$, schema_name);
    EXECUTE format('COMMENT ON FUNCTION %I.forget_batches(text, interval) IS %L', schema_name,
                   'Removes the commit ledger of runs of a station that have stored nothing for a '
                   'time, a day at least');
    EXECUTE format('REVOKE ALL ON FUNCTION %I.forget_batches(text, interval) FROM PUBLIC',
                   schema_name);
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'orbitstream_writer') THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION %I.forget_batches(text, interval)
                        TO orbitstream_writer', schema_name);
    END IF;
END
$$;

COMMENT ON COLUMN ingest_batch.journal IS 'Identity of the run of a station whose numbers next counts';
COMMENT ON COLUMN ingest_batch.next IS 'First number of this run and shard that is not stored yet';
COMMENT ON COLUMN ingest_batch.samples IS 'Rows stored from this run and shard so far';
