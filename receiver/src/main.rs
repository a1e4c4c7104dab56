//! `receiver`: reads its options, runs the station, and turns errors into one line.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use receiver::{
    config::{
        Action, Cli, Command, Error, JournalOptions, MigrateOptions, ReplayOptions, RunOptions,
    },
    journal::{
        files::Disk,
        look::{Looked, is_journal, look},
    },
    ledger::Ledger,
    logging::{self, LogFormat},
    output,
    signals::EndSignals,
    station::{self, Outcome},
    store::schema,
};

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(Error::Shown(shown)) => shown.exit(),
        Err(Error::Wrong(line)) => return fail(&line),
    };
    let log = cli.command.log();
    logging::start(log.format, &log.filter);
    let format = log.format;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail_as(format, &format!("cannot start: {error}")),
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
            let failed = fail_as(format, &format!("{error:#}"));
            let is_busy = error.is::<station::AlreadyReplayed>();
            if is_busy { ExitCode::from(TEMPORARY_FAILURE) } else { failed }
        }
    }
}

async fn run(options: RunOptions) -> anyhow::Result<ExitCode> {
    let stop = asked_to_stop(options.log.format)?;
    let Outcome { report, journal } = station::run(options, stop).await?;
    let pending = report.ledger.pending;
    let summary = station::summary(&report.ledger, journal.as_deref());
    if pending == 0 {
        tracing::info!("{summary}");
    } else {
        tracing::warn!("{summary}");
    }
    if pending > 0 && journal.is_none() {
        bail!("{pending} samples could not be stored within --drain-timeout");
    }
    Ok(ExitCode::SUCCESS)
}

async fn replay(options: ReplayOptions) -> anyhow::Result<ExitCode> {
    let stop = asked_to_stop(options.log.format)?;
    let report = station::replay(options, stop).await?;
    tracing::info!("{}", station::summary(&report.ledger, None));
    let Ledger { pending, committed, quarantined, .. } = report.ledger;
    output::line(format_args!("{committed} samples stored, {quarantined} quarantined"))?;
    if pending > 0 {
        bail!("{pending} samples were not stored; replay the file again");
    }
    Ok(ExitCode::SUCCESS)
}

async fn journal(options: JournalOptions) -> anyhow::Result<ExitCode> {
    let JournalOptions { action, journal, station, database_url, log, .. } = options;
    let folder = match (journal, &database_url) {
        (Some(folder), _) => folder,
        (None, Some(database)) => station::default_folder(database, &station.name),
        (None, None) => {
            bail!("which journal? give --journal FOLDER, or the station's --database-url")
        }
    };
    let shown = folder.display();
    if !is_journal(&Disk, &folder) {
        bail!(
            "there is no journal in {shown}: give --journal the folder of one, which has files with \
             names that end in .segment"
        );
    }
    if action == Action::Drain {
        let database = database_url.context("to drain it takes --database-url")?;
        let ledger =
            station::drain(&folder, &station, &database, asked_to_stop(log.format)?).await?;
        let Ledger { committed, pending, .. } = ledger;
        output::line(format_args!("{committed} samples stored, {pending} wait in {shown}"))?;
        return Ok(if pending > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    let looked = look(&Disk, &folder).with_context(|| format!("cannot read {shown}"))?;
    let damaged = looked.iter().filter(|one| !one.is_sound()).count();
    output::line(format_args!("{}", Looked::HEADING))?;
    for one in &looked {
        output::line(format_args!("{one}"))?;
    }
    if action == Action::Verify && damaged > 0 {
        bail!("{damaged} files of {shown} are damaged, or end within a record");
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends at a signal; a second one ends the program.
fn asked_to_stop(format: LogFormat) -> std::io::Result<impl Future<Output = &'static str>> {
    let mut signals = EndSignals::listen()?;
    tokio::spawn(end_at_once(EndSignals::listen()?, format));
    Ok(async move { signals.next().await })
}

/// Ends the program at a second signal: what is not stored by then is lost, and whoever asks twice
/// wants that. One that comes within a moment is the first one still: timeout(1), for one, sends it
/// to the program and to its group, and a terminal that is closed does so, too.
async fn end_at_once(mut signals: EndSignals, format: LogFormat) {
    signals.next().await;
    tokio::time::sleep(SAME_SIGNAL).await;
    // Not what came meanwhile.
    if let Ok(mut signals) = EndSignals::listen() {
        signals.next().await;
        fail_as(format, "stopped by a second signal, before all was stored");
        std::process::exit(INTERRUPTED);
    }
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
    output::error_line(format_args!("error: {line}"));
    ExitCode::FAILURE
}

/// As [`fail`]; whoever reads JSON reads nothing else, so there it is a line of the log.
fn fail_as(format: LogFormat, line: &str) -> ExitCode {
    match format {
        LogFormat::Text => fail(line),
        LogFormat::Json => {
            tracing::error!("{line}");
            ExitCode::FAILURE
        }
    }
}

/// `EX_TEMPFAIL` of sysexits.h: somebody else is doing it, and it is not known yet how that ends.
const TEMPORARY_FAILURE: u8 = 75;
const SAME_SIGNAL: Duration = Duration::from_secs(1);
/// As a shell has it for a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;
