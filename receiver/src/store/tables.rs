//! Where the tables are, and whether rows that are stored in them are found by those who look.
//!
//! The schema is the one that the migrations were applied in, and all SQL names it, so that another
//! entry of `search_path` cannot put itself before it. What else could make committed rows invisible
//! is looked for in the catalogues, by object identifier: a view or foreign table in a table's place,
//! row security, rules, a database that is being restored. [`Tables::check`] says what it is when a
//! session begins, and the probe repeats it; a [`Guard`] finds in every transaction that it is still
//! so. Rows that a trigger swallows show in the count that COPY answers with.

use protocol::KINDS;
use tokio_postgres::{Client, GenericClient, Statement, types::Oid};

use super::pooler;
use crate::copy::side;

/// The schema of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tables {
    /// Its name.
    pub(crate) schema: String,
    /// The same as SQL has it.
    quoted: String,
}

/// Why nothing is stored, although the server answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Several installations, and no way to tell which is meant.
    #[error(
        "there are OrbitStream tables in several schemas ({0}): name the one that is meant in the \
         database's address, as options=-csearch_path=SCHEMA"
    )]
    Ambiguous(String),
    /// An installation in a schema that nobody has named.
    #[error(
        "the OrbitStream tables are in another schema ({0}) than search_path leads to: name it in the \
         database's address, as options=-csearch_path=SCHEMA"
    )]
    Elsewhere(String),
    /// Between `timescaledb_pre_restore()` and `timescaledb_post_restore()`: rows would go where no
    /// query looks.
    #[error(
        "the database is being restored (timescaledb.restoring is on): storing begins again after \
         timescaledb_post_restore()"
    )]
    Restoring,
    /// Rows would not be found, or not survive.
    #[error("rows would be stored where they are not found: {0}")]
    Hidden(String),
    /// Nothing can be written.
    #[error("the database is read-only: {0} (SQLSTATE 25006)")]
    ReadOnly(&'static str),
    /// A pooler that gives each transaction another session.
    #[error(
        "the database's address leads to a connection pooler in transaction mode, where settings, \
         locks and prepared statements of a session get lost: use a pool in session mode, or the \
         server's own address"
    )]
    Pooled,
    /// There is no schema to make tables in.
    #[error(
        "search_path ({0}) leads to no schema that exists and may be used: CREATE SCHEMA first; a name \
         with capitals, spaces or signs is written in quotes, as options=-csearch_path=\"GS-1\""
    )]
    NoSchema(String),
}

/// Finds in a transaction that the tables are still what [`Tables::check`] has found.
pub(super) struct Guard {
    statement: Statement,
    /// The server's process in which all has been prepared.
    process: i32,
    schema: Oid,
    names: Vec<String>,
    oids: Vec<Oid>,
}

impl Tables {
    /// Where the tables are; none if there are none.
    pub(crate) async fn find(
        client: &impl GenericClient,
    ) -> Result<Option<Result<Self, Obstacle>>, tokio_postgres::Error> {
        let rows = client.query(FIND, &[]).await?;
        let found = rows
            .iter()
            .map(|row| (Self { schema: row.get(0), quoted: row.get(1) }, row.get::<_, bool>(2)));
        Ok(choose(found.collect()))
    }

    /// SQL with the schema in the place of `{schema}`.
    pub(crate) fn qualify(&self, sql: &str) -> String {
        sql.replace("{schema}", &self.quoted)
    }

    /// The COPY statements, one for each table of a batch, in its order.
    pub(super) fn copies(&self) -> impl Iterator<Item = String> {
        let kinds = KINDS.iter().map(|kind| crate::copy::telemetry_copy(kind, &self.quoted));
        kinds.chain(side::copies(&self.quoted))
    }

