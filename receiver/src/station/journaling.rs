//! The journal as a run begins: which folder, what the tracker knew, and who reads.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;
use crc::{CRC_64_XZ, Crc};

use crate::{
    address::Address,
    config::{JournalChoice, RunOptions},
    definitions::Definitions,
    intake::Intake,
    journal::{self, Apart, Gauges, InUse, Journal, Options, files::Disk, look},
    readiness::Readiness,
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
            let (database, station) =
                (&options.database.database_url, &options.reception.station.name);
            let folder = default_folder(database, station);
            take_over(&earlier_default_folder(database, station), &folder, station);
            let journal = open_own(station, || open(folder.clone()))?;
            tell_of_others(&folder, station);
            Ok(Some(journal))
        }
    }
    .inspect(|journal| {
        for apart in journal.iter().flat_map(|journal| Apart::list(&Disk, journal.folder())) {
            tracing::warn!("{apart}");
        }
    })
}

/// Opens the journal of a station that has not named a folder. One that is in use means that another
/// process stores under the same name in the same database; one that was killed a moment ago may
/// still have it locked, and is waited for.
fn open_own(station: &str, open: impl Fn() -> anyhow::Result<Journal>) -> anyhow::Result<Journal> {
    let start = Instant::now();
    loop {
        let error = match open() {
            Ok(journal) => return Ok(journal),
            Err(error) => error,
        };
        let Some(InUse { folder, holder }) = error.downcast_ref() else { return Err(error) };
        let holder = holder.map_or_else(String::new, |holder| format!(", process {holder}"));
        if start.elapsed() < FOLDER_WAIT {
            thread::sleep(FOLDER_WAIT / 20);
            continue;
        }
        bail!(
            "a receiver with the name {station} runs here already{holder}, and stores in the same \
             database: stop it, or give this one another --station; its journal is {}",
            folder.display()
        );
    }
}

/// Says what waits in journals that earlier versions made for further stations of one name.
fn tell_of_others(folder: &Path, station: &str) {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    for number in 2..=DEFAULTS_MAX {
        let other = folder.with_file_name(format!("{name}-{number}"));
        if !journal::is_in_use(&other) && look::may_hold_samples(&Disk, &other) {
            let shown = other.display();
            tracing::warn!(
                "the journal {shown} of another receiver with the name {station} may hold samples \
                 that are not stored: `receiver journal drain --journal \"{shown}\"` stores them"
            );
        }
    }
}

