//! Options: from the command line, the environment and a TOML file, in that order of precedence.
//! Each is declared once, here; the file's keys are the options' names, and a table [`detect`].

pub mod detect;
mod file;
mod journal;
mod reception;
mod replay;
#[cfg(test)]
mod tests;
mod values;

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand, builder::TypedValueParser as _,
};

pub use journal::{Action, JournalOptions};
pub use reception::{ReceptionOptions, StationOptions};
pub use replay::ReplayOptions;

use crate::{
    address::{Address, AddressError},
    batch,
    detect::Settings,
    logging::{DEFAULT_FILTER, LogFilter, LogFormat},
    quarantine_rate,
    socket::Interface,
    source_rate::RATE_MAX,
    store::COLUMNSTORE_FROM,
};

/// The ground station: receives telemetry frames over UDP and stores them in TimescaleDB.
#[derive(Debug, Parser)]
#[command(name = "receiver", version, about)]
pub struct Cli {
    /// What to do; `run` when left out.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Receive and store until a signal comes (the default)
    Run(Box<RunOptions>),
    /// Create the tables, or bring them up to date
    Migrate(Box<MigrateOptions>),
    /// Look at a journal, check it, or write it to the database
    Journal(Box<JournalOptions>),
    /// Store what was recorded in a file
    Replay(Box<ReplayOptions>),
}

/// Options of `receiver run`.
#[derive(Clone, Debug, Args)]
pub struct RunOptions {
    /// UDP address to receive frames on, or a multicast group to join; may be given several times
    #[arg(
        long,
        env = "ORBITSTREAM_LISTEN",
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = "127.0.0.1:10015",
        value_parser = values::socket_address
    )]
    pub listen: Vec<SocketAddr>,

    /// Network interface on which multicast groups are joined: its name, index or IPv4 address
    /// [default: where the route to the group leads]
    #[arg(long, env = "ORBITSTREAM_MULTICAST_INTERFACE", value_name = "INTERFACE")]
    pub multicast_interface: Option<Interface>,

    /// TCP address of the HTTP server: JSON samples, metrics, health
    #[arg(
        long,
        env = "ORBITSTREAM_HTTP",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:3000",
        value_parser = values::socket_address
    )]
    pub http: SocketAddr,

    /// Ask for the bearer token in this file, but at /healthz and /readyz
    #[arg(long, env = "ORBITSTREAM_HTTP_TOKEN_FILE", value_name = "FILE")]
    pub http_token_file: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub database: DatabaseOptions,

    /// Create the tables, or bring them up to date, before receiving
    #[arg(
        long,
        env = "ORBITSTREAM_MIGRATE",
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        value_parser = values::boolean
    )]
    pub migrate: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub periods: PeriodOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub reception: ReceptionOptions,

    /// Let the kernel coalesce datagrams of one sender
    #[arg(
        long,
        env = "ORBITSTREAM_GRO",
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        default_value = "true",
        value_parser = values::boolean
    )]
    pub gro: bool,

    /// How long to go on storing after a stop
    #[arg(
        long,
        env = "ORBITSTREAM_DRAIN_TIMEOUT",
        value_name = "TIME",
        default_value = "10s",
        value_parser = humantime::parse_duration
    )]
    pub drain_timeout: Duration,

    /// Folder of the journal, which keeps what is accepted until the database has it; `off` for none
    /// [default: under the user's state folder, one for each station and database]
    #[arg(
        long,
        env = "ORBITSTREAM_JOURNAL",
        value_name = "FOLDER|off",
        value_parser = clap::builder::OsStringValueParser::new().map(JournalChoice::from)
    )]
    pub journal: Option<JournalChoice>,

    /// How large the journal may get
    #[arg(
        long,
        env = "ORBITSTREAM_JOURNAL_SIZE",
        value_name = "SIZE",
        default_value = "4GiB",
        value_parser = journal_size
    )]
    pub journal_size: ByteSize,

    /// How often the journal is synchronised with the disk: what a loss of power may cost
    #[arg(
        long,
        env = "ORBITSTREAM_JOURNAL_SYNC",
        value_name = "TIME",
        default_value = "200ms",
        value_parser = journal_sync
    )]
    pub journal_sync: Duration,

    /// Writer threads, each with a connection of its own [default: one a core, 16 at most]
    #[arg(
        long,
        env = "ORBITSTREAM_WRITERS",
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u8).range(1..=64)
    )]
    pub writers: Option<u8>,

    /// A batch is stored when it has this many rows …
    #[arg(
        long,
        env = "ORBITSTREAM_BATCH_ROWS",
        value_name = "NUMBER",
        default_value_t = batch::ROWS_MAX,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub batch_rows: u32,

    /// … or its first one was received this long ago, with fewer than 100 samples a tenth less; what
    /// waits by then goes with it
    #[arg(
        long,
        env = "ORBITSTREAM_BATCH_AGE",
        value_name = "TIME",
        default_value = "100ms",
        value_parser = humantime::parse_duration
    )]
    pub batch_age: Duration,

    /// A batch with so many rows of one satellite, on average, goes straight into the columnstore of
    /// TimescaleDB; 0 for none
    #[arg(
        long,
        env = "ORBITSTREAM_COLUMNSTORE_FROM",
        value_name = "ROWS",
        default_value_t = COLUMNSTORE_FROM
    )]
    pub columnstore_from: usize,

    /// Buffer of each socket in the kernel
    #[arg(
        long,
        env = "ORBITSTREAM_RECEIVE_BUFFER",
        value_name = "SIZE",
        default_value = "16MiB",
        value_parser = receive_buffer
    )]
    pub receive_buffer: ByteSize,

    /// Datagrams that each source may send a second, and at once; the rest are refused [default: any
    /// number]
    #[arg(
        long,
        env = "ORBITSTREAM_SOURCE_RATE",
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(RATE_MAX))
    )]
    pub source_rate: Option<u32>,

    /// How many refused frames are stored each second; the rest are only counted
    #[arg(
        long,
        env = "ORBITSTREAM_REJECTED_PER_SECOND",
        value_name = "NUMBER",
        default_value = "100",
        value_parser = clap::value_parser!(u32).range(..=10_000)
    )]
    pub rejected_per_second: u32,

    /// How many frames dated outside --time-past and --time-future are quarantined each second, of
    /// each source; ten times as many of all together; the rest are only counted
    #[arg(
        long,
        env = "ORBITSTREAM_QUARANTINE_PER_SECOND",
        value_name = "NUMBER",
        default_value_t = quarantine_rate::PER_SECOND,
        value_parser = clap::value_parser!(u32).range(..=10_000)
    )]
    pub quarantine_per_second: u32,

    /// Keep what the detectors learn in this folder, so that it survives a restart [default: that of
    /// the journal]
    #[arg(long, env = "ORBITSTREAM_STATE", value_name = "FOLDER")]
    pub state: Option<PathBuf>,

    /// Stop after this time [default: at a signal]
    #[arg(
        long,
        env = "ORBITSTREAM_DURATION",
        value_name = "TIME",
        value_parser = humantime::parse_duration
    )]
    pub duration: Option<Duration>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub log: LogOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub file: FileOption,
}

