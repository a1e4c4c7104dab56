-- Sets the passwords of the roles that the migrations made, from the environment. Run by psql as
-- the owner after every migration (compose.yaml, service role-passwords); may be repeated.
--
-- The statements carry a password, so the server is told to log none of them, failed or not.

\set ON_ERROR_STOP 1
\getenv writer_password ORBITSTREAM_WRITER_PASSWORD
\getenv reader_password ORBITSTREAM_READER_PASSWORD

SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';

-- Passwords stand in DATABASE_URL as they are. Others would be set here and fail to log in later.
SELECT :'writer_password' ~ '^[A-Za-z0-9._~-]+$' AND :'reader_password' ~ '^[A-Za-z0-9._~-]+$'
    AS usable \gset
\if :usable
\else
    DO $$ BEGIN
        RAISE EXCEPTION 'passwords may hold letters, digits and - . _ ~ only'
            USING HINT = 'Change ORBITSTREAM_WRITER_PASSWORD and ORBITSTREAM_READER_PASSWORD in .env.';
    END $$;
\endif

ALTER ROLE orbitstream_writer PASSWORD :'writer_password';
ALTER ROLE orbitstream_reader PASSWORD :'reader_password';
