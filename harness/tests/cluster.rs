//! The private cluster: it answers, several stand beside each other, and nothing is left of it
//! however its owner ends.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, panic, thread};

use anyhow::Result;
use harness::{Cluster, ClusterOptions, StopMode};

/// Set for the copy of this program that plays an owner to be killed.
const OWNER_ROLE: &str = "ORBITSTREAM_TEST_CLUSTER_OWNER";

/// How long the remains of a killed owner may take to go away.
const CLEAN_UP_DURATION_MAX: Duration = Duration::from_secs(20);

#[test]
fn answers_and_is_gone_after_drop() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.create_database("plain")?;
    assert_eq!(cluster.sql("plain", "SELECT 1; SELECT 2, 'b'")?, "1\n2|b");

    let remains = Remains::of(&cluster)?;
    assert!(remains.are_there());
    drop(cluster);
    remains.wait_until_gone();
    Ok(())
}

#[test]
fn a_failed_statement_is_an_error_and_ends_the_script() -> Result<()> {
    let cluster = Cluster::start()?;
    let error = cluster
        .sql("postgres", "SELECT 1 / 0; CREATE TABLE never (n int)")
        .expect_err("a division by zero");
    assert!(error.to_string().contains("division by zero"), "{error}");
    assert_eq!(cluster.sql("postgres", "SELECT to_regclass('never') IS NULL")?, "t");
    Ok(())
}

#[test]
fn only_tcp_asks_for_the_password() -> Result<()> {
    let cluster = Cluster::start()?;
    let run = |url: &str| Command::new("sh").arg("-c").arg(url).stdin(Stdio::null()).output();

    let by_socket = run(&format!("{} -Atc 'SELECT 7'", cluster.psql_command("postgres")))?;
    assert_eq!(String::from_utf8_lossy(&by_socket.stdout).trim(), "7");

    let wrong = cluster.url_as("orbitstream", Some("wrong"), "postgres");
    let refused = cluster.psql(&wrong).stdin(Stdio::null()).output()?;
    assert!(!refused.status.success());
    Ok(())
}

#[test]
fn two_stand_beside_each_other() -> Result<()> {
    let one = Cluster::start()?;
    let other = Cluster::start()?;
    assert_ne!(one.port(), other.port());
    one.create_database("here")?;
    assert_eq!(one.sql("here", "SELECT 1")?, "1");
    assert!(other.sql("here", "SELECT 1").is_err());
    Ok(())
}

#[test]
fn is_gone_after_a_panic() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let outcome = thread::spawn(move || {
        let cluster = Cluster::start().expect("a cluster");
        sender.send(Remains::of(&cluster).expect("a process id")).expect("a listener");
        panic::resume_unwind(Box::new("as if a test had failed"));
    })
    .join();
    assert!(outcome.is_err());
    receiver.recv().expect("remains").wait_until_gone();
}

#[test]
fn is_gone_after_its_owner_was_killed() -> Result<()> {
    let mut owner = Command::new(env::current_exe()?)
        .args(["--exact", "owner_to_be_killed", "--nocapture"])
        .env(OWNER_ROLE, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let line = BufReader::new(owner.stdout.take().expect("a pipe"))
        .lines()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("owner: ")?.1.to_owned()))
        .expect("the owner says where its cluster is");
    let (server, directory) = line.split_once(' ').expect("two fields");
    let remains = Remains { server: server.parse()?, directory: directory.into() };
    assert!(remains.are_there());

    owner.kill()?;
    owner.wait()?;
    remains.wait_until_gone();
    Ok(())
}

/// Not a test of its own: what [`is_gone_after_its_owner_was_killed`] starts and kills.
#[test]
fn owner_to_be_killed() -> Result<()> {
    if env::var_os(OWNER_ROLE).is_none() {
        return Ok(());
    }
    let cluster = Cluster::start()?;
    let remains = Remains::of(&cluster)?;
    println!("owner: {} {}", remains.server, remains.directory.display());
    thread::sleep(Duration::from_secs(120));
    Ok(())
}