    /// What keeps rows from being stored so that they are found; otherwise the tables' identifiers.
    pub(super) async fn check(
        &self,
        client: &impl GenericClient,
    ) -> Result<Result<Vec<Oid>, Obstacle>, tokio_postgres::Error> {
        let names: Vec<&str> = table_names().collect();
        let rows = client.query(CHECK, &[&self.schema, &names]).await?;
        let mut oids = Vec::new();
        for row in rows {
            if row.get("is_restoring") {
                return Ok(Err(Obstacle::Restoring));
            }
            if row.get("is_replica") {
                return Ok(Err(Obstacle::Hidden(REPLICA.into())));
            }
            let shown = format!("{}.{}", self.quoted, row.get::<_, &str>("name"));
            let Some(oid) = row.get("oid") else {
                return Ok(Err(Obstacle::Hidden(format!(
                    "there is no table {shown} (SQLSTATE 42P01)"
                ))));
            };
            let traits = Traits {
                kind: row.get("kind"),
                persistence: row.get("persistence"),
                has_row_security: row.get("has_row_security"),
                rule: row.get("rule"),
                parent: row.get("parent"),
            };
            if let Some(wrong) = traits.wrong(&shown) {
                return Ok(Err(Obstacle::Hidden(wrong)));
            }
            oids.push(oid);
        }
        Ok(Ok(oids))
    }

    /// Fails while the database is being restored.
    pub(super) async fn check_restoring(
        &self,
        client: &impl GenericClient,
    ) -> Result<Result<(), Obstacle>, tokio_postgres::Error> {
        Ok(match self.check(client).await? {
            Err(Obstacle::Restoring) => Err(Obstacle::Restoring),
            _ => Ok(()),
        })
    }

    /// What finds in each transaction of this session that nothing has changed since the check.
    pub(super) async fn guard(
        &self,
        client: &Client,
        oids: Vec<Oid>,
    ) -> Result<Guard, tokio_postgres::Error> {
        let statement = client.prepare(GUARD).await?;
        let process = pooler::process(client).await?;
        let schema = "SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1";
        let schema = client.query_one(schema, &[&self.schema]).await?.get(0);
        let names = table_names().map(str::to_owned).collect();
        Ok(Guard { statement, process, schema, names, oids })
    }
}

impl Guard {
    /// Fails unless rows that are stored now are found.
    pub(super) async fn check(&self, client: &impl GenericClient) -> Result<(), super::Error> {
        let Self { statement, process, schema, names, oids } = self;
        let row = client.query_one(statement, &[oids, names, schema]).await?;
        if row.get::<_, i32>(2) != *process {
            return Err(Obstacle::Pooled.into());
        }
        let (is_restoring, intact): (bool, i64) = (row.get(0), row.get(1));
        if is_restoring {
            return Err(Obstacle::Restoring.into());
        }
        if intact != oids.len() as i64 {
            // The next session says which, unless it is a table again by then.
            return Err(Obstacle::Hidden("a table was replaced or changed".into()).into());
        }
        Ok(())
    }
}

/// Whether the database takes no writes, as far as that can be told without one.
pub(super) async fn read_only(
    client: &impl GenericClient,
) -> Result<Option<Obstacle>, tokio_postgres::Error> {
    let row = client.query_one(READ_ONLY, &[]).await?;
    let (is_standby, is_read_only): (bool, bool) = (row.get(0), row.get(1));
    let why = match (is_standby, is_read_only) {
        (true, _) => "it is a standby, in recovery",
        (_, true) => "default_transaction_read_only is on",
        _ => return Ok(None),
    };
    Ok(Some(Obstacle::ReadOnly(why)))
}

/// What a table is, as the catalogues have it.
struct Traits<'a> {
    kind: &'a str,
    persistence: &'a str,
    has_row_security: bool,
    rule: Option<&'a str>,
    parent: Option<&'a str>,
}

impl Traits<'_> {
    /// What is wrong with it, and what to do.
    fn wrong(&self, name: &str) -> Option<String> {
        let is = match self.kind {
            "r" | "p" => None,
            "v" => Some("a view"),
            "m" => Some("a materialized view"),
            "f" => Some("a foreign table"),
            _ => Some("no table"),
        };
        if let Some(is) = is {
            return Some(format!("{name} is {is}; put the table that was migrated in its place"));
        }
        if self.persistence != "p" {
            return Some(format!(
                "{name} is unlogged, a crash empties it; run ALTER TABLE {name} SET LOGGED"
            ));
        }
        if self.has_row_security {
            return Some(format!(
                "{name} has row security; run ALTER TABLE {name} DISABLE ROW LEVEL SECURITY"
            ));
        }
        if let Some(rule) = self.rule {
            return Some(format!("{name} has the rule {rule}; run DROP RULE {rule} ON {name}"));
        }
        let parent = self.parent?;
        Some(format!("{name} inherits from {parent}; run ALTER TABLE {name} NO INHERIT {parent}"))
    }
}

