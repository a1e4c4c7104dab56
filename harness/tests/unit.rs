//! The systemd unit, read by systemd: it knows every directive, and what the unit takes away from the
//! station is enough. That a wrong one would be seen is tested too.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result};
use harness::program::sibling;

const UNIT: &str = "docs/orbitstream-receiver.service";
/// Of 100, by `systemd-analyze security`; what is not confined has over 90.
const EXPOSURE_MAX: &str = "20";

/// Lets systemd look at the unit, with the program that was built in the installed one's place.
fn analyze(unit: &str, arguments: &[&str]) -> Result<Output> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("orbitstream-receiver.service");
    let receiver = sibling("receiver")?;
    fs::write(&path, unit.replace("/usr/local/bin/receiver", &receiver.to_string_lossy()))?;
    Command::new("systemd-analyze")
        .args(arguments)
        .arg(&path)
        .env("SYSTEMD_COLORS", "0")
        .output()
        .context("cannot run systemd-analyze: run `make test`, which installs it first")
}

/// What systemd has to say against the unit.
fn complaints(unit: &str) -> Result<String> {
    let output = analyze(unit, &["verify", "--man=no", "--recursive-errors=no"])?;
    let said = String::from_utf8([output.stdout, output.stderr].concat())?;
    let ours: Vec<_> = said.lines().filter(|line| line.contains("orbitstream-receiver")).collect();
    Ok(if output.status.success() { ours.join("\n") } else { said })
}

fn unit() -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(UNIT);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

#[test]
fn systemd_knows_every_directive() -> Result<()> {
    assert_eq!(complaints(&unit()?)?, "");
    Ok(())
}

#[test]
fn a_wrong_directive_would_be_seen() -> Result<()> {
    let unit = unit()?;
    for (from, to) in [
        ("NoNewPrivileges=yes", "NoNewPrivilege=yes"),
        ("MemoryMax=1G", "MemoryMax=plenty"),
        ("SystemCallFilter=@system-service", "SystemCallFilter=@no-such-set"),
        ("/usr/local/bin/receiver", "/no/such/program"),
        ("[Install]", "[Instal]"),
    ] {
        assert!(unit.contains(from), "{from}");
        assert_ne!(complaints(&unit.replacen(from, to, 1))?, "", "{to}");
    }
    Ok(())
}

#[test]
fn it_is_well_confined() -> Result<()> {
    let check = ["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE_MAX];
    let output = analyze(&unit()?, &check)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let open = unit()?.replace("DynamicUser=yes", "").replace("ProtectSystem=strict", "");
    let open = open.replace("CapabilityBoundingSet=\n", "").replace("SystemCallFilter=", "#");
    assert!(!analyze(&open, &check)?.status.success(), "the check cannot fail");
    Ok(())
}

#[test]
fn it_gives_the_station_options_that_it_has() -> Result<()> {
    let help = Command::new(sibling("receiver")?).args(["run", "--help"]).output()?;
    let help = String::from_utf8(help.stdout)?;
    let unit = unit()?;
    let variables = unit.match_indices("ORBITSTREAM_").map(|(at, _)| {
        let end = unit[at..].find('=').unwrap_or_default();
        &unit[at..at + end]
    });
    let variables: Vec<_> = variables.collect();
    assert_eq!(variables.len(), 2, "{variables:?}");
    for name in variables.into_iter().chain(["--config", "--drain-timeout"]) {
        assert!(help.contains(name), "{name}");
    }
    Ok(())
}
