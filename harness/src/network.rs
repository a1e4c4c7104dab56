//! A network of its own: two network namespaces, the sky and the ground, joined by a virtual cable.
//!
//! Guarantee: nothing that happens on it reaches another network, and namespaces, cable, filters
//! and queues are gone when the [`Network`] is dropped and when this process ends in whatever way
//! (see [`crate::watchdog`]).
//!
//! Limits: Linux, root, and the programs `ip`, `nft` and `tc` (`scripts/setup.sh network`).
//! PostgreSQL does not live there; it is reached by its Unix socket, which no namespace hides.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};

use crate::watchdog::Watchdog;

/// Where the station is, seen from the sky.
pub const GROUND: Ipv4Addr = Ipv4Addr::new(10, 213, 77, 2);

/// Removes the namespaces `$1` and `$2`, and the cable with them.
const REMOVE: &str = "ip netns del \"$1\" 2>/dev/null\nip netns del \"$2\" 2>/dev/null";

const SKY_ADDRESS: &str = "10.213.77.1/30";
const GROUND_ADDRESS: &str = "10.213.77.2/30";
const SKY_DEVICE: &str = "sky0";
const GROUND_DEVICE: &str = "ground0";

/// Two namespaces and the cable between them.
#[derive(Debug)]
pub struct Network {
    sky: String,
    ground: String,
    _watchdog: Watchdog,
}

/// What the kernel is told to do to the traffic from the sky to the ground.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weather {
    /// A share of packets is filtered away at random (nftables `numgen`).
    Loss {
        /// How many in a thousand.
        per_mille: u16,
    },
    /// The cable carries less than is sent (`tbf`).
    Congestion {
        /// Kilobits per second.
        kbit: u32,
    },
    /// Loss, repeats, disorder and delay by the kernel itself, where it can (`netem`).
    Netem,
}

impl Network {
    /// Makes it. An error says what is missing.
    pub fn make() -> Result<Self> {
        static NETWORKS: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() {
            bail!("network namespaces need root");
        }
        for program in ["ip", "nft", "tc"] {
            let there = Command::new(program).arg("-V").output();
            there.with_context(|| format!("no `{program}`: run scripts/setup.sh network"))?;
        }
        let name = format!(
            "orbitstream-{}-{}",
            std::process::id(),
            NETWORKS.fetch_add(1, Ordering::Relaxed)
        );
        let (sky, ground) = (format!("{name}-sky"), format!("{name}-ground"));
        let watchdog = Watchdog::start(REMOVE, &[&sky, &ground], None, None)?;
        let network = Self { sky, ground, _watchdog: watchdog };
        network.lay().context("network namespaces cannot be made here")?;
        Ok(network)
    }

    fn lay(&self) -> Result<()> {
        let (sky, ground) = (&*self.sky, &*self.ground);
        run("ip", &["netns", "add", sky])?;
        run("ip", &["netns", "add", ground])?;
        run(
            "ip",
            &[
                "link",
                "add",
                SKY_DEVICE,
                "netns",
                sky,
                "type",
                "veth",
                "peer",
                "name",
                GROUND_DEVICE,
                "netns",
                ground,
            ],
        )?;
        for (namespace, device, address) in
            [(sky, SKY_DEVICE, SKY_ADDRESS), (ground, GROUND_DEVICE, GROUND_ADDRESS)]
        {
            run("ip", &["-n", namespace, "address", "add", address, "dev", device])?;
            run("ip", &["-n", namespace, "link", "set", "lo", "up"])?;
            // Each datagram travels by itself, as on a real cable, so that each is lost by itself.
            run("ip", &["-n", namespace, "link", "set", device, "up", "gso_max_segs", "1"])?;
        }
        Ok(())
    }

