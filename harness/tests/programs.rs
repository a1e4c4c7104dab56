//! The programs of this crate as people start them: `--help`, a closed pipe, a terminal.

use std::fs;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use harness::program::sibling;
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What a shell reports for a program that `SIGPIPE` has ended.
const EXIT_CODE_OUTPUT_CLOSED: i32 = 141;

/// A program that only has to say something.
const ANSWER_DURATION_MAX: Duration = Duration::from_secs(60);
/// A demo until it shows an anomaly, and until it has stopped.
const DEMO_DURATION_MAX: Duration = Duration::from_secs(300);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// One demo runs at a time.
static DEMO: Mutex<()> = Mutex::new(());

#[test]
fn every_program_answers_help_and_does_nothing_else() -> Result<()> {
    for name in programs()? {
        let output = Command::new(sibling(&name)?).arg("--help").stdin(Stdio::null()).output()?;
        let help = String::from_utf8(output.stdout)?;
        ensure!(output.status.success(), "{name} --help: {}", output.status);
        ensure!(help.contains(&format!("Usage: {name}")), "{name} --help:\n{help}");
        let wrong = Command::new(sibling(&name)?).arg("--no-such-option").output()?;
        ensure!(wrong.status.code() == Some(2), "{name} --no-such-option: {}", wrong.status);
    }
    Ok(())
}

#[test]
fn no_help_panics_on_a_closed_pipe() -> Result<()> {
    for name in programs()? {
        let mut command = Command::new(sibling(&name)?);
        let child = command.arg("--help").stdout(closed_pipe()?).stderr(Stdio::piped()).spawn()?;
        let (_, said) = end_of(child, ANSWER_DURATION_MAX)?;
        ensure!(!said.contains("panicked"), "{name}: {said}");
    }
    Ok(())
}

#[test]
fn a_closed_output_ends_a_program_quietly() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("one.csv"), "timestamp,value,is_anomaly\n0,1,0\n1,1,0\n")?;
    let mut command = Command::new(sibling("detect-eval")?);
    let child = command.arg(folder.path()).stdout(closed_pipe()?).stderr(Stdio::piped()).spawn()?;
    let (code, said) = end_of(child, ANSWER_DURATION_MAX)?;
    assert_eq!(code, Some(EXIT_CODE_OUTPUT_CLOSED), "{said}");
    assert_eq!(said, "");
    Ok(())
}

#[test]
fn nothing_prints_in_a_way_that_can_panic() -> Result<()> {
    let crates = ["harness", "receiver", "satsim", "address", "protocol"];
    let mut files: Vec<_> =
        crates.iter().map(|name| root().with_file_name(name).join("src")).collect();
    let mut read = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                files.push(entry?.path());
            }
            continue;
        }
        read += 1;
        for (number, line) in (1..).zip(fs::read_to_string(&path)?.lines()) {
            let code = line.trim_start();
            // Tests come last in a file, and may panic.
            if code == "#[cfg(test)]" {
                break;
            }
            let prints = ["println!(", "print!("].iter().any(|macro_| code.contains(macro_));
            ensure!(
                code.starts_with("//") || !prints,
                "{}:{number}: use the module output",
                path.display()
            );
        }
    }
    ensure!(read > 250, "only {read} files were read");
    Ok(())
}