/// Keeps warnings in `/readyz` for as long as the journal cannot be written, and as segments of
/// another journal or station wait in its folder.
pub(super) async fn warn_of_journal(
    folder: PathBuf,
    gauges: Arc<Gauges>,
    readiness: Arc<Readiness>,
) {
    loop {
        let is_failing = gauges.is_failing.load(Ordering::Relaxed) != 0;
        let failing = || "the journal cannot be written: samples bypass it; see the log".to_owned();
        readiness.set_warning("journal_failing", is_failing.then(failing));
        let here = folder.clone();
        let list = move || Apart::list(&Disk, &here);
        let apart = tokio::task::spawn_blocking(list).await.unwrap_or_default();
        let more = apart.len().saturating_sub(1);
        let warning = apart.first().map(|first| match more {
            0 => first.to_string(),
            _ => format!("{first} (and {more} more such folders)"),
        });
        readiness.set_warning("foreign_segments", warning);
        tokio::time::sleep(WARNING_PERIOD).await;
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

/// A folder of this user's, for this station and this database. No two names of stations have the
/// same: one with characters that a folder's name cannot have is told apart by its checksum.
#[must_use]
pub fn default_folder(address: &Address, station: &str) -> PathBuf {
    let mut name = file_name_of(station);
    if name != station {
        let checksum = NAME_CRC.checksum(station.as_bytes());
        // No name of a station has this character in its folder's name.
        let _never_fails = write!(name, "={checksum:016x}");
    }
    folder_of(address, &name)
}

/// Where versions before this one had the journal of a station.
fn earlier_default_folder(address: &Address, station: &str) -> PathBuf {
    folder_of(address, &file_name_of(station))
}

/// Takes over the folder that an earlier version used, if it is this station's and not in use.
fn take_over(earlier: &Path, folder: &Path, station: &str) {
    if earlier == folder
        || folder.exists()
        || journal::station_of(&Disk, earlier).as_deref() != Some(station)
        || journal::is_in_use(earlier)
    {
        return;
    }
    let (from, to) = (earlier.display(), folder.display());
    match fs::rename(earlier, folder) {
        Ok(()) => tracing::info!("the journal {from} is now {to}"),
        Err(error) => tracing::warn!("the journal {from} cannot be renamed to {to}: {error}"),
    }
}

fn file_name_of(station: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    station.chars().map(safe).collect()
}

fn folder_of(address: &Address, name: &str) -> PathBuf {
    let config = address.config();
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // systemd may name several, with colons between.
    let first = |paths: PathBuf| env::split_paths(&paths).next();
    let base = set("STATE_DIRECTORY")
        .and_then(first)
        .or_else(|| Some(set("XDG_STATE_HOME")?.join(NAME)))
        .or_else(|| Some(set("HOME")?.join(".local/state").join(NAME)))
        .unwrap_or_else(|| Path::new(NAME).to_owned());
    let (hosts, ports) = (config.get_hosts(), config.get_ports());
    let database =
        format!("{hosts:?} {:?} {ports:?} {:?}", config.get_hostaddrs(), config.get_dbname());
    let database = journal::crc32c(database.as_bytes());
    base.join("journal").join(format!("{name}-{database:08x}"))
}

const NAME_CRC: Crc<u64> = Crc::<u64>::new(&CRC_64_XZ);
const NAME: &str = "orbitstream";
/// Stations of one name, for one database, for which earlier versions made journals.
const DEFAULTS_MAX: u32 = 16;
/// Longer than a process that was killed takes to end.
const FOLDER_WAIT: Duration = Duration::from_secs(2);
/// How long a database is asked whether it knows the journal, before the station goes on without.
/// How often the journal is checked for something to warn of.
const WARNING_PERIOD: Duration = Duration::from_secs(5);
const KNOWN_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_stations_have_the_same_folder() {
        let address: Address = "postgresql://me@db.example/orbit".parse().unwrap();
        let names =
            ["GS 1", "GS/1", "GS_1", "GS.1", "東京", "京都", "大阪", "__", "GS_1=0", "../GS"];
        let mut folders: Vec<_> = names.iter().map(|name| default_folder(&address, name)).collect();
        let parent = folders[0].parent().map(Path::to_owned);
        assert!(folders.iter().all(|folder| folder.parent() == parent.as_deref()));
        folders.sort();
        folders.dedup();
        assert_eq!(folders.len(), names.len());
        // Plain names keep the folder that they had.
        let plain = default_folder(&address, "GS-01");
        assert_eq!(plain, earlier_default_folder(&address, "GS-01"));
    }

    #[test]
    fn the_folder_of_an_earlier_version_is_taken_over_by_its_own_station_alone() {
        let base = tempfile::tempdir().unwrap();
        let earlier = base.path().join("GS_1-00000000");
        let of = Options {
            folder: earlier.clone(),
            octets_max: 1 << 20,
            sync_period: Duration::from_millis(1),
            station: "GS 1".into(),
            writers: 1,
        };
        let journal = Journal::open(&of, Arc::new(Disk), Arc::default()).unwrap();
        let head = earlier.join("0000000000000001.segment");
        fs::write(&head, journal.segment_header(1)).unwrap();
        let (own, other) = (base.path().join("own"), base.path().join("other"));
        take_over(&earlier, &own, "GS 1");
        assert!(!own.exists(), "it is in use");
        drop(journal);
        take_over(&earlier, &other, "GS/1");
        assert!(!other.exists(), "it is another station's");
        take_over(&earlier, &own, "GS 1");
        assert!(own.join("0000000000000001.segment").exists() && !earlier.exists());
    }
}