/// Where the journal is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalChoice {
    /// Nowhere.
    Off,
    /// In this folder.
    Folder(PathBuf),
}

impl From<OsString> for JournalChoice {
    fn from(value: OsString) -> Self {
        if value == "off" { Self::Off } else { Self::Folder(value.into()) }
    }
}

/// Options of `receiver migrate`.
#[derive(Clone, Debug, Args)]
pub struct MigrateOptions {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub database: DatabaseOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub periods: PeriodOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub log: LogOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub file: FileOption,
}

/// Where the database is.
#[derive(Clone, Debug, Args)]
pub struct DatabaseOptions {
    /// The database, as postgresql://USER:PASSWORD@HOST:5432/DATABASE
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        value_parser = database_url
    )]
    pub database_url: Address,

    /// Use the TimescaleDB extension where the server has it; with `false`, plain tables
    #[arg(
        long,
        env = "ORBITSTREAM_TIMESCALEDB",
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        default_value = "true",
        value_parser = values::boolean
    )]
    pub timescaledb: bool,
}

/// How long history is kept, where the tables are hypertables; applied by a migration.
#[derive(Clone, Copy, Debug, Args)]
pub struct PeriodOptions {
    /// How long samples are kept (with TimescaleDB, set when migrating)
    #[arg(
        long,
        env = "ORBITSTREAM_RETENTION",
        value_name = "TIME",
        default_value = "30d",
        value_parser = retention
    )]
    pub retention: Duration,

    /// How long aggregates by the minute are kept
    #[arg(
        long,
        env = "ORBITSTREAM_RETENTION_MINUTES",
        value_name = "TIME",
        default_value = "180d",
        value_parser = retention
    )]
    pub retention_minutes: Duration,

    /// How long aggregates by the hour are kept
    #[arg(
        long,
        env = "ORBITSTREAM_RETENTION_HOURS",
        value_name = "TIME",
        default_value = "730d",
        value_parser = retention
    )]
    pub retention_hours: Duration,

    /// When samples move to the columnstore
    #[arg(
        long,
        env = "ORBITSTREAM_COLUMNSTORE_AFTER",
        value_name = "TIME",
        default_value = "1d",
        value_parser = period
    )]
    pub columnstore_after: Duration,
}

