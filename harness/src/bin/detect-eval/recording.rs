//! Recordings in a folder: CSV files, and a manifest that says what they are.
//!
//! A series has the columns `timestamp`, `value` and `is_anomaly`; others may stand beside them, and
//! their order is free. Rows are taken as they stand, late ones and repeats too, as a station would
//! get them. A file without these columns is none of ours, unless the manifest lists it: it is left
//! out with a warning. Everything else that cannot be read is an error that names file and line.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use csv::{ReaderBuilder, StringRecord, Trim};
use receiver::detect::{Profile, Sample};

/// One series.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) kind: Profile,
    /// Rows at the beginning in which nothing is to be found.
    pub(crate) warmup_rows: usize,
    pub(crate) rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) time_us: i64,
    /// None where the channel was not sampled.
    pub(crate) value: Option<f64>,
    /// Whether it is part of an anomaly.
    pub(crate) is_anomaly: bool,
}

impl Row {
    pub(crate) fn sample(self) -> Option<Sample> {
        self.value.map(|value| Sample { time_us: self.time_us, value })
    }
}

/// What the manifest says of a series.
#[derive(Clone, Debug)]
struct Entry {
    group: String,
    series: String,
    kind: Profile,
    rows: Option<usize>,
    warmup_rows: usize,
}

/// Every series in `folder` and the folders in it, in order of their names. `warn` is told what was
/// left out, and what does not fit together.
pub(crate) fn all(folder: &Path, warn: &mut dyn FnMut(String)) -> Result<Vec<Recording>> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let entries = manifest(&folder.join(MANIFEST))?;
    let mut seen = HashSet::new();
    let mut recordings = Vec::new();
    for file in files.iter().filter(|file| **file != folder.join(MANIFEST)) {
        let (group, name) = names(file, folder);
        // In a flat folder the manifest alone knows the groups.
        let entry = entries.iter().position(|entry| {
            entry.series == name && group.as_ref().is_none_or(|group| *group == entry.group)
        });
        let about = entry.map(|place| &entries[place]);
        let rows = match read(file).with_context(|| format!("cannot read {}", file.display()))? {
            Ok(rows) => rows,
            Err(missing) if about.is_some() => bail!("{}: {missing}", file.display()),
            Err(missing) => {
                warn(format!("{} is left out: {missing}", file.display()));
                continue;
            }
        };
        seen.extend(entry);
        if let Some(said) = about.and_then(|entry| entry.rows).filter(|said| *said != rows.len()) {
            let (file, has) = (file.display(), rows.len());
            warn(format!("{file} has {has} rows, the manifest says {said}"));
        }
        recordings.push(Recording {
            group: about.map_or(group.unwrap_or_else(|| "all".into()), |e| e.group.clone()),
            kind: about.map_or(Profile::Other, |entry| entry.kind),
            warmup_rows: about.map_or(WARMUP_ROWS, |entry| entry.warmup_rows),
            name,
            rows,
        });
    }
    for (_, entry) in entries.iter().enumerate().filter(|(place, _)| !seen.contains(place)) {
        warn(format!("{MANIFEST} lists {}/{}, which is not there", entry.group, entry.series));
    }
    ensure!(
        !recordings.is_empty(),
        "no series in {}: expected CSV files with the columns timestamp,value,is_anomaly",
        folder.display()
    );
    Ok(recordings)
}

/// Its folder's name, unless that is the folder of all, and its own without ending.
fn names(file: &Path, folder: &Path) -> (Option<String>, String) {
    let text = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
    let inside = file.parent().filter(|parent| *parent != folder).and_then(Path::file_name);
    (inside.map(text), file.file_stem().map(text).unwrap_or_default())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        // Links to folders are not followed: they may lead back.
        if entry.file_type()?.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")) {
            files.push(path);
        }
    }
    Ok(())
}

