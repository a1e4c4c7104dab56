//! Scenarios: a flight in phases, and the options that go with it, from a TOML file.
//!
//! What a phase says holds in it. What it does not say is taken from the command line, then from
//! the top of the file. Unknown keys and values that cannot be are errors that name the line and
//! the key; nothing is guessed.

mod values;

use std::{fs::File, io::Read as _, ops::Range, path::Path, time::Duration};

use serde::Deserialize;
use toml::Spanned;

use crate::{
    fault::options::{BurstLoss, FaultOptions, Probability, ReorderDepth},
    options::Options,
};
use protocol::SpacecraftId;
use values::{FramesPerDatagram, Moment, Name, Positive, Satellites, Span, Switch};

/// A scenario that was read.
#[derive(Clone, Debug)]
pub struct Scenario {
    path: String,
    text: String,
    /// Options at the top of the file.
    settings: Settings,
    /// In order, at least one.
    pub phases: Vec<Phase>,
}

/// A part of the flight.
#[derive(Clone, Debug)]
pub struct Phase {
    place: usize,
    /// How long.
    pub duration: Duration,
    /// Frames per second of each satellite.
    pub rate: Option<f64>,
    /// Chance of anomalies.
    pub anomalies: Option<Probability>,
    /// Faults that are other than elsewhere.
    pub faults: FaultOptions,
    /// Satellites that make nothing.
    pub silent: Vec<Named>,
    /// Satellites that start again as it begins.
    pub reboot: Vec<Named>,
}

/// A satellite that is named somewhere.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    place: usize,
    /// Which.
    pub spacecraft: SpacecraftId,
}

/// What is wrong with a scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ScenarioError {
    #[error("cannot read {path}: {reason}; give --scenario a TOML file of phases")]
    Unreadable { path: String, reason: String },
    #[error("{path}, line {line}, {key}: {reason}")]
    Wrong { path: String, line: usize, key: String, reason: String },
}

/// Most phases of a file: boots are counted with 16 bits.
pub const PHASES_MAX: usize = 10_000;

impl Scenario {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let name = path.display().to_string();
        let mut text = String::new();
        let read = File::open(path)
            .and_then(|file| file.take(FILE_OCTETS_MAX + 1).read_to_string(&mut text));
        let reason = match read {
            Ok(octets) if octets as u64 > FILE_OCTETS_MAX => "it is larger than 4 MiB".into(),
            Ok(_) => return Self::parse(name, text),
            Err(error) => error.to_string(),
        };
        Err(ScenarioError::Unreadable { path: name, reason })
    }

    /// Reads the text of a file called `path`.
    pub fn parse(path: String, text: String) -> Result<Self, ScenarioError> {
        let mut settings: Settings = match toml::from_str(&text) {
            Ok(settings) => settings,
            Err(error) => {
                let place = error.span().map_or(0, |Range { start, .. }| start);
                return Err(wrong(&path, &text, place, error.message()));
            }
        };
        let phases = core::mem::take(&mut settings.phase);
        if phases.is_empty() {
            return Err(wrong(&path, &text, 0, "it has no [[phase]]; give at least one"));
        }
        if let Some(first_too_many) = phases.get(PHASES_MAX) {
            let reason = format!("there are more than {PHASES_MAX} phases");
            return Err(wrong(&path, &text, first_too_many.span().start, &reason));
        }
        let phases = phases.into_iter().map(PhaseSettings::settle).collect();
        let scenario = Self { path, text, settings, phases };
        for phase in &scenario.phases {
            for silent in &phase.silent {
                if phase.reboot.iter().any(|named| named.spacecraft == silent.spacecraft) {
                    let reason =
                        format!("{} starts again in this phase; let it", silent.spacecraft);
                    return Err(scenario.wrong(silent.place, &reason));
                }
            }
        }
        Ok(scenario)
    }

    /// Adds what the file says to options that were not given.
    pub fn complete(&self, options: &mut Options) {
        let Settings { satellites, rate, unlimited, speed, seed, start, boot, .. } = &self.settings;
        options.satellites = options.satellites.or(satellites.map(|Satellites(count)| count));
        if !options.unlimited && options.rate.is_none() {
            options.rate = rate.map(|Positive(rate)| rate);
            options.unlimited = unlimited.0 && rate.is_none();
        }
        options.speed = options.speed.or(speed.map(|Positive(speed)| speed));
        options.seed = options.seed.or(*seed);
        options.start = options.start.or(start.map(|Moment(start)| start));
        options.boot = options.boot.or(*boot);
        let frames = self.settings.frames_per_datagram.map(|FramesPerDatagram(frames)| frames);
        options.frames_per_datagram = options.frames_per_datagram.or(frames);
        options.anomalies = options.anomalies.or(self.settings.anomalies);
        options.faults = options.faults.or(self.settings.faults());
        if options.tle.is_none() {
            // Beside the scenario, wherever satsim was started.
            let folder = Path::new(&self.path).parent().unwrap_or(Path::new(""));
            options.tle = self.settings.tle.as_ref().map(|tle| folder.join(tle));
        }
    }

    /// An error about a phase.
    pub fn wrong_phase(&self, phase: &Phase, reason: &str) -> ScenarioError {
        self.wrong(phase.place, reason)
    }

    /// An error about a satellite that is named.
    pub fn wrong_name(&self, named: &Named, reason: &str) -> ScenarioError {
        self.wrong(named.place, reason)
    }

    fn wrong(&self, place: usize, reason: &str) -> ScenarioError {
        wrong(&self.path, &self.text, place, reason)
    }
}

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    satellites: Option<Satellites>,
    rate: Option<Positive>,
    #[serde(default)]
    unlimited: Switch,
    speed: Option<Positive>,
    seed: Option<u64>,
    start: Option<Moment>,
    boot: Option<u16>,
    frames_per_datagram: Option<FramesPerDatagram>,
    tle: Option<String>,
    anomalies: Option<Probability>,
    drop: Option<Probability>,
    corrupt: Option<Probability>,
    truncate: Option<Probability>,
    duplicate: Option<Probability>,
    reorder: Option<Probability>,
    reorder_depth: Option<ReorderDepth>,
    burst_loss: Option<BurstLoss>,
    #[serde(default)]
    phase: Vec<Spanned<PhaseSettings>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PhaseSettings {
    duration: Span,
    rate: Option<Positive>,
    anomalies: Option<Probability>,
    drop: Option<Probability>,
    corrupt: Option<Probability>,
    truncate: Option<Probability>,
    duplicate: Option<Probability>,
    reorder: Option<Probability>,
    reorder_depth: Option<ReorderDepth>,
    burst_loss: Option<BurstLoss>,
    #[serde(default)]
    silent: Vec<Spanned<Name>>,
    #[serde(default)]
    reboot: Vec<Spanned<Name>>,
}

