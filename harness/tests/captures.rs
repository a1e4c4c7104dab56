//! `receiver replay` of captures as other tools write them, and of files that are none.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use harness::program::sibling;
use support::{Tables, cluster, database, empty_database, writer_url};
use tempfile::TempDir;

/// A flight as satsim writes it, and a database for its replays, each by a station of its own.
struct Bench {
    database: String,
    folder: TempDir,
    flight: PathBuf,
}

const ROWS: u64 = 600;
/// Ethernet, IPv4 and UDP.
const HEADERS_OCTETS: usize = 14 + 20 + 8;

impl Bench {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let flight = folder.path().join("flight.pcap");
        let output = Command::new(sibling("satsim")?)
            .args(["--satellites=3", "--rate=50", "--boot=7", &format!("--count={ROWS}")])
            .arg("--pcap")
            .arg(&flight)
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(Self { database: database(Tables::Plain)?, folder, flight })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, octets: &[u8]) -> Result<PathBuf> {
        let path = self.path(name);
        std::fs::write(&path, octets)?;
        Ok(path)
    }

    /// The flight, converted by Wireshark's editcap.
    fn converted(&self, name: &str, options: &[&str]) -> Result<PathBuf> {
        let path = self.path(name);
        let mut editcap = Command::new("editcap");
        let output = editcap.args(options).arg(&self.flight).arg(&path).output()?;
        ensure!(output.status.success(), "editcap {options:?}: {output:?}");
        Ok(path)
    }

    fn replay(&self, path: &Path, options: &[&str]) -> Result<(Output, String)> {
        let url = writer_url(&self.database);
        receiver(&[&["replay", &path.to_string_lossy()], options].concat(), &url)
    }

    /// How many rows a station has stored, and what is in them.
    fn rows(&self, station: &str) -> Result<String> {
        let digest = format!(
            "SELECT count(*), md5(string_agg((to_jsonb(row) - 'station')::text, ','
                    ORDER BY time, satellite_id, sequence))
             FROM (SELECT to_jsonb(t) AS row, time, satellite_id, sequence
                   FROM telemetry AS t WHERE station = '{station}'
                   UNION ALL SELECT to_jsonb(a), time, satellite_id, sequence
                   FROM attitude AS a WHERE station = '{station}') AS rows"
        );
        cluster().sql(&self.database, &digest)
    }
}

/// Runs the receiver; what it says on both streams.
fn receiver(words: &[&str], url: &str) -> Result<(Output, String)> {
    let output =
        Command::new(sibling("receiver")?).args(words).env("DATABASE_URL", url).output()?;
    let said = [&output.stdout[..], &output.stderr].concat();
    Ok((output, String::from_utf8(said)?))
}

