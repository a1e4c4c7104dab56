//! A server of somebody else, on which tests make databases of their own.
//!
//! Guarantees: only databases made here are written to; their names begin with a prefix drawn for
//! this process, and they are dropped when it ends in whatever way (see [`crate::watchdog`]). The
//! roles that migrations want belong to the whole server: where they were there before, they are
//! left as they are, without even a password being set; otherwise they are made here with a comment
//! that says so, and dropped by the last process that used them.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};

use crate::Cluster;
use crate::watchdog::Watchdog;

/// How the names of all such databases begin.
const PREFIX: &str = "orbitstream_test_";

/// Makes the roles that are missing, and marks them.
const MAKE_ROLES: &str = "
    DO $$
    DECLARE
        role name;
    BEGIN
        FOREACH role IN ARRAY ARRAY['orbitstream_writer', 'orbitstream_reader'] LOOP
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                EXECUTE format('CREATE ROLE %I LOGIN', role);
                EXECUTE format('COMMENT ON ROLE %I IS %L', role,
                               'made by the tests of OrbitStream');
            END IF;
        END LOOP;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL; -- Another process was faster.
    END
    $$";

/// Drops with psql `$1`, given the URL in `$2`, the databases that begin with `$3`, then the roles
/// made here, which fails while others use them.
const DROP: &str = r#"
psql=$1 url=$2
query() { "$psql" -XAtq -d "$url" -c "$1"; }
for name in $(query "SELECT datname FROM pg_database WHERE starts_with(datname, '$3')"); do
    query "DROP DATABASE \"$name\" WITH (FORCE)"
done
for role in $(query "SELECT rolname FROM pg_roles
    WHERE shobj_description(oid, 'pg_authid') = 'made by the tests of OrbitStream'"); do
    query "DROP ROLE $role"
done
"#;

/// Such a server.
#[derive(Debug)]
pub struct Foreign {
    url: String,
    prefix: String,
    count: AtomicU32,
    _watchdog: Watchdog,
}

impl Foreign {
    /// Connects by the URL of a superuser, with the `psql` of `cluster`.
    pub fn open(url: &str, cluster: &Cluster) -> Result<Self> {
        ensure!(url.contains("://"), "expected postgresql://USER:PASSWORD@HOST:5432/DATABASE");
        let found = cluster
            .sql_at(
                url,
                "SELECT rolsuper FROM pg_roles WHERE rolname = current_user;
                 SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'",
            )
            .context("the server for tests")?;
        let mut found = found.lines();
        if found.next() != Some("t") {
            bail!(
                "the server for tests: the user must be a superuser, to make databases and roles"
            );
        }
        if found.next() != Some("1") {
            bail!("the server for tests does not have TimescaleDB");
        }
        let prefix = format!("{PREFIX}{:08x}_", rand::random::<u32>());
        let psql = cluster.psql_program();
        let arguments = [&psql.to_string_lossy(), url, &prefix];
        let watchdog = Watchdog::start(DROP, &arguments, None, None)?;
        Ok(Self { url: url.to_owned(), prefix, count: AtomicU32::new(0), _watchdog: watchdog })
    }

    /// Makes an empty database, and gives back its name.
    pub fn create_database(&self, cluster: &Cluster) -> Result<String> {
        let name = format!("{}{}", self.prefix, self.count.fetch_add(1, Ordering::Relaxed));
        cluster.sql_at(&self.url, &format!("{MAKE_ROLES}; CREATE DATABASE {name}"))?;
        Ok(name)
    }

    /// Whether a database of this name would be there.
    #[must_use]
    pub fn has(&self, database: &str) -> bool {
        database.starts_with(&self.prefix)
    }

    /// The URL of a database there, for the superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        with_database(&self.url, database)
    }

    /// The same with the rights of a role. A session of the superuser that has become the role: no
    /// password has to be set, but what is set for the role (its timeout) does not hold.
    #[must_use]
    pub fn url_as(&self, role: &str, database: &str) -> String {
        let url = self.url(database);
        let joint = if url.contains('?') { '&' } else { '?' };
        format!("{url}{joint}options=-c%20role%3D{role}")
    }
}

fn with_database(url: &str, database: &str) -> String {
    let (place, options) = url.find('?').map_or((url, ""), |at| url.split_at(at));
    let host = place.find("://").map_or(0, |at| at + 3);
    let end = place[host..].find('/').map_or(place.len(), |at| host + at);
    format!("{}/{database}{options}", &place[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_is_another() {
        for (url, wanted) in [
            ("postgres://a:b@c:1/d", "postgres://a:b@c:1/x"),
            ("postgres://a@c", "postgres://a@c/x"),
            ("postgres://a@c/d?sslmode=disable&x=/", "postgres://a@c/x?sslmode=disable&x=/"),
        ] {
            assert_eq!(with_database(url, "x"), wanted);
        }
    }
}
