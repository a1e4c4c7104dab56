//! A private Yamcs with the configuration of `docs/yamcs` and the XTCE document: a mission control
//! system of others that decodes what satellites send.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cluster::free_port;
use crate::{Program, generate};

/// The name of the instance in `docs/yamcs`.
const INSTANCE: &str = "orbitstream";
/// Ports as people use them, each once in a file of `docs/yamcs`.
const HTTP_PORT: &str = "port: 8090";
const UDP_PORT: &str = "port: 10015";
/// Packets, or values of one parameter, in one answer: as many as Yamcs gives, more than a test has.
const VALUES_MAX: usize = 1_000;
/// A Java machine on a busy computer takes its time.
const START_DURATION_MAX: Duration = Duration::from_secs(240);
/// What has come is in its archives in less than that.
const ARCHIVE_DURATION_MAX: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A running Yamcs.
#[derive(Debug)]
pub struct Yamcs {
    program: Program,
    log: PathBuf,
    api: String,
    target: String,
    http: ureq::Agent,
}

impl Yamcs {
    /// Why it cannot run here, if so.
    #[must_use]
    pub fn missing() -> Option<String> {
        if !jars().is_dir() {
            return Some(format!("{} is missing: scripts/setup.sh yamcs", jars().display()));
        }
        let java = Command::new("java").arg("-version").output();
        (!java.is_ok_and(|output| output.status.success()))
            .then(|| "no java: scripts/setup.sh yamcs".to_owned())
    }

    /// Starts it with `document` in place of the XTCE document, on free ports, with all its files in
    /// `folder`.
    pub fn start(document: &Path, folder: &Path) -> Result<Self> {
        let (http, udp) = (free_port()?, UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port());
        let etc = folder.join("etc");
        fs::create_dir(&etc)?;
        let mut replaced = 0;
        for entry in generate::root().join("docs/yamcs").read_dir()? {
            let path = entry?.path();
            let text = fs::read_to_string(&path)?;
            replaced += text.matches(HTTP_PORT).count() + text.matches(UDP_PORT).count();
            let text = text
                .replace(HTTP_PORT, &format!("port: {http}"))
                .replace(UDP_PORT, &format!("port: {udp}"));
            fs::write(etc.join(path.file_name().unwrap_or_default()), text)?;
        }
        ensure!(replaced == 2, "docs/yamcs should name each port once");
        fs::copy(document, folder.join("orbitstream.xtce.xml"))?;
        let log = folder.join("yamcs.log");
        let mut command = Command::new("java");
        command
            .arg("-cp")
            .arg(jars().join("*"))
            .args(["org.yamcs.YamcsServer", "--etc-dir", ".", "--data-dir", "../data"])
            .current_dir(&etc);
        let mut yamcs = Self {
            program: Program::start(&mut command, &log)?,
            log,
            api: format!("http://127.0.0.1:{http}/api"),
            target: format!("127.0.0.1:{udp}"),
            http: ureq::Agent::config_builder().http_status_as_error(false).build().into(),
        };
        yamcs.wait_until("it receives", START_DURATION_MAX, |yamcs| {
            Ok(yamcs
                .get(&format!("links/{INSTANCE}"))
                .is_ok_and(|links| links["links"][0]["status"] == "OK"))
        })?;
        Ok(yamcs)
    }

    /// Where it receives packets.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// How many packets have come.
    pub fn received(&self) -> Result<u64> {
        let links = self.get(&format!("links/{INSTANCE}"))?;
        let count = links["links"][0]["dataInCount"].as_str().context("no dataInCount")?;
        Ok(count.parse()?)
    }

    /// Waits until that number of packets has come; they are recorded a little later.
    pub fn wait_for(&mut self, packets: u64) -> Result<()> {
        self.wait_until("all have come", Duration::from_secs(60), |yamcs| {
            Ok(yamcs.received()? >= packets)
        })
    }

    /// Every packet that it has recorded, oldest first: name, time of reception, number. Waits for
    /// `wanted` of them.
    pub fn packets(&self, wanted: usize) -> Result<Vec<Value>> {
        let path = format!("archive/{INSTANCE}/packets?order=asc&limit={VALUES_MAX}");
        self.get_all(&path, "packet", wanted)
    }

    /// What it reads in a recorded packet, parameter by parameter.
    pub fn extract(&self, packet: &Value) -> Result<Vec<Value>> {
        let name = packet["id"]["name"].as_str().context("a packet has no name")?;
        let time = packet["generationTime"].as_str().context("a packet has no time")?;
        let number = &packet["sequenceNumber"];
        let name = name.replace('/', "%2F");
        let path = format!("archive/{INSTANCE}/packets/{name}/{time}/{number}:extract");
        let extracted = self.get(&path)?;
        ensure!(extracted["messages"].is_null(), "{}: {}", name, extracted["messages"]);
        Ok(array(&extracted["parameterValues"]))
    }

    /// Every value of a parameter that the processor has put out as packets came. Waits for `wanted`
    /// of them.
    pub fn history(&self, parameter: &str, wanted: usize) -> Result<Vec<Value>> {
        let path = format!(
            "archive/{INSTANCE}/parameters/OrbitStream/{parameter}?source=ParameterArchive&order=asc\
             &limit={VALUES_MAX}"
        );
        self.get_all(&path, "parameter", wanted)
    }

    /// Every event, such as one about a packet that it could not decode.
    pub fn events(&self) -> Result<Vec<Value>> {
        let events = self.get(&format!("archive/{INSTANCE}/events?limit={VALUES_MAX}"))?;
        Ok(array(&events["events"]))
    }

    /// Warnings and errors in its log: it prints them in yellow and red.
    pub fn complaints(&self) -> Result<Vec<String>> {
        const INFO: &str = "\u{1b}[0;36m";
        const COLOURS: [&str; 2] = ["\u{1b}[0;33m", "\u{1b}[0;31m"];
        let log = fs::read_to_string(&self.log)?;
        ensure!(log.contains(INFO), "the log has no colours to know warnings by:\n{log}");
        let lines = log.lines().filter(|line| COLOURS.iter().any(|colour| line.contains(colour)));
        // Yamcs warns so unless a secret key is configured.
        Ok(lines.filter(|line| !line.contains("secret key")).map(str::to_owned).collect())
    }

    /// What is there once so much is, or after a while.
    fn get_all(&self, path: &str, name: &str, wanted: usize) -> Result<Vec<Value>> {
        let deadline = Instant::now() + ARCHIVE_DURATION_MAX;
        loop {
            let there = array(&self.get(path)?[name]);
            if there.len() >= wanted || Instant::now() > deadline {
                return Ok(there);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn get(&self, path: &str) -> Result<Value> {
        let url = format!("{}/{path}", self.api);
        let mut answer = self.http.get(&url).call().with_context(|| url.clone())?;
        let text = answer.body_mut().with_config().limit(ANSWER_OCTETS_MAX).read_to_string()?;
        ensure!(answer.status() == 200, "{url}: {}: {text}", answer.status());
        serde_json::from_str(&text).with_context(|| format!("{url}: {text}"))
    }

    fn wait_until(
        &mut self,
        what: &str,
        duration_max: Duration,
        mut is_so: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + duration_max;
        while !is_so(self)? {
            self.program.check_running()?;
            if Instant::now() > deadline {
                bail!("waited too long until {what}:\n{}", self.program.log_tail());
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}

const ANSWER_OCTETS_MAX: u64 = 64 << 20;

fn jars() -> PathBuf {
    generate::root().join("target/yamcs/fprime_yamcs_bundle/lib")
}

fn array(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}