#[test]
fn what_wireshark_makes_of_a_capture_stores_the_same_rows() -> Result<()> {
    let bench = Bench::new()?;
    let (output, said) = bench.replay(&bench.flight, &["--station=original"])?;
    assert!(output.status.success(), "{said}");
    let original = bench.rows("original")?;
    assert!(original.starts_with(&format!("{ROWS}|")), "{original}");

    let chop = |octets: usize| format!("-C{octets}");
    let (ip, payload) = (chop(14), chop(HEADERS_OCTETS));
    let bare = ["--bare-packets"];
    let mut files = vec![
        (bench.converted("ng.pcapng", &["-F", "pcapng"])?, &[][..]),
        (bench.converted("ns.pcap", &["-F", "nsecpcap"])?, &[]),
        (bench.converted("raw.pcap", &["-F", "pcap", &ip, "-L", "-T", "rawip"])?, &[]),
        (bench.converted("raw4.pcapng", &["-F", "pcapng", &ip, "-L", "-T", "rawip4"])?, &[]),
        (bench.converted("user.pcap", &["-F", "pcap", &payload, "-L", "-T", "user0"])?, &bare),
        (bench.converted("user.pcapng", &["-F", "pcapng", &payload, "-L", "-T", "user7"])?, &bare),
        // Longer than the snap length that the file then states.
        (bench.converted("snap.pcap", &["-F", "pcap"])?, &[]),
    ];
    let snap = bench.path("snap.pcap");
    let mut octets = std::fs::read(&snap)?;
    octets[16..20].copy_from_slice(&64_u32.to_ne_bytes());
    std::fs::write(&snap, octets)?;
    // Two interfaces of two link types in one file.
    let merged = bench.path("merged.pcapng");
    let output = Command::new("mergecap")
        .args(["-F", "pcapng", "-a", "-w"])
        .arg(&merged)
        .arg(bench.converted("first.pcap", &["-r", "-F", "pcap"])?)
        .args([bench.path("raw.pcap")])
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    for path in [bench.flight.clone(), files[0].0.clone()] {
        let output = Command::new("gzip").arg("-k").arg(&path).output()?;
        ensure!(output.status.success(), "{output:?}");
        // By content: the name says nothing.
        let zipped = PathBuf::from(format!("{}.gz", path.display()));
        let renamed = zipped.with_extension("zipped");
        std::fs::rename(zipped, &renamed)?;
        files.push((renamed, &[]));
    }
    for (n, (path, options)) in files.iter().enumerate() {
        let station = format!("converted-{n}");
        let option = format!("--station={station}");
        let (output, said) = bench.replay(path, &[&[&*option], *options].concat())?;
        assert!(output.status.success(), "{}: {said}", path.display());
        assert_eq!(bench.rows(&station)?, original, "{}", path.display());
    }
    let (output, said) = bench.replay(&merged, &["--station=merged"])?;
    assert!(output.status.success(), "{said}");
    assert_eq!(bench.rows("merged")?, original);
    Ok(())
}

#[test]
fn a_capture_that_ends_within_a_packet_keeps_what_comes_before() -> Result<()> {
    let bench = Bench::new()?;
    let mut octets = std::fs::read(&bench.flight)?;
    octets.truncate(octets.len() - 10);
    let torn = bench.write("torn.pcap", &octets)?;
    let (output, said) = bench.replay(&torn, &["--once"])?;
    assert!(output.status.success() && said.contains("ends within a packet"), "{said}");
    let stored: u64 = bench.rows("GS-01")?.split('|').next().context("a count")?.parse()?;
    assert!(stored < ROWS && stored + 50 > ROWS, "{stored}");
    // The whole one adds the rest.
    let (output, said) = bench.replay(&bench.flight, &["--once"])?;
    assert!(output.status.success(), "{said}");
    assert!(bench.rows("GS-01")?.starts_with(&format!("{ROWS}|")));
    Ok(())
}

#[test]
fn a_file_without_a_good_frame_is_an_error_that_says_what_is_in_it() -> Result<()> {
    let bench = Bench::new()?;
    let text = "Notes of a night.\n".repeat(1_000);
    let mut usb = std::fs::read(&bench.flight)?;
    usb[20..24].copy_from_slice(&220_u32.to_le_bytes());
    let mut fifo = Command::new("mkfifo");
    let pipe = bench.path("pipe");
    ensure!(fifo.arg(&pipe).status()?.success());
    let cut = ["-F", "pcap", "-s", "60"];
    let user = ["-F", "pcapng", "-T", "user0"];
    let cases: [(PathBuf, &[&str], &str); 11] = [
        (bench.write("notes.txt", text.as_bytes())?, &[], "none of its 18000 octets are frames"),
        (bench.write("empty", b"")?, &["--once"], "it is empty"),
        ("/dev/zero".into(), &["--once"], "it is a device"),
        ("/dev/zero".into(), &[], "it is a device"),
        (pipe, &["--once"], "it is a pipe"),
        (bench.folder.path().into(), &[], "it is a directory"),
        (bench.write("usb.pcap", &usb)?, &[], "220 (USB_LINUX_MMAPPED), which is not supported"),
        (bench.converted("cut.pcap", &cut)?, &[], "cut when they were captured"),
        (bench.converted("user.pcapng", &user)?, &[], "147 (USER0; with --bare-packets"),
        (bench.flight.clone(), &["--port=53"], "to other UDP ports"),
        (bench.flight.clone(), &["--spacecraft=9"], "unknown_spacecraft"),
    ];
    for (path, options, part) in cases {
        let (output, said) = bench.replay(&path, options)?;
        assert_eq!(output.status.code(), Some(1), "{}: {said}", path.display());
        let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(error.contains(part), "{}: {said}", path.display());
        assert!(error.contains(&*path.to_string_lossy()), "{said}");
        assert_advice(&["replay"], error)?;
    }
    assert_eq!(bench.rows("GS-01")?, "0|");
    Ok(())
}

