//! Where cases are run: one private database, a fresh station for each case, and a network of its
//! own for those that need one.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::case::{Case, IMPAIRED_DURATION, Way};
use crate::cluster::OWNER;
use crate::network::{Network, Weather};
use crate::relay::{Passed, Relay};
use crate::station::{RECEIVER_REPORT, SATSIM_REPORT};
use crate::{Cluster, Constellation, Counters, Reports, Station, Truth, Verification};

/// A place to run cases in.
#[derive(Debug)]
pub struct Range {
    cluster: Cluster,
    network: Option<Network>,
    folder: PathBuf,
    seed: u64,
}

/// How a case went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The case.
    pub case: Case,
    /// What its faults were drawn from.
    pub seed: u64,
    /// What the satellites did, if it came to that.
    pub truth: Option<Truth>,
    /// What the station counted, if it came to that.
    pub counters: Option<Counters>,
    /// How long it took.
    pub duration: Duration,
    /// What was wrong; nothing when all was well.
    pub failure: Option<String>,
}

/// What an impaired way did, as far as it knows itself.
#[derive(Clone, Copy, Debug, Default)]
struct Toll {
    relayed: Option<Passed>,
    /// Packets that were filtered away.
    filtered: Option<u64>,
}

const DATABASE: &str = "stress";
const WRITER: &str = "orbitstream_writer";

/// Where the station listens on its own network; nobody else is there.
const GROUND_PORT: u16 = 10_115;

/// From the first frame that is heard until all streams have been; and before the end, when the
/// first of them falls silent.
const SETTLE_DURATION: Duration = Duration::from_secs(1);
const CALM_DURATION: Duration = Duration::from_millis(1_500);

const POLL_INTERVAL: Duration = Duration::from_millis(20);
const FIRST_FRAME_DURATION_MAX: Duration = Duration::from_secs(20);

impl Range {
    /// Makes the database. Each case leaves its logs and reports in a folder of its own in
    /// `folder`, and is drawn from `seed` plus its number.
    pub fn start(folder: &Path, seed: u64) -> Result<Self> {
        let cluster = Cluster::start()?;
        cluster.create_database(DATABASE)?;
        Station::migrate(&cluster.url(DATABASE), &[])?;
        Ok(Self { cluster, network: None, folder: folder.to_owned(), seed })
    }

    /// Makes the network for cases that need one; whether its kernel knows `netem`. An error says
    /// why there can be none here.
    pub fn lay_network(&mut self) -> Result<bool> {
        let network = Network::make()?;
        let has_netem = network.has_netem();
        self.network = Some(network);
        Ok(has_netem)
    }

    /// Runs case `number`, which is also its boot count and must differ between cases.
    pub fn run(&self, case: &Case, number: u16) -> Outcome {
        let start = Instant::now();
        let seed = self.seed.wrapping_add(number.into());
        let mut outcome = Outcome {
            case: case.clone(),
            seed,
            truth: None,
            counters: None,
            duration: Duration::ZERO,
            failure: None,
        };
        let flown = match case.way {
            Way::Loopback | Way::Relay(_) => self.fly(&mut outcome, number),
            Way::Cable(_) | Way::RelayAndCable(_) => match &self.network {
                Some(network) => network.on_ground(|| self.fly(&mut outcome, number)),
                None => Err(anyhow::anyhow!("there is no network")),
            },
        };
        outcome.failure = flown.err().map(|error| format!("{error:#}"));
        outcome.duration = start.elapsed();
        outcome
    }

    fn fly(&self, outcome: &mut Outcome, number: u16) -> Result<()> {
        let case = outcome.case.clone();
        let folder = self.folder.join(format!("{number:04}"));
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let url = self.cluster.url_by_socket(WRITER, DATABASE)?;
        let listen = format!("--listen={}", Network::target(GROUND_PORT));
        let is_on_cable = matches!(case.way, Way::Cable(_) | Way::RelayAndCable(_));
        let options = if is_on_cable { vec![&*listen] } else { Vec::new() };
        let mut station = Station::start(&url, &folder, ports(), &options)?;

        let mut options = case.options();
        options.extend([format!("--seed={}", outcome.seed), format!("--boot={number}")]);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let flight = Flight { folder: &folder, options: &options, seed: outcome.seed };
        let (truth, toll) = match case.way {
            Way::Loopback => (flight.fly(station.target())?, Toll::default()),
            Way::Relay(impairment) => {
                let relay = Relay::start(station.target().parse()?, impairment, flight.seed)?;
                flight.through(relay, &mut station)?
            }
            Way::Cable(weather) => flight.over(self.network()?, weather, &mut station)?,
            Way::RelayAndCable(impairment) => {
                let target = Network::target(GROUND_PORT);
                let network = self.network()?;
                let relay = network.in_sky(|| Relay::start(target, impairment, flight.seed))?;
                network.in_sky(|| flight.through(relay, &mut station))?
            }
        };
        outcome.truth = Some(truth);
        station.wait_until_quiet()?;
        let counters = station.stop()?;
        outcome.counters = Some(counters.clone());
        self.verify(&case, &folder)?;
        check_toll(&case, toll, &counters)
    }