#[test]
fn a_demo_whose_output_is_closed_leaves_nothing_behind() -> Result<()> {
    let _demo = DEMO.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(sibling("demo")?);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
    let mut line_with = |word: &str| -> Result<String> {
        for line in lines.by_ref() {
            let line = line?;
            if line.contains(word) {
                return Ok(line);
            }
        }
        bail!("no line with {word}")
    };
    let station = line_with("http://")?;
    let psql = line_with("psql -h ")?;
    drop(lines);

    let (code, said) = end_of(child, DEMO_DURATION_MAX)?;
    assert_eq!(code, Some(EXIT_CODE_OUTPUT_CLOSED), "{said}");
    assert_eq!(said, "");
    let address = station.split("http://").nth(1).and_then(|rest| rest.split('/').next());
    let address = address.context("an address")?;
    ensure!(TcpStream::connect(address).is_err(), "the receiver still listens on {address}");
    let folder = psql.split_whitespace().nth(2).context("a folder")?;
    let start = Instant::now();
    while Path::new(folder).exists() {
        ensure!(start.elapsed() < ANSWER_DURATION_MAX, "{folder} is still there");
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

#[test]
fn the_demo_fits_its_terminal_and_shows_anomalies() -> Result<()> {
    let _demo = DEMO.lock().unwrap_or_else(PoisonError::into_inner);
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None)?;
    let terminal = File::from(pty.slave);
    let mut command = Command::new(sibling("demo")?);
    command.stdin(Stdio::null()).stdout(terminal.try_clone()?).stderr(terminal.try_clone()?);
    let mut child = Killed(command.spawn()?);
    drop(command);
    let written = chunks(File::from(pty.master));

    let mut emulator = vt100::Parser::new(cells(24), cells(80), 1_000);
    let start = Instant::now();
    // Takes what the demo draws until the screen has `what`.
    let draw_until = |emulator: &mut vt100::Parser, what: &str| -> Result<()> {
        loop {
            let screen = emulator.screen().contents();
            if screen.contains(what) {
                return Ok(());
            }
            ensure!(start.elapsed() < DEMO_DURATION_MAX, "no {what}:\n{screen}");
            match written.recv_timeout(ANSWER_DURATION_MAX) {
                Ok(octets) => emulator.process(&octets),
                Err(error) => bail!("{error}:\n{screen}"),
            }
        }
    };
    draw_until(&mut emulator, "ledger residual")?;
    // The first event that is found stands in the list below this heading.
    draw_until(&mut emulator, "expected\n  ")?;
    ensure!(!has_scrolled(&mut emulator), "80x24: {}", emulator.screen().contents());
    let screen = emulator.screen().contents();
    ensure!(screen.starts_with("OrbitStream"), "{screen}");
    ensure!(screen.contains("psql -h ") && screen.contains("Ctrl-C ends it"), "{screen}");
    ensure!(!screen.contains("altitude km"), "{screen}");

    let status =
        Command::new("stty").args(["rows", "40", "cols", "120"]).stdin(terminal).status()?;
    ensure!(status.success(), "stty: {status}");
    emulator.screen_mut().set_size(cells(40), cells(120));
    draw_until(&mut emulator, "altitude km")?;
    ensure!(!has_scrolled(&mut emulator), "120x40: {}", emulator.screen().contents());
    ensure!(emulator.screen().contents().contains("SAT-09"), "{}", emulator.screen().contents());

    kill(Pid::from_raw(child.0.id() as i32), Signal::SIGINT)?;
    draw_until(&mut emulator, "accounted for.")?;
    ensure!(child.0.wait()?.success(), "{}", emulator.screen().contents());
    Ok(())
}

#[test]
fn the_demo_prints_what_the_readme_shows() -> Result<()> {
    let _demo = DEMO.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(sibling("demo")?).args(["--seconds", "11"]).output()?;
    let printed = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{printed}");
    let readme = fs::read_to_string(root().join("../README.md"))?;
    let shapes = |text: &str, line: &str| -> Vec<String> {
        let lines = text.lines().skip_while(|text| !text.contains(line));
        lines.take_while(|line| !line.starts_with("Every")).map(shape_of).collect()
    };
    assert_eq!(shapes(&readme, "Final ledger"), shapes(&printed, "Final ledger"));
    let second = |text: &str| text.lines().find(|line| line.contains(" s  ")).map(shape_of);
    assert_eq!(second(&readme), second(&printed));
    Ok(())
}

/// A line with every number as `#` and without repeated spaces.
fn shape_of(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let end = word.trim_end_matches([',', ':']);
        let is_number = end.starts_with(|c: char| c.is_ascii_digit() || c == '…');
        if is_number { format!("#{}", &word[end.len()..]) } else { word.to_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The name of every program of this crate.
fn programs() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("src/bin"))? {
        let path = entry?.path();
        names.push(path.file_stem().context("a name")?.to_string_lossy().into_owned());
    }
    ensure!(names.len() > 5 && names.contains(&"demo".to_owned()), "{names:?}");
    Ok(names)
}

/// The writing end of a pipe whose reading end is closed.
fn closed_pipe() -> io::Result<Stdio> {
    let (reader, writer) = io::pipe()?;
    drop(reader);
    Ok(writer.into())
}

/// Exit code and standard error of a program that ends by itself.
fn end_of(child: Child, duration_max: Duration) -> Result<(Option<i32>, String)> {
    let mut child = Killed(child);
    let start = Instant::now();
    let mut stderr = child.0.stderr.take().context("a pipe")?;
    let said = thread::spawn(move || {
        let mut said = String::new();
        stderr.read_to_string(&mut said).map(|_| said)
    });
    loop {
        if let Some(status) = child.0.try_wait()? {
            let said = said.join().ok().context("the reader ends")??;
            return Ok((status.code(), said));
        }
        ensure!(start.elapsed() < duration_max, "it does not end");
        thread::sleep(POLL_INTERVAL);
    }
}

/// A program that is killed if a test fails before it has ended.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is written to the terminal, as it comes.
fn chunks(mut master: File) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 4_096];
        // EIO when the other side is closed.
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A size that is not 0.
const fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).expect("a size")
}

/// Whether a line has left the screen at its top.
fn has_scrolled(emulator: &mut vt100::Parser) -> bool {
    emulator.screen_mut().set_scrollback(1);
    let has_scrolled = emulator.screen().scrollback() > 0;
    emulator.screen_mut().set_scrollback(0);
    has_scrolled
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