fn manifest(path: &Path) -> Result<Vec<Entry>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let context = || format!("cannot read {}", path.display());
    let mut reader = reader(path).with_context(context)?;
    let columns = columns(reader.headers().with_context(context)?);
    let place = |name: &str| {
        columns.get(name).copied().with_context(|| format!("{}: no column {name}", path.display()))
    };
    let (group, series, kind) = (place("group")?, place("series")?, place("kind")?);
    let mut entries = Vec::new();
    for record in reader.records() {
        let record = record.with_context(context)?;
        let wrong = || format!("{}, line {}", path.display(), line(&record));
        let number = |name: &str| {
            let text = columns.get(name).and_then(|&place| record.get(place)).unwrap_or_default();
            match text {
                "" => Ok(None),
                _ => text.parse().map(Some).map_err(|_| {
                    anyhow::anyhow!("{}: {name} `{text}` is no number of rows", wrong())
                }),
            }
        };
        let series = record.get(series).unwrap_or_default();
        entries.push(Entry {
            group: record.get(group).unwrap_or_default().into(),
            series: series.strip_suffix(".csv").unwrap_or(series).into(),
            kind: record
                .get(kind)
                .unwrap_or_default()
                .to_lowercase()
                .parse()
                .map_err(anyhow::Error::msg)
                .with_context(wrong)?,
            rows: number("rows")?,
            warmup_rows: number("warmup_rows")?.unwrap_or(WARMUP_ROWS),
        });
    }
    Ok(entries)
}

/// The rows in `file`, or which columns it lacks.
fn read(file: &Path) -> Result<Result<Vec<Row>, String>> {
    let mut reader = reader(file)?;
    let columns = columns(reader.headers()?);
    let missing: Vec<_> = COLUMNS.into_iter().filter(|name| !columns.contains_key(*name)).collect();
    if !missing.is_empty() {
        return Ok(Err(format!("no column {}", missing.join(", "))));
    }
    let [timestamp, value, is_anomaly] = COLUMNS.map(|name| columns[name]);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record?;
        let cell = |place: usize| record.get(place).unwrap_or_default();
        let wrong = |what: &str, text: &str| format!("line {}: {what} `{text}`", line(&record));
        let (time, level, label) = (cell(timestamp), cell(value), cell(is_anomaly));
        rows.push(Row {
            time_us: time_us(time).with_context(|| wrong("timestamp", time))?,
            value: number_or_none(level).with_context(|| wrong("value", level))?,
            is_anomaly: label_of(label).with_context(|| wrong("is_anomaly", label))?,
        });
    }
    if rows.is_empty() {
        return Ok(Err("it has no rows".into()));
    }
    Ok(Ok(rows))
}

fn reader(path: &Path) -> Result<csv::Reader<fs::File>> {
    Ok(ReaderBuilder::new().trim(Trim::All).from_path(path)?)
}

fn columns(headers: &StringRecord) -> HashMap<String, usize> {
    headers.iter().enumerate().map(|(place, name)| (name.to_lowercase(), place)).collect()
}

fn line(record: &StringRecord) -> u64 {
    record.position().map_or(0, csv::Position::line)
}

/// Seconds since 1970, or RFC 3339.
fn time_us(text: &str) -> Result<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        ensure!(
            seconds.abs() <= SECONDS_MAX,
            "expected seconds since 1970, up to the year 9999; are these milliseconds?"
        );
        return Ok((seconds * 1e6).round() as i64);
    }
    let time: jiff::Timestamp = text
        .parse()
        .ok()
        .context("expected seconds since 1970, or a time such as 2026-01-01T00:00:00Z")?;
    Ok(time.as_microsecond())
}

/// A value, or none where a recording says that there is none.
fn number_or_none(text: &str) -> Result<Option<f64>> {
    if NOTHING.iter().any(|nothing| text.eq_ignore_ascii_case(nothing)) {
        return Ok(None);
    }
    let value: f64 = text.parse().ok().context("expected a number")?;
    ensure!(value.is_finite(), "expected a number that is finite");
    Ok(Some(value))
}

fn label_of(text: &str) -> Result<bool> {
    match text.to_ascii_lowercase().as_str() {
        "0" | "0.0" | "false" => Ok(false),
        "1" | "1.0" | "true" => Ok(true),
        _ => bail!("expected 0 or 1, false or true"),
    }
}

const MANIFEST: &str = "manifest.csv";
const COLUMNS: [&str; 3] = ["timestamp", "value", "is_anomaly"];
/// How recordings write that there is no value.
const NOTHING: [&str; 5] = ["", "nan", "null", "none", "na"];
/// Unless the manifest says otherwise.
const WARMUP_ROWS: usize = 200;
const SECONDS_MAX: f64 = 253_402_300_799.0;
