//! The journal as a run begins: which folder, what the tracker knew, and who reads.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    address::Address,
    config::{JournalChoice, RunOptions},
    definitions::Definitions,
    intake::Intake,
    journal::{Gauges, Journal, Options, files::Disk},
    socket::now_us,
    store::{self, Identity},
};

/// Opens the journal that the options name, if any.
pub(super) fn open(
    options: &RunOptions,
    writers: usize,
    gauges: &Arc<Gauges>,
) -> anyhow::Result<Option<Journal>> {
    let of = |folder: PathBuf| Options {
        folder,
        octets_max: options.journal_size.as_u64(),
        sync_period: options.journal_sync,
        station: options.reception.station.name.clone(),
        writers,
    };
    let open = |folder| Journal::open(&of(folder), Arc::new(Disk), Arc::clone(gauges));
    match &options.journal {
        Some(JournalChoice::Off) => {
            tracing::warn!(
                "there is no journal (--journal off): what is not stored when the station or the \
                 database stops is lost"
            );
            Ok(None)
        }
        Some(JournalChoice::Folder(folder)) => open(folder.clone()).map(Some),
        None => {
            let folder =
                default_folder(&options.database.database_url, &options.reception.station.name);
            // Two stations of one name may run side by side as long as nobody chose a folder.
            let others = (2..=DEFAULTS_MAX).map(|number| {
                let name = folder.file_name().unwrap_or_default().to_string_lossy();
                folder.with_file_name(format!("{name}-{number}"))
            });
            let mut last = open(folder.clone());
            for other in others {
                if last.is_ok() {
                    break;
                }
                last = open(other);
            }
            last.map(Some)
        }
    }
}

/// Whether the database has stored something of this journal, or does not say. What was learned from
/// samples that another database has is nothing to go on from: they may come again for this one.
pub(super) async fn is_known(who: &Identity, config: &Address) -> bool {
    let known = tokio::time::timeout(KNOWN_TIMEOUT, store::knows(config, who)).await;
    !matches!(known, Ok(Ok(false)))
}

/// Lets the intake go on from what the journal remembers of sequence counts.
pub(super) fn recall(
    journal: &Journal,
    definitions: &Definitions,
    intake: &mut Intake,
    is_known: bool,
) {
    intake.keep_checkpoints();
    let mut state = journal.tracker_state();
    if state.is_some() && !is_known {
        tracing::info!("the database does not know this journal: sequence counts begin anew");
        state = None;
    }
    // Without a state all is read that the journal has, and that is to be stored here.
    let (number, state) = state.unwrap_or((i64::MIN, Vec::new()));
    if !intake.restore(&state, now_us()) {
        tracing::warn!("what was known of sequence counts cannot be read: they begin anew");
    }
    journal.replay(number, |chunk| intake.recall(chunk, definitions));
    intake.recalled();
}

/// A folder of this user's, for this station and this database.
#[must_use]
pub fn default_folder(address: &Address, station: &str) -> PathBuf {
    let config = address.config();
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // systemd may name several, with colons between.
    let first = |paths: PathBuf| env::split_paths(&paths).next();
    let base = set("STATE_DIRECTORY")
        .and_then(first)
        .or_else(|| Some(set("XDG_STATE_HOME")?.join(NAME)))
        .or_else(|| Some(set("HOME")?.join(".local/state").join(NAME)))
        .unwrap_or_else(|| Path::new(NAME).to_owned());
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let station: String = station.chars().map(safe).collect();
    let (hosts, ports) = (config.get_hosts(), config.get_ports());
    let database =
        format!("{hosts:?} {:?} {ports:?} {:?}", config.get_hostaddrs(), config.get_dbname());
    let database = crate::journal::crc32c(database.as_bytes());
    base.join("journal").join(format!("{station}-{database:08x}"))
}

const NAME: &str = "orbitstream";
/// Stations of one name, for one database, that may run without saying where their journals are.
const DEFAULTS_MAX: u32 = 16;
/// How long a database is asked whether it knows the journal, before the station goes on without.
const KNOWN_TIMEOUT: Duration = Duration::from_secs(2);
