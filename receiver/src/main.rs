//! `receiver`: reads its options, runs the station, and turns errors into one line.

use std::{io::IsTerminal as _, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use receiver::{
    config::{
        Action, Cli, Command, Error, JournalOptions, MigrateOptions, ReplayOptions, RunOptions,
    },
    journal::{
        files::Disk,
        look::{Looked, look},
    },
    ledger::Ledger,
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
        Command::Journal(options) => runtime.block_on(journal(*options)),
        Command::Replay(options) => runtime.block_on(replay(*options)),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            let failed = fail(&format!("{error:#}"));
            let is_busy = error.is::<station::AlreadyReplayed>();
            if is_busy { ExitCode::from(TEMPORARY_FAILURE) } else { failed }
        }
    }
}

async fn run(options: RunOptions) -> anyhow::Result<ExitCode> {
    let stop = asked_to_stop()?;
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

async fn replay(options: ReplayOptions) -> anyhow::Result<ExitCode> {
    let report = station::replay(options, asked_to_stop()?).await?;
    tracing::info!("{}", station::summary(&report.ledger));
    let Ledger { pending, committed, quarantined, .. } = report.ledger;
    println!("{committed} samples stored, {quarantined} set aside");
    if pending > 0 {
        return Ok(fail(&format!("{pending} samples were not stored; replay the file again")));
    }
    Ok(ExitCode::SUCCESS)
}

async fn journal(options: JournalOptions) -> anyhow::Result<ExitCode> {
    let JournalOptions { action, journal, station, database_url, .. } = options;
    let folder = match (journal, &database_url) {
        (Some(folder), _) => folder,
        (None, Some(database)) => station::default_folder(database, &station.name),
        (None, None) => {
            bail!("which journal? give --journal FOLDER, or the station's --database-url")
        }
    };
    let shown = folder.display();
    if !folder.is_dir() {
        bail!("there is no journal in {shown}");
    }
    if action == Action::Drain {
        let database = database_url.context("to drain it takes --database-url")?;
        let ledger = station::drain(&folder, &station, &database, asked_to_stop()?).await?;
        println!("{} samples stored, {} wait in {shown}", ledger.committed, ledger.pending);
        return Ok(if ledger.pending > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    let looked = look(&Disk, &folder).with_context(|| format!("cannot read {shown}"))?;
    let damaged = looked.iter().filter(|one| !one.is_sound()).count();
    println!("{}", Looked::HEADING);
    looked.iter().for_each(|one| println!("{one}"));
    if action == Action::Verify && damaged > 0 {
        return Ok(fail(&format!(
            "{damaged} files of {shown} are damaged, or end within a record"
        )));
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends at a signal; a second one ends the program.
fn asked_to_stop() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(end_at_once());
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "interrupted",
            _ = terminate.recv() => "terminated",
        }
    })
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

/// `EX_TEMPFAIL` of sysexits.h: somebody else is doing it, and it is not known yet how that ends.
const TEMPORARY_FAILURE: u8 = 75;
const SAME_SIGNAL: Duration = Duration::from_secs(1);
/// As a shell has it for a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// What is logged unless `ORBITSTREAM_LOG` says otherwise: libraries speak only of trouble.
const QUIET: &str = "warn,receiver=info";
