//! The `satsim` command: reads the options, puts the flight together and flies it.
#![forbid(unsafe_code)]

use std::{
    fs::File,
    io::BufWriter,
    net::{SocketAddr, ToSocketAddrs as _},
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, bail};
use clap::{CommandFactory as _, FromArgMatches as _};
use indicatif::HumanCount;
use jiff::Timestamp;
use satsim::{
    constellation::Constellation,
    datagram::Packer,
    digest::Digests,
    fault::Injector,
    flight::{Clock, Flight, NoWaiting, WallClock},
    options::{Options, Target, without_empty_variables},
    output,
    plan::Plan,
    progress::Progress,
    report::Report,
    signals,
    sink::{Outlet, Sink as _, SinkError, multicast::Multicast, pcap::Pcap, udp::Udp},
    verify::{self, VerifyOptions},
};

/// Flies a constellation of satellites and sends its telemetry over UDP.
#[derive(Debug, clap::Parser)]
#[command(name = "satsim", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Compare what was sent with what a ground station has stored; exit code 0 when all agrees
    Verify(VerifyOptions),
}

fn main() -> ExitCode {
    let command = without_empty_variables(Cli::command());
    let parsed = command.try_get_matches().and_then(|found| Cli::from_arg_matches(&found));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            let error = one_line(&error.to_string());
            output::note(format_args!("{error}; see satsim --help"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let done = match &cli.command {
        Some(Command::Verify(options)) => verify::run(options).map_err(anyhow::Error::from),
        None => launch(&cli.options).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            output::note(format_args!("error: {}", one_line(&format!("{error:#}"))));
            ExitCode::FAILURE
        }
    }
}

fn launch(options: &Options) -> anyhow::Result<()> {
    let stop = signals::stop_flag().context("cannot listen for Ctrl-C")?;
    let now = Timestamp::now();
    let mut plan = Plan::new(options, now)?;
    let mut outlet = Outlet {
        udp: match &plan.target {
            Some(target) => Some(open(target, options, stop.clone())?),
            None => None,
        },
        pcap: match &options.pcap {
            Some(path) => Some(Pcap::create(path, plan.origin.start_unix_us, plan.port)?),
            None => None,
        },
    };
    // Opened before the flight, so that a wrong path does not cost one.
    let report = match &options.report {
        Some(path) => Some((path, File::create(path).with_context(|| report_failed(path))?)),
        None => None,
    };
    let orbits = core::mem::take(&mut plan.orbits);
    let mut constellation = Constellation::new(plan.origin, orbits)?;
    announce(&plan, &constellation, options, now);

    let mut injector = plan
        .itinerary
        .has_faults()
        .then(|| Injector::new(plan.origin.seed, constellation.satellites()));
    let mut digests = report.is_some().then(Digests::default);
    let mut progress = Progress::start(plan.frames());
    let refusals = outlet.udp.as_ref().map(Udp::refusals).unwrap_or_default();
    let mut has_warned = false;
    let mut watch = |frames| {
        if !has_warned && refusals.load(Ordering::Relaxed) > 0 {
            progress.say(&nothing_listens(&plan));
            has_warned = true;
        }
        progress.update(frames);
    };
    let made = (injector.as_mut(), digests.as_mut());
    let landed = if outlet.udp.is_some() {
        let clock = WallClock::start();
        fly(&plan, &mut constellation, made, &mut outlet, clock, &stop, &mut watch)
    } else {
        fly(&plan, &mut constellation, made, &mut outlet, NoWaiting, &stop, &mut watch)
    };
    let took = progress.finish();
    let sent = outlet.frames_sent();
    let refused = refused(&outlet, &refusals);
    if refused > 0 && !has_warned {
        output::note(format_args!("{}", nothing_listens(&plan)));
    }

    // A flight that failed half-way still says what it did.
    if let Some((path, file)) = report {
        let frames_per_datagram = plan.frames_per_datagram;
        let report = Report::new(
            &plan.origin,
            &constellation,
            injector.as_ref(),
            &digests.unwrap_or_default(),
            sent,
            frames_per_datagram,
        );
        serde_json::to_writer_pretty(BufWriter::new(file), &report)
            .with_context(|| report_failed(path))?;
    }
    landed?;
    if let Some(pcap) = outlet.pcap {
        pcap.close()?;
    }
    let refused = match refused {
        0 => String::new(),
        times => format!("; refused {} times while nothing listened", HumanCount(times)),
    };
    output::text(format_args!(
        "{} frames generated, {} sent in {:.1} s: {} frames/s{refused}\n",
        HumanCount(constellation.generated()),
        HumanCount(sent),
        took.as_secs_f64(),
        HumanCount((sent as f64 / took.as_secs_f64()) as u64),
    ))
    .context("cannot write to standard output")
}

fn fly(
    plan: &Plan,
    constellation: &mut Constellation,
    (faults, digests): (Option<&mut Injector>, Option<&mut Digests>),
    sink: &mut Outlet,
    clock: impl Clock,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(u64),
) -> Result<(), SinkError> {
    let packer = Packer::new(usize::from(plan.frames_per_datagram));
    Flight { constellation, faults, digests, packer, sink, clock, stop, watch }.fly(&plan.itinerary)
}

/// A socket that sends to the target.
fn open(target: &Target, options: &Options, stop: Arc<AtomicBool>) -> anyhow::Result<Udp> {
    let address = resolve(target)?;
    let interface = options.multicast_interface.clone();
    let multicast = Multicast { interface, ttl: options.multicast_ttl };
    let is_group = address.ip().is_multicast();
    if multicast.is_asked() && !is_group {
        bail!(
            "--multicast-interface and --multicast-ttl are for a multicast group, and {address} is \
             none; give --target one such as 239.1.1.1:10015"
        );
    }
    let udp = Udp::with_multicast(address, &multicast, stop);
    let failed = || {
        if is_group {
            format!("cannot send to the multicast group {address}")
        } else {
            "cannot open a UDP socket".into()
        }
    };
    udp.with_context(failed)
}

/// The first address of the target, IPv4 before IPv6: a station listens on IPv4 by default.
fn resolve(target: &Target) -> anyhow::Result<SocketAddr> {
    let authority = &target.authority;
    let addresses: Vec<SocketAddr> = authority
        .to_socket_addrs()
        .with_context(|| format!("cannot find --target {authority}, give an address that exists"))?
        .collect();
    match addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()) {
        Some(&address) => Ok(address),
        None => bail!("--target {authority} has no address, give one that exists"),
    }
}

