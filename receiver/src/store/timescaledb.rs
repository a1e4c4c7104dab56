//! The extension TimescaleDB as `migrate` finds it: whether tables can be hypertables, and where its
//! functions are.

use tokio_postgres::{GenericClient, Transaction};

use super::schema::Error;

/// What tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Those of PostgreSQL.
    Plain,
    /// Those of TimescaleDB.
    Hypertables,
}

/// The extension in a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extension {
    /// The schema of its functions, where it is installed.
    installed_in: Option<String>,
    /// Whether the server has it, so that it may be installed.
    is_available: bool,
    /// Whether the server has loaded its library, without which nothing of it works.
    is_loaded: bool,
    /// Whether its licence is the one without columnstore, continuous aggregates and policies.
    is_apache: bool,
}

impl Extension {
    pub(super) async fn find(client: &impl GenericClient) -> Result<Self, tokio_postgres::Error> {
        let row = client.query_one(FIND, &[]).await?;
        Ok(Self {
            installed_in: row.get(0),
            is_available: row.get(1),
            is_loaded: row.get(2),
            is_apache: row.get(3),
        })
    }

    /// The schema of its functions, where it is installed.
    pub(super) fn schema(&self) -> Option<&str> {
        self.installed_in.as_deref()
    }

    /// Fails where hypertables that exist cannot be kept as they should be.
    pub(super) fn check_for_hypertables(&self) -> Result<(), Error> {
        if self.is_apache { Err(Error::Licence) } else { Ok(()) }
    }

    /// What new tables are to be, said where that is not as the options have it.
    pub(super) fn kind_of_new_tables(&self, is_wanted: bool) -> Kind {
        if !is_wanted || (self.installed_in.is_none() && !(self.is_available && self.is_loaded)) {
            return Kind::Plain;
        }
        if !self.is_loaded {
            tracing::warn!(
                "the extension timescaledb is installed, but the server has not loaded its library: \
                 the tables are plain ones; for hypertables, add timescaledb to \
                 shared_preload_libraries, restart the server, and migrate an empty schema"
            );
            return Kind::Plain;
        }
        if self.is_apache {
            tracing::warn!(
                "timescaledb.license is 'apache', which has no columnstore, continuous aggregates and \
                 policies: the tables are plain ones; for hypertables, set it to 'timescale' and \
                 migrate an empty schema"
            );
            return Kind::Plain;
        }
        Kind::Hypertables
    }

    /// Installs it, unless it is: in `public` where that is possible, otherwise beside the tables.
    pub(super) async fn create(
        &mut self,
        transaction: &Transaction<'_>,
        schema: &str,
    ) -> Result<(), tokio_postgres::Error> {
        if self.installed_in.is_none() {
            let place = transaction.query_one(PLACE, &[&schema]).await?;
            let (place, quoted): (String, String) = (place.get(0), place.get(1));
            let create = format!("CREATE EXTENSION timescaledb SCHEMA {quoted}");
            transaction.batch_execute(&create).await?;
            self.installed_in = Some(place);
        }
        Ok(())
    }
}

impl Kind {
    /// The text of a migration for tables of this kind. Migrations ask whether the extension is there;
    /// what is meant is whether the tables are hypertables.
    pub(super) fn adapt(self, migration: &str) -> String {
        let are_hypertables = match self {
            Self::Plain => "(false)",
            Self::Hypertables => "(true)",
        };
        migration
            .replace(MAKES_TIME_BUCKET, &[LACKS_TIME_BUCKET, MAKES_TIME_BUCKET_IF].concat())
            .replace(ASKS_FOR_EXTENSION, are_hypertables)
    }
}

/// Without the library in this session, its settings are at most what the server's file says.
const FIND: &str = "
    SELECT (SELECT space.nspname::text
            FROM pg_catalog.pg_extension AS extension
                JOIN pg_catalog.pg_namespace AS space ON space.oid = extension.extnamespace
            WHERE extension.extname = 'timescaledb'),
           EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'timescaledb'),
           -- shared_preload_libraries itself is shown to few. The first setting is the loader's, there
           -- without the extension; the second that of the library, also where it needs no loader.
           EXISTS (SELECT FROM pg_catalog.pg_settings
                   WHERE name IN ('timescaledb.max_background_workers', 'timescaledb.license')),
           coalesce(current_setting('timescaledb.license', true), '') = 'apache'";

/// An own function of this name keeps the extension out of a schema.
const PLACE: &str = "
    SELECT space.nspname::text, quote_ident(space.nspname)
    FROM pg_catalog.pg_namespace AS space
    WHERE space.nspname IN ('public', $1)
    ORDER BY to_regprocedure(format('%I.time_bucket(interval, timestamptz)', space.nspname))
                 IS NOT NULL,
             NOT has_schema_privilege(space.oid, 'CREATE'),
             space.nspname <> 'public'
    LIMIT 1";

const ASKS_FOR_EXTENSION: &str = "EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')";
/// On plain tables, unless a function of this name is there: the extension's own, for instance.
const MAKES_TIME_BUCKET: &str =
    "IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        CREATE FUNCTION time_bucket(";
const LACKS_TIME_BUCKET: &str =
    "IF to_regprocedure(format('%I.time_bucket(interval, timestamptz)', current_schema())) IS NULL
        AND ";
const MAKES_TIME_BUCKET_IF: &str =
    "NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        CREATE FUNCTION time_bucket(";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::migrations;

    #[test]
    fn every_migration_that_asks_for_the_extension_is_adapted() {
        let (mut asking, mut making) = (0, 0);
        for migration in migrations::runner().get_migrations() {
            let sql = migration.sql().unwrap();
            asking += sql.matches(ASKS_FOR_EXTENSION).count();
            making += sql.matches(MAKES_TIME_BUCKET).count();
            for kind in [Kind::Plain, Kind::Hypertables] {
                let adapted = kind.adapt(sql);
                // The only other mention is of the extension's schema, for whatever kind of tables.
                let mentions = adapted.matches("pg_extension").count();
                assert_eq!(mentions, usize::from(migration.version() == 15), "{migration}");
                assert!(!adapted.contains("IF NOT (false) THEN\n        CREATE FUNCTION"));
            }
        }
        assert_eq!((asking, making), (8, 1));
    }

    #[test]
    fn new_tables_are_hypertables_where_that_is_wanted_and_possible() {
        let installed = Extension {
            installed_in: Some("public".into()),
            is_available: true,
            is_loaded: true,
            is_apache: false,
        };
        let not_installed = Extension { installed_in: None, ..installed.clone() };
        for (extension, kind) in [
            (installed.clone(), Kind::Hypertables),
            (not_installed.clone(), Kind::Hypertables),
            (Extension { is_loaded: false, ..installed.clone() }, Kind::Plain),
            (Extension { is_loaded: false, ..not_installed.clone() }, Kind::Plain),
            (Extension { is_available: false, ..not_installed.clone() }, Kind::Plain),
            (Extension { is_apache: true, ..installed }, Kind::Plain),
            (Extension { is_apache: true, ..not_installed }, Kind::Plain),
            (Extension::default(), Kind::Plain),
        ] {
            assert_eq!(extension.kind_of_new_tables(true), kind, "{extension:?}");
            assert_eq!(extension.kind_of_new_tables(false), Kind::Plain, "{extension:?}");
        }
    }
}