/// Which of the schemas with tables is meant: the one in `search_path`.
fn choose(found: Vec<(Tables, bool)>) -> Option<Result<Tables, Obstacle>> {
    let names = |found: &[(Tables, bool)]| {
        let names: Vec<_> = found.iter().map(|(tables, _)| &*tables.quoted).collect();
        names.join(", ")
    };
    let (mut in_path, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(_, is_in_path)| *is_in_path);
    match (in_path.len(), others.len()) {
        (0, 0) => None,
        (0, _) => Some(Err(Obstacle::Elsewhere(names(&others)))),
        (1, _) => in_path.pop().map(|(tables, _)| Ok(tables)),
        _ => Some(Err(Obstacle::Ambiguous(names(&in_path)))),
    }
}

/// All that a batch writes to, but for `anomaly`: no sample waits for an event that cannot be stored.
fn table_names() -> impl Iterator<Item = &'static str> {
    let kinds = KINDS.iter().map(|kind| kind.table);
    kinds.chain(side::TABLES).chain(["satellite", "ingest_batch"])
}

const FIND: &str = "
    SELECT space.nspname::text, quote_ident(space.nspname),
           space.nspname = ANY (current_schemas(false))
    FROM pg_catalog.pg_class AS history
        JOIN pg_catalog.pg_namespace AS space ON space.oid = history.relnamespace
    WHERE history.relname = 'refinery_schema_history'
      AND space.nspname !~ '^pg_'
      -- Other programs have such a table, too.
      AND EXISTS (
          SELECT FROM pg_catalog.pg_class AS ours
          WHERE ours.relnamespace = space.oid AND ours.relname IN ('telemetry', 'ingest_batch'))
    ORDER BY 1";

const CHECK: &str = "
    SELECT wanted.name, class.oid, class.relkind::text AS kind,
           class.relpersistence::text AS persistence,
           class.relrowsecurity AS has_row_security,
           (SELECT quote_ident(rule.rulename) FROM pg_catalog.pg_rewrite AS rule
            WHERE rule.ev_class = class.oid AND rule.ev_enabled <> 'D' AND class.relkind <> 'v'
            ORDER BY 1 LIMIT 1) AS rule,
           (SELECT tree.inhparent::regclass::text FROM pg_catalog.pg_inherits AS tree
            WHERE tree.inhrelid = class.oid
            ORDER BY 1 LIMIT 1) AS parent,
           coalesce(current_setting('timescaledb.restoring', true), '') = 'on'
               OR EXISTS (
                   SELECT
                   FROM pg_catalog.pg_db_role_setting AS kept, unnest(kept.setconfig) AS setting
                   WHERE kept.setdatabase = (SELECT oid FROM pg_catalog.pg_database
                                             WHERE datname = current_database())
                     AND kept.setrole = 0 AND setting = 'timescaledb.restoring=on')
               AS is_restoring,
           current_setting('session_replication_role') = 'replica' AS is_replica
    FROM unnest($2::text[]) WITH ORDINALITY AS wanted (name, place)
        LEFT JOIN pg_catalog.pg_class AS class
            ON class.relname = wanted.name
           AND class.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1)
    ORDER BY wanted.place";

/// In few and cheap look-ups, since it is asked in every transaction. A session that began before a
/// restore keeps its setting, and so does one that began during it: both the session's and the
/// database's count.
const GUARD: &str = "
    SELECT coalesce(current_setting('timescaledb.restoring', true), '') = 'on'
               OR EXISTS (
                   SELECT
                   FROM pg_catalog.pg_db_role_setting AS kept, unnest(kept.setconfig) AS setting
                   WHERE kept.setdatabase = (SELECT oid FROM pg_catalog.pg_database
                                             WHERE datname = current_database())
                     AND kept.setrole = 0 AND setting = 'timescaledb.restoring=on'),
           (SELECT count(*)
            FROM pg_catalog.pg_class
            WHERE oid = ANY ($1) AND relname = ANY ($2) AND relnamespace = $3
              AND relkind IN ('r', 'p') AND relpersistence = 'p' AND NOT relrowsecurity),
           pg_catalog.pg_backend_pid()";