    fn network(&self) -> Result<&Network> {
        self.network.as_ref().context("there is no network")
    }

    fn verify(&self, case: &Case, folder: &Path) -> Result<()> {
        let reports = Reports {
            truth: &folder.join(SATSIM_REPORT),
            receiver: Some(&folder.join(RECEIVER_REPORT)),
        };
        let options: &[&str] = if case.is_lossy() { &["--lossy-link"] } else { &[] };
        let url = self.cluster.url_by_socket(OWNER, DATABASE)?;
        let verification = Verification::run(reports, &url, options)?;
        if !verification.agrees {
            bail!("satsim verify: {}", verification.page.trim_end());
        }
        Ok(())
    }
}

/// What is the same for all ways.
struct Flight<'a> {
    folder: &'a Path,
    options: &'a [&'a str],
    seed: u64,
}

impl Flight<'_> {
    fn fly(&self, target: &str) -> Result<Truth> {
        Constellation::fly(target, self.folder, self.options)
    }

    fn through(&self, relay: Relay, station: &mut Station) -> Result<(Truth, Toll)> {
        let satellites = self.launch(relay.address())?;
        impaired(station, || relay.impair(true), || relay.impair(false))?;
        let truth = satellites.land()?;
        Ok((truth, Toll { relayed: Some(relay.stop()?), filtered: None }))
    }

    fn over(
        &self,
        network: &Network,
        weather: Weather,
        station: &mut Station,
    ) -> Result<(Truth, Toll)> {
        let satellites = network.in_sky(|| self.launch(Network::target(GROUND_PORT)))?;
        let begin = || network.begin(weather, GROUND_PORT);
        let (onset, close) = impaired(station, begin, || network.end(weather))?;
        onset?;
        let filtered = close?;
        Ok((satellites.land()?, Toll { relayed: None, filtered }))
    }

    fn launch(&self, target: SocketAddr) -> Result<Constellation> {
        Constellation::start(&target.to_string(), self.folder, self.options)
    }
}

/// Does `begin` once every stream has been heard, and `end` before the first falls silent.
fn impaired<B, E>(
    station: &mut Station,
    begin: impl FnOnce() -> B,
    end: impl FnOnce() -> E,
) -> Result<(B, E)> {
    let launched = Instant::now();
    while station.counters()?.accepted == 0 {
        if launched.elapsed() > FIRST_FRAME_DURATION_MAX {
            bail!("the station heard nothing");
        }
        thread::sleep(POLL_INTERVAL);
    }
    let first = Instant::now();
    thread::sleep(SETTLE_DURATION);
    let onset = begin();
    thread::sleep(IMPAIRED_DURATION.saturating_sub(CALM_DURATION + first.elapsed()));
    Ok((onset, end()))
}

/// What the way has counted itself must be what the station has found, to the frame.
fn check_toll(case: &Case, toll: Toll, counters: &Counters) -> Result<()> {
    if let Some(passed) = toll.relayed {
        if (counters.lost, counters.duplicate) != (passed.dropped, passed.duplicated) {
            bail!(
                "the relay dropped {} frames and repeated {}; the station found {} lost and {} \
                 duplicate",
                passed.dropped,
                passed.duplicated,
                counters.lost,
                counters.duplicate
            );
        }
        return Ok(());
    }
    if let Some(filtered) = toll.filtered {
        let (lost, most) = (counters.lost, filtered * u64::from(case.frames_per_datagram));
        // The last datagram of a burst may not be full.
        if lost > most || lost < filtered || (case.frames_per_datagram == 1 && lost != filtered) {
            bail!("{filtered} packets were filtered away; the station found {lost} frames lost");
        }
    }
    if matches!(case.way, Way::Cable(Weather::Congestion { .. })) && counters.lost == 0 {
        bail!("the cable was never full");
    }
    Ok(())
}

/// Ports that another program is unlikely to choose at the same time.
fn ports() -> (u16, u16) {
    let first = rand::random_range(32_000..60_000);
    (first, first + 1)
}