fn announce(plan: &Plan, constellation: &Constellation, options: &Options, now: Timestamp) {
    let to_network = plan.target.as_ref().map(|target| target.authority.clone());
    let to_file = options.pcap.as_ref().map(|path| path.display().to_string());
    let places: Vec<String> = to_network.into_iter().chain(to_file).collect();
    output::note(format_args!(
        "{} satellites, boot {}, seed {}, to {}",
        constellation.satellites(),
        plan.origin.boot_count,
        plan.origin.seed,
        places.join(" and "),
    ));
    if plan.target.is_some() && plan.ahead_us(now) > STATION_AHEAD_US {
        output::note(format_args!(
            "note: simulated time runs ahead of the clock, and a station quarantines what is dated \
             more than 5 minutes ahead; give an earlier --start"
        ));
    }
}

/// How often the target has said that nothing listens, up to the last datagram.
fn refused(outlet: &Outlet, refusals: &AtomicU64) -> u64 {
    if let Some(udp) = &outlet.udp {
        udp.finish();
    }
    refusals.load(Ordering::Relaxed)
}

fn nothing_listens(plan: &Plan) -> String {
    let target = plan.target.as_ref().map_or("the target", |target| &*target.authority);
    format!(
        "WARN: nothing listens on {target} (port unreachable): start a receiver there, or give \
         another --target; sending goes on"
    )
}

fn report_failed(path: &Path) -> String {
    format!("cannot write {}, give --report another place", path.display())
}

/// The first paragraph of an error, in one line.
fn one_line(error: &str) -> String {
    error.lines().map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

const EXIT_USAGE: u8 = 2;
/// How far ahead a station believes a frame by default.
const STATION_AHEAD_US: i64 = 300_000_000;