#[test]
fn survives_a_crash_and_keeps_its_address() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.sql("postgres", "CREATE TABLE kept AS SELECT 42 AS n")?;
    let url = cluster.url("postgres");
    cluster.restart_immediate()?;
    assert_eq!(cluster.url("postgres"), url);
    assert_eq!(cluster.sql("postgres", "SELECT n FROM kept")?, "42");
    Ok(())
}

#[test]
fn a_given_folder_is_kept_and_has_one_owner() -> Result<()> {
    let parent = open_folder()?;
    let folder = parent.path().join("cluster");

    let cluster = Cluster::start_in(&folder)?;
    cluster.sql("postgres", "CREATE TABLE kept AS SELECT 42 AS n")?;
    let url = cluster.url("postgres");
    let error = Cluster::start_in(&folder).expect_err("it has an owner");
    assert!(error.to_string().contains("in use by another cluster"), "{error}");
    assert_eq!(cluster.sql("postgres", "SELECT n FROM kept")?, "42");
    drop(cluster);
    assert!(folder.join("data/PG_VERSION").exists());
    assert!(!folder.join("data/postmaster.pid").exists(), "the server was stopped");

    let again = Cluster::start_in(&folder)?;
    assert_eq!(again.sql("postgres", "SELECT n FROM kept")?, "42");
    let password = |url: &str| url.split(['@', ':']).nth(2).map(str::to_owned);
    assert_eq!(password(&again.url("postgres")), password(&url));
    Ok(())
}

#[test]
fn a_folder_with_other_things_is_refused() -> Result<()> {
    let parent = open_folder()?;
    fs::write(parent.path().join("thesis.txt"), "precious")?;
    let error = Cluster::start_in(parent.path()).expect_err("not an empty folder");
    assert!(error.to_string().contains("holds something else"), "{error}");
    assert!(parent.path().join("thesis.txt").exists());
    Ok(())
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let options = ClusterOptions {
        settings: vec![("shared_buffers".into(), "1 mile".into())],
        ..ClusterOptions::default()
    };
    let error = Cluster::start_with(&options).expect_err("no such unit");
    assert!(format!("{error:#}").contains("invalid value for parameter \"shared_buffers\""));
}

#[test]
fn settings_reach_the_server() -> Result<()> {
    let options = ClusterOptions {
        durable: true,
        timescaledb: false,
        settings: vec![("work_mem".into(), "7MB".into())],
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(&options)?;
    assert!(!cluster.has_timescaledb());
    let shown = cluster.sql(
        "postgres",
        "SHOW work_mem; SHOW fsync; SHOW shared_preload_libraries; SHOW listen_addresses",
    )?;
    assert_eq!(shown, "7MB\non\n\n127.0.0.1");
    cluster.stop(StopMode::Fast)?;
    Ok(())
}

/// What a cluster that is not cleaned up would leave.
#[derive(Debug)]
struct Remains {
    server: u32,
    directory: PathBuf,
}

impl Remains {
    fn of(cluster: &Cluster) -> Result<Self> {
        let file = cluster.directory().join("data/postmaster.pid");
        let id = fs::read_to_string(file)?.lines().next().unwrap_or_default().parse()?;
        Ok(Self { server: id, directory: cluster.directory().to_owned() })
    }

    fn are_there(&self) -> bool {
        // Nobody may have collected the exit status yet: a zombie is gone.
        let status = fs::read_to_string(format!("/proc/{}/stat", self.server)).unwrap_or_default();
        let runs = status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'));
        runs || self.directory.exists()
    }

    fn wait_until_gone(&self) {
        let start = Instant::now();
        while self.are_there() {
            assert!(start.elapsed() < CLEAN_UP_DURATION_MAX, "still there: {self:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A folder that the server's user can enter, and that goes away with its test.
fn open_folder() -> Result<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}