/// A standby's transactions are all read-only. A session keeps what it began with, so that what the
/// next one would begin with counts as well: the more special setting, as the server chooses.
const READ_ONLY: &str = "
    SELECT pg_is_in_recovery(),
           current_setting('transaction_read_only') = 'on'
               OR coalesce((
                   SELECT split_part(setting, '=', 2)::boolean
                   FROM pg_catalog.pg_db_role_setting AS kept, unnest(kept.setconfig) AS setting
                   WHERE kept.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database
                                                  WHERE datname = current_database()))
                     AND kept.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles
                                              WHERE rolname = session_user))
                     AND setting LIKE 'default\\_transaction\\_read\\_only=%'
                   ORDER BY kept.setrole = 0, kept.setdatabase = 0
                   LIMIT 1), false)";

const REPLICA: &str = "session_replication_role is replica, so that the triggers on which other \
                       tables depend do not fire; set it to origin";

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(schema: &str) -> Tables {
        Tables { schema: schema.into(), quoted: schema.into() }
    }

    #[test]
    fn the_schema_in_the_search_path_is_meant() {
        let chosen = |found: &[(&str, bool)]| {
            let found = found.iter().map(|&(name, is_in_path)| (tables(name), is_in_path));
            choose(found.collect()).map(|chosen| chosen.map(|tables| tables.schema))
        };
        assert_eq!(chosen(&[]), None);
        let elsewhere = |names: &str| Some(Err(Obstacle::Elsewhere(names.into())));
        assert_eq!(chosen(&[("a", false)]), elsewhere("a"));
        assert_eq!(chosen(&[("a", false), ("b", false)]), elsewhere("a, b"));
        assert_eq!(chosen(&[("a", false), ("public", true)]), Some(Ok("public".into())));
        let ambiguous = Some(Err(Obstacle::Ambiguous("a, public".into())));
        assert_eq!(chosen(&[("a", true), ("b", false), ("public", true)]), ambiguous);
    }

    #[test]
    fn names_stand_in_their_schema() {
        let tables = Tables { schema: "My \"own\"".into(), quoted: r#""My ""own""""#.into() };
        let sql = tables.qualify("SELECT FROM {schema}.telemetry, {schema}.attitude");
        let quoted = r#""My ""own""""#;
        assert_eq!(sql, format!("SELECT FROM {quoted}.telemetry, {quoted}.attitude"));
        for copy in tables.copies() {
            assert!(copy.starts_with(&format!("COPY {quoted}.")), "{copy}");
        }
        assert_eq!(tables.copies().count(), KINDS.len() + side::TABLES.len());
    }

    #[test]
    fn what_hides_rows_is_told_from_what_does_not() {
        let plain = || Traits {
            kind: "r",
            persistence: "p",
            has_row_security: false,
            rule: None,
            parent: None,
        };
        assert_eq!(plain().wrong("t"), None);
        assert_eq!(Traits { kind: "p", ..plain() }.wrong("t"), None);
        for (traits, part) in [
            (Traits { kind: "v", ..plain() }, "a view"),
            (Traits { kind: "f", ..plain() }, "a foreign table"),
            (Traits { kind: "m", ..plain() }, "a materialized view"),
            (Traits { kind: "c", ..plain() }, "no table"),
            (Traits { persistence: "u", ..plain() }, "SET LOGGED"),
            (Traits { has_row_security: true, ..plain() }, "DISABLE ROW LEVEL SECURITY"),
            (Traits { rule: Some("r"), ..plain() }, "DROP RULE r ON t"),
            (Traits { parent: Some("base"), ..plain() }, "NO INHERIT base"),
        ] {
            let wrong = traits.wrong("t").expect(part);
            assert!(wrong.contains(part) && wrong.starts_with("t "), "{wrong}");
        }
    }
}