/// The file that options may come from.
#[derive(Clone, Debug, Args)]
pub struct FileOption {
    /// Read options from this TOML file; its keys are the options' names
    #[arg(long, env = "ORBITSTREAM_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What is logged, and how.
#[derive(Clone, Debug, Args)]
pub struct LogOptions {
    /// What is logged: error, warn, info, debug, trace or off, of all parts or of some, such as `debug`
    /// or `warn,receiver=info`
    #[arg(
        id = "log",
        long = "log",
        env = "ORBITSTREAM_LOG",
        value_name = "FILTER",
        default_value = DEFAULT_FILTER
    )]
    pub filter: LogFilter,

    /// How a line of the log is written, `text` or `json`; colours only on a terminal, and not with NO_COLOR=1
    #[arg(
        id = "log_format",
        long = "log-format",
        env = "ORBITSTREAM_LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value = "text",
        hide_possible_values = true
    )]
    pub format: LogFormat,
}

impl Command {
    /// What is logged, and how.
    #[must_use]
    pub fn log(&self) -> &LogOptions {
        match self {
            Self::Run(options) => &options.log,
            Self::Migrate(options) => &options.log,
            Self::Journal(options) => &options.log,
            Self::Replay(options) => &options.log,
        }
    }
}

impl Cli {
    /// Reads the command line, the environment and the file that they name. An error is one line
    /// that says what to do; help and version come back as `clap`'s own.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let arguments = with_command(arguments.into_iter().collect());
        let mut command = values::without_empty_variables(Self::command());
        if is_help(&arguments) {
            command = with_options_of_run(command);
        }
        let mut detect = Settings::default();
        if let Some(path) = file::path_in(&arguments) {
            let mut table = file::read(&path).map_err(Error::Wrong)?;
            detect = file::take_detect(&mut table, &path).map_err(Error::Wrong)?;
            command = file::as_defaults(command, &table, &path).map_err(Error::Wrong)?;
        }
        let named = arguments.get(1).map(|name| name.to_string_lossy().into_owned());
        let named = named.filter(|name| command.find_subcommand(name).is_some());
        let from_clap = |error| Error::from_clap(error, named.as_deref().unwrap_or("run"));
        let matches = command.try_get_matches_from(arguments).map_err(from_clap)?;
        let mut cli = Self::from_arg_matches(&matches).map_err(from_clap)?;
        match &mut cli.command {
            Command::Run(options) => options.reception.detection = detect,
            Command::Replay(options) => options.reception.detection = detect,
            Command::Migrate(_) | Command::Journal(_) => {}
        }
        Ok(cli)
    }
}

/// What the table `detect` of a file says; its other keys are not looked at.
pub fn read_detect(path: &Path) -> Result<Settings, String> {
    file::take_detect(&mut file::read(path)?, path)
}

/// What reading the options may end in.
#[derive(Debug)]
pub enum Error {
    /// Help or version, to be printed.
    Shown(clap::Error),
    /// One line.
    Wrong(String),
}

impl Error {
    fn from_clap(error: clap::Error, command: &str) -> Self {
        use clap::error::ErrorKind;
        match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Self::Shown(error),
            ErrorKind::MissingRequiredArgument if error.to_string().contains("--database-url") => {
                Self::Wrong(NO_DATABASE.into())
            }
            // The value may hold a password, so it is not repeated.
            ErrorKind::ValueValidation if error.to_string().contains("--database-url") => {
                let problem = std::error::Error::source(&error).map(ToString::to_string);
                Self::Wrong(format!("--database-url: {}", problem.unwrap_or_default()))
            }
            _ => Self::Wrong(one_line(&error.to_string(), command)),
        }
    }
}

/// Puts `run` in front of options that have no command.
fn with_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_named = arguments.get(1).is_some_and(|first| {
        let first = first.to_string_lossy();
        !first.starts_with('-') || ["-h", "--help", "-V", "--version"].contains(&&*first)
    });
    if !is_named {
        arguments.insert(arguments.len().min(1), "run".into());
    }
    arguments
}

/// Whether the help of the program itself is asked for.
fn is_help(arguments: &[OsString]) -> bool {
    let first = arguments.get(1).map(|first| first.to_string_lossy());
    match first.as_deref() {
        Some("-h" | "--help") => true,
        Some("help") => arguments.len() == 2,
        _ => false,
    }
}