/// An option that a message names belongs to its own command, or to one that it names before.
fn assert_advice(command: &[&str], said: &str) -> Result<()> {
    let help = |command: &[&str]| receiver(&[command, &["--help"]].concat(), "").map(|it| it.1);
    let commands = help(&[])?;
    let mut own = help(command)?;
    let words: Vec<_> = said
        .split(|c: char| c.is_whitespace() || ";,:()".contains(c))
        .filter(|word| !word.is_empty())
        .collect();
    for (n, word) in words.iter().enumerate() {
        // A command is quoted; `this receiver needs` is none.
        let is_command = n > 0 && words[n - 1] == "`receiver" && !word.starts_with('-');
        let word = word.trim_matches(['`', '\'']);
        if is_command {
            assert!(commands.contains(&format!("  {word} ")), "no command {word}: {said}");
            own = help(&[word])?;
        } else if word.starts_with("--") && word.len() > 2 {
            let option = word.split('=').next().unwrap_or_default();
            assert!(own.contains(option), "{command:?} has no {option}: {said}");
        }
    }
    Ok(())
}

#[test]
fn an_error_advises_only_options_that_its_command_has() -> Result<()> {
    let bench = Bench::new()?;
    let empty = cluster().url(&empty_database(Tables::Plain)?);
    let older = database(Tables::Plain)?;
    let history = "DELETE FROM refinery_schema_history WHERE version > 2";
    cluster().sql(&older, history)?;
    let older = cluster().url(&older);
    let (flight, folder) = (bench.flight.to_string_lossy(), bench.folder.path().to_string_lossy());
    let run = ["run", "--http=127.0.0.1:0", "--listen=127.0.0.1:0", "--journal=off"];
    let drain = ["journal", "drain", "--journal", &folder];
    let (replay, with) = (["replay", &flight], |words: &[&'static str]| words.to_vec());
    let mut tried = 0;
    for (command, more, url) in [
        (&replay[..], with(&[]), &*empty),
        (&replay, with(&["--once"]), &older),
        (&replay, with(&["--migrate"]), &empty),
        (&replay, with(&["--any-station"]), &empty),
        (&replay, with(&["--speed=0"]), &empty),
        (&replay, with(&[]), ""),
        (&replay, with(&[]), "nonsense"),
        (&replay, with(&["--report=/no/such/folder/report"]), &older),
        (&drain, with(&[]), &empty),
        (&drain, with(&[]), &older),
        (&drain, with(&["--once"]), &older),
        (&drain, with(&[]), ""),
        (&["journal", "verify", "--journal=/nowhere"], with(&[]), ""),
        (&["journal", "verify"], with(&[]), ""),
        (&["migrate"], with(&["--once"]), &empty),
        (&["migrate"], with(&[]), ""),
        (&["migrate", "--retention=x"], with(&[]), &empty),
        (&run, with(&["--once"]), &empty),
        (&run, with(&["--journal=/proc/nowhere"]), &empty),
        (&run, with(&["--state=/proc/nowhere"]), &empty),
        (&run, with(&[]), ""),
        (&run, with(&["--config=/nowhere"]), &empty),
    ] {
        let words = [command, &more].concat();
        let (output, said) = receiver(&words, url)?;
        assert!(!output.status.success(), "{words:?}: {said}");
        let error = said.lines().find(|line| line.starts_with("error: ")).context(said.clone())?;
        // What was given is repeated, and is no advice.
        let given = more.iter().map(|word| word.split('=').next().unwrap_or_default());
        let advice = given.fold(error.to_owned(), |error, word| error.replace(word, ""));
        assert_advice(&command[..1], &advice)?;
        tried += 1;
    }
    assert!(tried > 0);
    Ok(())
}
