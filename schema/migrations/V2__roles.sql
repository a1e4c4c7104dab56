-- Two roles that need no more than this: the receiver writes as orbitstream_writer, Grafana and
-- people look as orbitstream_reader. The migrating user owns everything.
--
-- Roles belong to the whole cluster, grants to one database, so this must work when another
-- database of the cluster has made the roles already. The roles have no password: nobody gets in
-- until an administrator sets one (ALTER ROLE ... PASSWORD) or pg_hba.conf lets them. A migrating
-- user who may not create roles gets a notice and a schema that works for its owner.
--
-- The table that records migrations is not there for the grants below when the very first run
-- begins; `receiver migrate` grants it after the run.

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['orbitstream_writer', 'orbitstream_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I LOGIN', role_name);
            EXCEPTION
                WHEN insufficient_privilege THEN
                    RAISE NOTICE 'role % is missing and this user may not create it: ask an administrator for CREATE ROLE % LOGIN, then grant it what V2__roles.sql lists',
                        role_name, role_name;
                WHEN duplicate_object OR unique_violation THEN
                    -- Another database of this cluster was migrated in the same moment.
                    NULL;
            END;
        END IF;
    END LOOP;
END
$$;

-- The writer adds rows and cannot read, change or delete them; only its ledger it reads and moves.
-- (Registering a satellite is INSERT ... ON CONFLICT DO NOTHING without a column list, which needs
-- no SELECT.)
DO $$
DECLARE
    schema_name text := current_schema();
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'orbitstream_writer') THEN
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO orbitstream_writer', current_database());
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO orbitstream_writer', schema_name);
        GRANT INSERT ON telemetry, attitude, quarantine, satellite TO orbitstream_writer;
        GRANT SELECT, INSERT, UPDATE ON ingest_batch TO orbitstream_writer;
    END IF;
END
$$;

-- The reader sees every table, also those that later migrations make.
DO $$
DECLARE
    schema_name text := current_schema();
    setting record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orbitstream_reader') THEN
        RETURN;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO orbitstream_reader', current_database());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO orbitstream_reader', schema_name);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO orbitstream_reader', schema_name);
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO orbitstream_reader',
                   schema_name);

    -- A dashboard's query that runs longer than this is a mistake, and costs the writers time. What
    -- an administrator has set already stays.
    FOR setting IN
        SELECT * FROM (VALUES ('statement_timeout', '30s'),
                              ('default_transaction_read_only', 'on')) AS wanted (name, value)
        WHERE NOT EXISTS (
            SELECT FROM pg_roles, unnest(rolconfig) AS present
            WHERE rolname = 'orbitstream_reader' AND present LIKE wanted.name || '=%')
    LOOP
        BEGIN
            EXECUTE format('ALTER ROLE orbitstream_reader SET %I = %L', setting.name, setting.value);
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'this user may not set % of role orbitstream_reader: ask an administrator for ALTER ROLE orbitstream_reader SET % = %',
                    setting.name, setting.name, quote_literal(setting.value);
        END;
    END LOOP;
END
$$;
