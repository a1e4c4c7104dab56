//! On which databases the tests run: the tiers.
//!
//! | tier | database | when |
//! |---|---|---|
//! | `plain` | plain tables on the private cluster | always |
//! | `timescaledb` | hypertables on the private cluster | the extension is installed |
//! | `server` | hypertables on somebody's server | `TEST_DATABASE_URL` is set |
//! | `stand-in` | TimescaleDB in WebAssembly: [`crate::stand_in`] | it is installed in `target/` |
//!
//! The variable `ORBITSTREAM_TEST_TIERS` names tiers, with commas: then those run besides `plain`,
//! and no others. One that is named and cannot run is an error.

use std::env;

use anyhow::{Result, bail};

/// A kind of database that tests run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Plain tables on the private cluster.
    Plain,
    /// Hypertables on the private cluster.
    TimescaleDb,
    /// Hypertables on the server of [`SERVER_VARIABLE`].
    Server,
    /// Hypertables in WebAssembly.
    StandIn,
}

/// Names the tiers that are wanted.
pub const TIERS_VARIABLE: &str = "ORBITSTREAM_TEST_TIERS";
/// URL of a superuser on a server where tests may make databases of their own.
pub const SERVER_VARIABLE: &str = "TEST_DATABASE_URL";

impl Tier {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Plain, Self::TimescaleDb, Self::Server, Self::StandIn];

    /// What [`TIERS_VARIABLE`] calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::TimescaleDb => "timescaledb",
            Self::Server => "server",
            Self::StandIn => "stand-in",
        }
    }

    /// Whether the variable lets it run.
    pub fn is_wanted(self) -> Result<bool> {
        Ok(named()?.is_none_or(|named| named.contains(&self)) || self == Self::Plain)
    }

    /// Whether the variable asks for it, so that it must run.
    pub fn is_demanded(self) -> Result<bool> {
        Ok(named()?.is_some_and(|named| named.contains(&self)))
    }
}

/// The URL of the server that tests may use, if that is wanted.
pub fn server_url() -> Result<Option<String>> {
    let url = env::var(SERVER_VARIABLE).ok().filter(|url| !url.is_empty());
    if url.is_none() && Tier::Server.is_demanded()? {
        bail!("{TIERS_VARIABLE} asks for the tier server, and {SERVER_VARIABLE} is not set");
    }
    Ok(url.filter(|_| Tier::Server.is_wanted().unwrap_or(false)))
}

/// The tiers that the variable names; `None` if it is not set.
fn named() -> Result<Option<Vec<Tier>>> {
    match env::var(TIERS_VARIABLE) {
        Ok(text) if !text.is_empty() => parse(&text).map(Some),
        _ => Ok(None),
    }
}

fn parse(text: &str) -> Result<Vec<Tier>> {
    text.split(',')
        .map(|name| {
            let Some(tier) = Tier::ALL.into_iter().find(|tier| tier.name() == name.trim()) else {
                let known = Tier::ALL.map(Tier::name).join(", ");
                bail!("{TIERS_VARIABLE}: {name}: expected some of {known}, with commas");
            };
            Ok(tier)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_commas() {
        assert_eq!(parse("plain, stand-in").expect("valid"), [Tier::Plain, Tier::StandIn]);
        assert!(parse("plain,standin").is_err_and(|error| error.to_string().contains("standin")));
    }
}
