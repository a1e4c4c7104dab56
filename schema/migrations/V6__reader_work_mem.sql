-- A panel that sums up all links of a large constellation sorts or hashes some hundred thousand rows
-- at each refresh: with PostgreSQL's 4 MB it does so on disk. The reader has few connections (Grafana's
-- datasource opens ten), so that this much for each of them is affordable.
DO $$
BEGIN
    -- What an administrator has set already stays.
    WHILE EXISTS (SELECT FROM pg_roles WHERE rolname = 'orbitstream_reader')
        AND NOT EXISTS (
            SELECT FROM pg_roles, unnest(rolconfig) AS present
            WHERE rolname = 'orbitstream_reader' AND present LIKE 'work_mem=%')
    LOOP
        BEGIN
            ALTER ROLE orbitstream_reader SET work_mem = '32MB';
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'this user may not set work_mem of role orbitstream_reader: ask an administrator for ALTER ROLE orbitstream_reader SET work_mem = ''32MB''';
                EXIT;
            WHEN internal_error THEN
                -- "Tuple concurrently updated": another database of this cluster was migrated in
                -- the same moment, and its transaction is over now. Look again.
                NULL;
        END;
    END LOOP;
END
$$;
