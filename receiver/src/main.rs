//! `receiver`: reads its options, runs the station, and turns errors into one line.

use std::{io::IsTerminal as _, process::ExitCode, time::Duration};

use receiver::{
    config::{Cli, Command, Error, MigrateOptions},
    station::{self, Outcome},
    store::schema,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let log_filter = std::env::var("ORBITSTREAM_LOG").ok().filter(|filter| !filter.is_empty());
    let log_filter = log_filter.as_deref().unwrap_or(QUIET);
    let filter = match log_filter.parse::<EnvFilter>() {
        Ok(filter) => filter,
        Err(error) => {
            return fail(&format!("ORBITSTREAM_LOG: {error}; try ORBITSTREAM_LOG=info"));
        }
    };
    let is_terminal = std::io::stdout().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    log.with_target(false).with_ansi(is_terminal).init();
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(Error::Shown(shown)) => shown.exit(),
        Err(Error::Wrong(line)) => return fail(&line),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    let done = match cli.command {
        Command::Migrate(options) => runtime.block_on(migrate(*options)),
        Command::Run(options) => runtime.block_on(run(*options)),
    };
    match done {
        Ok(code) => code,
        Err(error) => fail(&format!("{error:#}")),
    }
}

async fn run(options: receiver::config::RunOptions) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = interrupt.recv() => "interrupted",
            _ = terminate.recv() => "terminated",
        }
    };
    tokio::spawn(end_at_once());
    let Outcome { report, journal } = station::run(options, stop).await?;
    tracing::info!("{}", station::summary(&report.ledger));
    let pending = report.ledger.pending;
    match journal {
        _ if pending == 0 => Ok(ExitCode::SUCCESS),
        Some(folder) => {
            let folder = folder.display();
            tracing::warn!("{pending} samples wait in {folder} and are stored at the next start");
            Ok(ExitCode::SUCCESS)
        }
        None => Ok(fail(&format!("{pending} samples could not be stored within --drain-timeout"))),
    }
}

/// Ends the program at a second signal: what is not stored by then is lost, and whoever asks twice
/// wants that. One that comes within a moment is the first one still: timeout(1), for one, sends it
/// to the program and to its group.
async fn end_at_once() -> std::io::Result<()> {
    for pause in [Duration::ZERO, SAME_SIGNAL] {
        tokio::time::sleep(pause).await;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
    fail("stopped by a second signal, before all was stored");
    std::process::exit(INTERRUPTED);
}

async fn migrate(options: MigrateOptions) -> anyhow::Result<ExitCode> {
    let migrated = schema::migrate(&options.database, &options.periods).await?;
    tracing::info!(
        "The schema has version {}; {} migrations applied now",
        migrated.version,
        migrated.applied
    );
    station::tell_extension(migrated.has_timescaledb);
    Ok(ExitCode::SUCCESS)
}

fn fail(line: &str) -> ExitCode {
    eprintln!("error: {line}");
    ExitCode::FAILURE
}

const SAME_SIGNAL: Duration = Duration::from_secs(1);
/// As a shell has it for a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// What is logged unless `ORBITSTREAM_LOG` says otherwise: libraries speak only of trouble.
const QUIET: &str = "warn,receiver=info";
