//! What tshark shows with the project's dissector, frame by frame.
#![allow(dead_code, reason = "each test program uses its own part")]

pub(crate) mod checks;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use harness::generate::pcap::{PORT, capture};
use harness::judges;
use serde_json::Value;
use tempfile::TempDir;

/// One frame's part of the tree, however deep its fields lie in it.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// The octets that are marked when the frame is chosen.
    pub(crate) octets: Vec<u8>,
    /// Each field's values by its name.
    pub(crate) fields: BTreeMap<String, Vec<String>>,
    /// The octets that are marked for each field.
    pub(crate) marked: BTreeMap<String, Vec<u8>>,
}

/// A folder for captures that also stands in for the user's.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self { folder })
    }

    /// Writes a capture of these payloads, a millisecond apart.
    pub(crate) fn capture(&self, payloads: &[Vec<u8>]) -> Result<PathBuf> {
        let times = (1..).map(Duration::from_millis);
        let datagrams = times.zip(payloads.iter().map(Vec::as_slice));
        let path = self.folder.path().join("capture.pcap");
        fs::write(&path, capture(PORT, datagrams))?;
        Ok(path)
    }

    /// The frames of every packet of a capture.
    pub(crate) fn frames(&self, capture: &Path, options: &[&str]) -> Result<Vec<Vec<Shown>>> {
        let mut command = judges::tshark_with_dissector(self.folder.path());
        command.args(options).arg("-r").arg(capture);
        command.args(["-T", "json", "-x", "--no-duplicate-keys", "-J", "orbitstream"]);
        let packets: Vec<Value> = serde_json::from_str(&judges::run(&mut command)?)?;
        packets.iter().map(frames_of).collect()
    }

    /// What tshark prints for each packet: the columns it is asked for.
    pub(crate) fn columns(
        &self,
        capture: &Path,
        columns: &[&str],
        options: &[&str],
    ) -> Result<Vec<String>> {
        let mut command = judges::tshark_with_dissector(self.folder.path());
        command.args(options).arg("-r").arg(capture).args(["-T", "fields"]);
        for column in columns {
            command.args(["-e", column]);
        }
        let printed = judges::run(&mut command)?;
        Ok(printed.lines().map(str::to_owned).collect())
    }
}

impl Shown {
    /// The only value of a field; none if it is absent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let values = self.fields.get(&format!("orbitstream.{name}"))?;
        assert_eq!(values.len(), 1, "{name}: {values:?}");
        values.first().map(String::as_str)
    }

    /// The same as a number.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        let text = self.text(name)?;
        let number = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok().map(f64::from),
            None => text.parse().ok(),
        };
        Some(number.unwrap_or_else(|| panic!("{name} is no number: {text}")))
    }

    /// The same as a truth value, which versions of tshark print differently.
    pub(crate) fn is(&self, name: &str) -> Option<bool> {
        match self.text(name)? {
            "1" | "True" | "true" => Some(true),
            "0" | "False" | "false" => Some(false),
            other => panic!("{name} is no truth value: {other}"),
        }
    }

    /// Whether the frame carries this remark.
    pub(crate) fn has_remark(&self, name: &str) -> bool {
        self.fields.contains_key(&format!("orbitstream.expert.{name}"))
    }
}

fn frames_of(packet: &Value) -> Result<Vec<Shown>> {
    let ours = &packet["_source"]["layers"]["orbitstream"];
    let count = ours["orbitstream.frames"]
        .as_str()
        .with_context(|| format!("a packet that is not dissected: {packet}"))?;
    let trees = in_list(&ours["orbitstream.frame"], Value::is_object);
    let marks = in_list(&ours["orbitstream.frame_raw"], is_mark);
    anyhow::ensure!(trees.len().to_string() == count && marks.len() == trees.len());
    let frames = trees.into_iter().zip(marks).map(|(tree, mark)| {
        let mut frame = Shown { octets: marked_octets(mark), ..Shown::default() };
        collect(tree, &mut frame);
        frame
    });
    Ok(frames.collect())
}

/// tshark writes a list where a name occurs several times, and else the single thing.
fn in_list(value: &Value, is_single: impl Fn(&Value) -> bool) -> Vec<&Value> {
    if is_single(value) {
        return vec![value];
    }
    value.as_array().into_iter().flatten().collect()
}

fn collect(tree: &Value, frame: &mut Shown) {
    for (name, value) in tree.as_object().into_iter().flatten() {
        if let Some(name) = name.strip_suffix("_raw") {
            let mark = in_list(value, is_mark)[0];
            frame.marked.insert(name.to_owned(), marked_octets(mark));
            continue;
        }
        for value in in_list(value, |value| !value.is_array()) {
            if let Some(text) = value.as_str() {
                let values = frame.fields.entry(name.clone()).or_default();
                values.push(text.to_owned());
            } else {
                collect(value, frame);
            }
        }
    }
}

/// A mark is octets in hexadecimal, position, length, bit mask and type.
fn is_mark(value: &Value) -> bool {
    value.get(0).is_some_and(Value::is_string)
}

fn marked_octets(mark: &Value) -> Vec<u8> {
    let hex = mark[0].as_str().unwrap_or_default().as_bytes();
    hex.chunks(2)
        .filter_map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