/// Adds the options of `run`, which may be left out, to what the program's help shows.
fn with_options_of_run(command: clap::Command) -> clap::Command {
    let options: Vec<_> = command
        .find_subcommand("run")
        .into_iter()
        .flat_map(clap::Command::get_arguments)
        .map(|option| option.clone().required(false).help_heading(OPTIONS_OF_RUN))
        .collect();
    command.args(options).override_usage(USAGE).after_help(EXAMPLES)
}

/// `clap`'s message about a command without its usage, on one line.
fn one_line(message: &str, command: &str) -> String {
    let lines = message.lines().map(str::trim);
    let message: Vec<_> = lines
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty())
        .collect();
    let message = message.join("; ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    format!("{message}; see `receiver --help` and `receiver {command} --help`")
}

fn database_url(url: &str) -> Result<Address, String> {
    url.parse().map_err(|error| match error {
        AddressError::Form(_) | AddressError::NoHost | AddressError::Quote => {
            format!("{error}; expected {DATABASE_FORM}")
        }
        error => error.to_string(),
    })
}

fn station_name(name: &str) -> Result<String, String> {
    let is_good = !name.trim().is_empty()
        && name.len() <= STATION_OCTETS_MAX
        && !name.chars().any(char::is_control);
    is_good.then(|| name.to_owned()).ok_or_else(|| {
        format!("expected a name of 1 to {STATION_OCTETS_MAX} octets without control characters")
    })
}

fn receive_buffer(size: &str) -> Result<ByteSize, String> {
    let size: ByteSize = size.parse()?;
    if (RECEIVE_BUFFER_MIN..=RECEIVE_BUFFER_MAX).contains(&size.as_u64()) {
        Ok(size)
    } else {
        Err("expected 4KiB to 1GiB".into())
    }
}

fn journal_size(size: &str) -> Result<ByteSize, String> {
    let size: ByteSize = size.parse()?;
    if size.as_u64() >= JOURNAL_MIN { Ok(size) } else { Err("expected at least 8MiB".into()) }
}

fn journal_sync(time: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(time).map_err(|error| error.to_string())?;
    let is_good = (JOURNAL_SYNC_MIN..=JOURNAL_SYNC_MAX).contains(&time);
    if is_good { Ok(time) } else { Err("expected 1ms to 60s".into()) }
}

/// Aggregates by the day are refreshed from at least two whole days of samples.
fn retention(time: &str) -> Result<Duration, String> {
    let time = period(time)?;
    let least = humantime::format_duration(RETENTION_MIN);
    if time >= RETENTION_MIN { Ok(time) } else { Err(format!("expected at least {least}")) }
}

fn period(time: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(time).map_err(|error| error.to_string())?;
    if (PERIOD_MIN..=PERIOD_MAX).contains(&time) {
        Ok(time)
    } else {
        Err("expected between 1h and 100years".into())
    }
}

const OPTIONS_OF_RUN: &str = "Options of `run`, which may be left out";
const USAGE: &str = "receiver [run] [OPTIONS]\n       receiver <COMMAND> [OPTIONS]";
const EXAMPLES: &str = "Examples of what is logged:
  ORBITSTREAM_LOG=debug receiver                     much more, also of libraries
  ORBITSTREAM_LOG=warn receiver                      only warnings and errors
  ORBITSTREAM_LOG=warn,receiver::http=debug receiver HTTP requests in detail
  ORBITSTREAM_LOG_FORMAT=json receiver               a JSON object a line
  NO_COLOR=1 receiver                                no colours";
const JOURNAL_MIN: u64 = 8 << 20;
const JOURNAL_SYNC_MIN: Duration = Duration::from_millis(1);
const JOURNAL_SYNC_MAX: Duration = Duration::from_secs(60);
const RETENTION_MIN: Duration = Duration::from_secs(4 * 86_400);
const PERIOD_MIN: Duration = Duration::from_secs(3_600);
const PERIOD_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);
const DATABASE_FORM: &str = "postgresql://USER:PASSWORD@HOST:5432/DATABASE";
const NO_DATABASE: &str = "no database is named: give --database-url or set DATABASE_URL to \
    postgresql://USER:PASSWORD@HOST:5432/DATABASE; `make demo` starts one of its own";
const STATION_OCTETS_MAX: usize = 64;
const RECEIVE_BUFFER_MIN: u64 = 4 << 10;
/// The kernel takes an `int`, and doubles it.
const RECEIVE_BUFFER_MAX: u64 = 1 << 30;