    /// Does `work` in the sky; what it starts stays there.
    pub fn in_sky<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        inside(&self.sky, work)
    }

    /// Does `work` on the ground; what it starts stays there.
    pub fn on_ground<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        inside(&self.ground, work)
    }

    /// Where a station on this port is reached from the sky.
    pub fn target(port: u16) -> SocketAddr {
        SocketAddr::from((GROUND, port))
    }

    /// Whether the kernel knows `netem`.
    pub fn has_netem(&self) -> bool {
        let known = self.sky_queue("add", &["netem", "loss", "0%"]).is_ok();
        known && self.sky_queue("del", &[]).is_ok()
    }

    /// Lets the weather begin for datagrams to `port`.
    pub fn begin(&self, weather: Weather, port: u16) -> Result<()> {
        match weather {
            // On the way in: what is filtered on the way out fails at the sender.
            Weather::Loss { per_mille } => {
                let rules = format!(
                    "table inet {TABLE} {{ counter taken {{ }}; chain {TABLE} {{ \
                 type filter hook input priority 0; \
                 udp dport {port} numgen random mod 1000 < {per_mille} counter name taken drop; \
                 }}; }}"
                );
                self.nft(&rules).map(drop)
            }
            Weather::Congestion { kbit } => {
                let rate = format!("{kbit}kbit");
                self.sky_queue("add", &["tbf", "rate", &rate, "burst", "8kb", "limit", "32kb"])
            }
            Weather::Netem => self.sky_queue(
                "add",
                &[
                    "netem",
                    "limit",
                    "100000",
                    "loss",
                    "3%",
                    "duplicate",
                    "3%",
                    "delay",
                    "20ms",
                    "10ms",
                ],
            ),
        }
    }

    /// Lets it end, and says how many packets were filtered away where that is counted.
    pub fn end(&self, weather: Weather) -> Result<Option<u64>> {
        if !matches!(weather, Weather::Loss { .. }) {
            self.sky_queue("del", &[])?;
            return Ok(None);
        }
        // First nothing more is taken, then it is counted.
        self.nft(&format!("flush chain inet {TABLE} {TABLE}"))?;
        let listing = self.nft(&format!("list counter inet {TABLE} taken"))?;
        self.nft(&format!("delete table inet {TABLE}"))?;
        let mut words = listing.split_whitespace().skip_while(|word| *word != "packets").skip(1);
        Ok(words.next().and_then(|count| count.parse().ok()))
    }

    fn nft(&self, rules: &str) -> Result<String> {
        run("ip", &["netns", "exec", &self.ground, "nft", rules])
    }

    fn sky_queue(&self, verb: &str, queue: &[&str]) -> Result<()> {
        let device = ["-n", &self.sky, "qdisc", verb, "dev", SKY_DEVICE, "root"];
        run("tc", &[&device, queue].concat()).map(drop)
    }
}

/// Does `work` on a thread that has entered a namespace. Threads and programs that it starts are in
/// there too.
fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let path = format!("/run/netns/{namespace}");
    let namespace = File::open(&path).with_context(|| format!("cannot open {path}"))?;
    thread::scope(|scope| {
        let worker = scope.spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).context("cannot enter the namespace")?;
            work()
        });
        worker.join().map_err(|_| anyhow!("the work in a network namespace panicked"))?
    })
}

fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}", arguments.join(" "), message.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

const TABLE: &str = "weather";

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn it_is_gone_afterwards_even_after_a_panic() -> Result<()> {
        let network = match Network::make() {
            Ok(network) => network,
            Err(error) => {
                // Not `eprintln`, which a passing test swallows.
                writeln!(std::io::stderr(), "network tests cannot run here: {error:#}")?;
                return Ok(());
            }
        };
        let (sky, ground) = (network.sky.clone(), network.ground.clone());
        assert!(network.in_sky(|| Ok(File::open("/proc/net/dev")?.metadata()?.is_file()))?);
        let panicked: Result<()> = network.on_ground(|| panic!("on purpose"));
        assert!(panicked.is_err());
        drop(network);
        let left = run("ip", &["netns", "list"])?;
        assert!(!left.contains(&sky) && !left.contains(&ground), "{left}");
        Ok(())
    }
}
