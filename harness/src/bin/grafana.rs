//! Grafana with this repository's dashboards on a database that is there already.
//!
//! `make grafana` runs it. It shows the database of `DATABASE_URL`, or without that the one of the
//! demo that is running, on <http://127.0.0.1:3001> or the next free port, until Ctrl-C. What is
//! saved in it stays in `grafana/` beside its program's folder (`target/grafana/`). Nothing is
//! installed, and nothing needs root.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use clap::Parser;
use harness::grafana::{Access, NOT_FOUND, READER, Source, kept_password, random_password};
use harness::output::exit_code;
use harness::{Grafana, Interrupt, outln};
use tokio_postgres::config::Host;
use tokio_postgres::{Config, NoTls};

/// How often Grafana is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

const CONNECT_DURATION_MAX: Duration = Duration::from_secs(10);

/// Starts an installed Grafana with the dashboards of this repository, until Ctrl-C.
///
/// Grafana is taken from `GRAFANA_HOME`, the PATH or /usr/share/grafana; docs/grafana.md says how to
/// install it.
#[derive(Debug, Parser)]
struct Options {
    /// Database to show. As its owner, `orbitstream_reader` gets a new password; a URL of
    /// `orbitstream_reader` changes nothing. Without it, the running demo's
    #[arg(
        long,
        env,
        hide_env_values = true,
        value_name = "URL",
        default_value = "",
        hide_default_value = true
    )]
    database_url: String,
}

fn main() -> ExitCode {
    exit_code("grafana", run(&Options::parse()).map(|()| true))
}

fn run(options: &Options) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let target = target()?;
    let source = source(&database_url(options, &target)?)?;
    let folder = target.join("grafana");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let password = kept_password(&folder.join("password"))?;
    let started = Grafana::start_if_installed(&source, Access::Admin(&password), &folder)?;
    let mut grafana = started.context(NOT_FOUND)?;
    outln!("Starting Grafana for the database at {} ...", source.address)?;
    grafana.wait_until_ready()?;
    outln!("Grafana    {}", grafana.url())?;
    outln!("user       admin")?;
    outln!("password   {password}")?;
    outln!("data       {}", folder.display())?;
    outln!("Ctrl-C ends it.")?;
    while !interrupt.came_within(CHECK_INTERVAL) {
        grafana.check_running()?;
    }
    Ok(())
}

/// What was given, or the running demo's.
fn database_url(options: &Options, target: &Path) -> Result<String> {
    if !options.database_url.trim().is_empty() {
        return Ok(options.database_url.trim().to_owned());
    }
    fs::read_to_string(target.join("demo/database-url"))
        .map(|url| url.trim().to_owned())
        .context("which database? Set DATABASE_URL, or start `make demo` in another terminal first")
}

/// Where the database is, and how its reader logs in.
fn source(url: &str) -> Result<Source> {
    let mut config: Config = url.parse().context("DATABASE_URL is not a PostgreSQL URL")?;
    let (Some(Host::Tcp(host)), Some(database)) = (config.get_hosts().first(), config.get_dbname())
    else {
        bail!(
            "DATABASE_URL has to name a host and a database: postgresql://USER:PASSWORD@HOST/NAME"
        );
    };
    let port = config.get_ports().first().copied().unwrap_or(5_432);
    let (address, database) = (format!("{host}:{port}"), database.to_owned());
    let is_reader = config.get_user() == Some(READER);
    let password = match config.get_password() {
        Some(password) if is_reader => String::from_utf8_lossy(password).into_owned(),
        _ => random_password(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, connection) =
            config.connect_timeout(CONNECT_DURATION_MAX).connect(NoTls).await.with_context(
                || format!("cannot log in to the database {database} at {address}"),
            )?;
        let connection = tokio::spawn(connection);
        if !is_reader {
            client
                .batch_execute(&format!("ALTER ROLE {READER} PASSWORD '{password}'"))
                .await
                .context(
                    "cannot set the password of orbitstream_reader: DATABASE_URL has to be the \
                     owner's, and `receiver migrate` makes the role",
                )?;
        }
        drop(client);
        connection.await??;
        anyhow::Ok(())
    })?;
    Ok(Source { address, database, password })
}

/// The folder above the program's, mostly `target`.
fn target() -> Result<PathBuf> {
    let exe = env::current_exe()?;
    Ok(exe.ancestors().nth(2).context("the program lies in no folder")?.to_owned())
}
