//! The command line: each option checked by itself. What they mean together is [`crate::plan`].

use std::{ffi::OsStr, path::PathBuf, str::FromStr, time::Duration};

use jiff::Timestamp;

use crate::{
    constellation::SATELLITES_MAX,
    datagram::FRAMES_PER_DATAGRAM_MAX,
    fault::options::{FaultOptions, Probability},
    sink::multicast::Interface,
};
use protocol::rfc3339;

/// Flies a constellation of satellites and sends its telemetry over UDP.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "satsim", version, max_term_width = 100)]
pub struct Options {
    /// Ground station to send to [default: 127.0.0.1:10015]
    #[arg(long, value_name = "HOST:PORT")]
    pub target: Option<Target>,

    /// Network interface that datagrams to a multicast group leave by: its name, index or IPv4
    /// address [default: where the route to the group leads]
    #[arg(long, value_name = "INTERFACE")]
    pub multicast_interface: Option<Interface>,

    /// How many networks datagrams to a multicast group may pass through, 0 for none beyond this
    /// machine [default: 1]
    #[arg(long, value_name = "HOPS")]
    pub multicast_ttl: Option<u8>,

    /// How many satellites fly, from SAT-01 [default: 100, or all of --tle]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(SATELLITES_MAX)))]
    pub satellites: Option<u16>,

    /// Frames per second of each satellite, all kinds together [default: 10]
    #[arg(long, value_name = "FRAMES", value_parser = positive)]
    pub rate: Option<f64>,

    /// As many frames as can be sent. Simulated time then follows the clock, so what is sent
    /// depends on the machine
    #[arg(long, conflicts_with = "rate")]
    pub unlimited: bool,

    /// How long to fly, such as 60s or 1h [default: until Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = span, conflicts_with = "count")]
    pub duration: Option<Duration>,

    /// How many frames to send in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Frames in each datagram [default: 1]
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=FRAMES_PER_DATAGRAM_MAX as i64))]
    pub frames_per_datagram: Option<u16>,

    /// Simulated time at the start, such as 2026-01-01T00:00:00Z, or now. Where the satellites are
    /// depends on it alone, so that a later start continues their orbits [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub start: Option<Start>,

    /// Simulated seconds per second [default: 1]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub speed: Option<f64>,

    /// How often each satellite has started [default: Unix seconds now, modulo 65536]
    #[arg(long, value_name = "N")]
    pub boot: Option<u16>,

    /// What noise, differences, anomalies and faults are drawn from: the same options with the same --start,
    /// --boot and --seed send the same bytes [default: 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Orbits from a file of two-line element sets, instead of a Walker constellation
    #[arg(long, value_name = "FILE")]
    pub tle: Option<PathBuf>,

    /// Write the traffic to a file for Wireshark: instead of sending it, or besides when --target
    /// is given
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,

    /// Write what was sent, stream by stream, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Fly in phases from a TOML file, which may also hold the options above and below; those on
    /// the command line override its own, but not what a phase says
    #[arg(long, value_name = "FILE", conflicts_with_all = ["duration", "count"])]
    pub scenario: Option<PathBuf>,

    /// Chance per satellite and simulated second, from 0 to 1, that something goes wrong in its
    /// readings: a spike, a step, a drift, a stuck value or noise [default: 0]
    #[arg(long, value_name = "CHANCE")]
    pub anomalies: Option<Probability>,

    /// What is done to the frames.
    #[command(flatten)]
    pub faults: FaultOptions,
}

/// Simulated time at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// That of the clock.
    #[default]
    Now,
    /// This one.
    At(Timestamp),
}

impl Start {
    /// The moment, when it is `now`.
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Now => now,
            Self::At(moment) => moment,
        }
    }
}

/// Where to send, not yet resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `host:port`, as it was given.
    pub authority: String,
    /// The port of it.
    pub port: u16,
}

impl Default for Target {
    fn default() -> Self {
        Self { authority: format!("127.0.0.1:{DEFAULT_PORT}"), port: DEFAULT_PORT }
    }
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = text
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .and_then(|(_, port)| port.parse().ok())
            .filter(|&port| port != 0)
            .ok_or("expected host:port, such as 127.0.0.1:10015")?;
        Ok(Self { authority: text.into(), port })
    }
}

fn positive(text: &str) -> Result<f64, &'static str> {
    above_zero(text.parse().unwrap_or(f64::NAN))
}

pub(crate) fn above_zero(value: f64) -> Result<f64, &'static str> {
    let is_usable = value.is_finite() && value > 0.0;
    is_usable.then_some(value).ok_or("expected a number above 0, such as 10 or 0.1")
}

pub(crate) fn span(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if span > Duration::ZERO => Ok(span),
        Ok(_) => Err("expected more than no time".into()),
        Err(error) => Err(format!("{error}; expected a time such as 60s or 1h")),
    }
}

pub(crate) fn moment(text: &str) -> Result<Start, &'static str> {
    if text == "now" {
        return Ok(Start::Now);
    }
    let time = rfc3339::unix_us(text).ok().and_then(|us| Timestamp::from_microsecond(us).ok());
    let start = time.map(Start::At);
    start.ok_or("expected an RFC 3339 time, such as 2026-01-01T00:00:00Z, or now")
}

/// Makes an empty environment variable the same as none, for all options of a command.
pub fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|argument| match argument.get_env() {
        Some(name) if is_empty(name) => argument.env(None::<&'static str>),
        _ => argument,
    });
    command.mut_subcommands(without_empty_variables)
}

/// The ground station's default.
const DEFAULT_PORT: u16 = 10_015;

#[cfg(test)]
mod tests {
    use super::{Options, Target};
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn the_declaration_is_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn targets() {
        for text in ["localhost:1", "receiver:10015", "127.0.0.1:10015", "[::1]:10015"] {
            assert_eq!(text.parse::<Target>().unwrap().authority, text);
        }
        for text in ["", "receiver", ":10015", "receiver:0", "receiver:65536", "a:b", "1.2.3.4:"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for wrong in [
            "--rate=0",
            "--rate=-1",
            "--rate=NaN",
            "--rate=inf",
            "--rate=x",
            "--speed=0",
            "--satellites=0",
            "--satellites=65536",
            "--satellites=-1",
            "--duration=0s",
            "--duration=60",
            "--count=0",
            "--count=-1",
            "--frames-per-datagram=0",
            "--frames-per-datagram=964",
            "--start=yesterday",
            "--start=2026-01-01",
            "--start=2026-01-01T00:00:00",
            "--start=2026-01-01T00:00Z",
            "--start=2026-01-01T00:00:00Z[UTC]",
            "--multicast-ttl=256",
            "--multicast-interface=a/b",
            "--boot=65536",
            "--seed=-1",
            "--target=10015",
            "--target=:10015",
            "--unlimited --rate=1",
            "--duration=1s --count=1",
            "--anomalies=1.1",
            "--anomalies=-1",
            "--drop=1.1",
            "--drop=-0.1",
            "--corrupt=x",
            "--reorder-depth=0",
            "--reorder-depth=1025",
            "--burst-loss=0.1",
            "--burst-loss=0.1,2",
            "--scenario=f --count=1",
            "--scenario=f --duration=1s",
            "--no-such-option",
        ] {
            let arguments = core::iter::once("satsim").chain(wrong.split(' '));
            assert!(Options::try_parse_from(arguments).is_err(), "{wrong}");
        }
    }
}
