//! Recordings in a folder: CSV files, and a manifest that says what they are.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use receiver::detect::{Profile, Sample};
use serde::Deserialize;

/// One series.
pub(crate) struct Recording {
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) kind: Profile,
    /// Rows at the beginning in which nothing is to be found.
    pub(crate) warmup_rows: usize,
    pub(crate) samples: Vec<Sample>,
    /// Whether each is part of an anomaly.
    pub(crate) is_anomaly: Vec<bool>,
}

#[derive(Deserialize)]
struct Row {
    timestamp: f64,
    value: f64,
    is_anomaly: u8,
}

#[derive(Deserialize)]
struct Entry {
    group: String,
    series: String,
    kind: String,
    warmup_rows: usize,
}

/// Every CSV file in `folder` and the folders in it, in order of their names.
pub(crate) fn all(folder: &Path) -> Result<Vec<Recording>> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let manifest = manifest(&folder.join(MANIFEST))?;
    let mut recordings = Vec::new();
    for file in files {
        if let Some(recording) = read(&file, folder, &manifest)
            .with_context(|| format!("cannot read {}", file.display()))?
        {
            recordings.push(recording);
        }
    }
    ensure!(
        !recordings.is_empty(),
        "no series in {}: expected CSV files with the columns timestamp,value,is_anomaly",
        folder.display()
    );
    Ok(recordings)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "csv") {
            files.push(path);
        }
    }
    Ok(())
}

fn manifest(path: &Path) -> Result<HashMap<(String, String), Entry>> {
    if !path.exists() {
        return Ok(HashMap::new());
    }
    let mut reader = csv::Reader::from_path(path)?;
    let entries = reader.deserialize().map(|entry| {
        let entry: Entry = entry?;
        Ok(((entry.group.clone(), entry.series.clone()), entry))
    });
    let entries: Result<_, csv::Error> = entries.collect();
    entries.with_context(|| format!("cannot read {}", path.display()))
}

/// The series in `file`; none when its columns are those of something else.
fn read(
    file: &Path,
    folder: &Path,
    manifest: &HashMap<(String, String), Entry>,
) -> Result<Option<Recording>> {
    let mut reader = csv::Reader::from_path(file)?;
    let headers = reader.headers()?;
    if !COLUMNS.iter().all(|column| headers.iter().any(|header| header == *column)) {
        return Ok(None);
    }
    let name = file.file_stem().context("a file without a name")?.to_string_lossy().into_owned();
    let inside = file.parent().filter(|parent| *parent != folder).and_then(Path::file_name);
    let group = inside.map_or_else(|| "all".into(), |group| group.to_string_lossy().into_owned());
    let entry = manifest.get(&(group.clone(), name.clone())).or_else(|| {
        // A flat folder: the manifest alone knows the groups.
        manifest.values().find(|entry| inside.is_none() && entry.series == name)
    });
    let mut recording = Recording {
        group: entry.map_or(group, |entry| entry.group.clone()),
        kind: match entry {
            Some(entry) => entry.kind.parse().map_err(anyhow::Error::msg)?,
            None => Profile::Other,
        },
        warmup_rows: entry.map_or(WARMUP_ROWS, |entry| entry.warmup_rows),
        name,
        samples: Vec::new(),
        is_anomaly: Vec::new(),
    };
    for row in reader.deserialize() {
        let row: Row = row?;
        if !row.timestamp.is_finite() {
            bail!("a timestamp is no number of seconds");
        }
        let time_us = (row.timestamp * 1e6).round() as i64;
        recording.samples.push(Sample { time_us, value: row.value });
        recording.is_anomaly.push(row.is_anomaly != 0);
    }
    Ok(Some(recording))
}

const MANIFEST: &str = "manifest.csv";
const COLUMNS: [&str; 3] = ["timestamp", "value", "is_anomaly"];
/// Unless the manifest says otherwise.
const WARMUP_ROWS: usize = 200;