macro_rules! faults_of {
    ($settings:ident) => {
        FaultOptions {
            drop: $settings.drop,
            corrupt: $settings.corrupt,
            truncate: $settings.truncate,
            duplicate: $settings.duplicate,
            reorder: $settings.reorder,
            reorder_depth: $settings.reorder_depth,
            burst_loss: $settings.burst_loss,
        }
    };
}

impl Settings {
    fn faults(&self) -> FaultOptions {
        faults_of!(self)
    }
}

impl PhaseSettings {
    fn settle(spanned: Spanned<Self>) -> Phase {
        let place = spanned.span().start;
        let settings = spanned.into_inner();
        let names = |names: Vec<Spanned<Name>>| {
            let named = |name: Spanned<Name>| Named {
                place: name.span().start,
                spacecraft: name.into_inner().0,
            };
            names.into_iter().map(named).collect()
        };
        Phase {
            place,
            duration: settings.duration.0,
            rate: settings.rate.map(|Positive(rate)| rate),
            anomalies: settings.anomalies,
            faults: faults_of!(settings),
            silent: names(settings.silent),
            reboot: names(settings.reboot),
        }
    }
}

/// An error at an octet of the text: its line, and the key (or table) that it belongs to.
fn wrong(path: &str, text: &str, place: usize, reason: &str) -> ScenarioError {
    let before = text.get(..place).unwrap_or(text);
    let line = before.matches('\n').count();
    // A value may begin lines after its key.
    let key = text
        .lines()
        .take(line + 1)
        .filter_map(key_of)
        .last()
        .map_or_else(|| "the file".into(), str::to_owned);
    // One line, whatever was quoted in it.
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    ScenarioError::Wrong { path: path.into(), line: line + 1, key, reason }
}

/// The key or table header that a line begins with.
fn key_of(line: &str) -> Option<&str> {
    let line = line.trim();
    if line.starts_with("[[") || line.starts_with('[') && line.ends_with(']') {
        return Some(line.split('#').next().unwrap_or(line).trim());
    }
    let (key, _) = line.split_once('=')?;
    (!key.starts_with('#')).then_some(key.trim())
}

/// Far more than [`PHASES_MAX`] phases need.
const FILE_OCTETS_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests;
