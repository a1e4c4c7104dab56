//! Everything that is written from the packet declarations in `protocol`, so that nobody has to
//! keep it in step by hand: the Wireshark dissector, the XTCE document, the tables of
//! `docs/protocol.md`, and the sample captures beside the dissector; and from the detectors' shipped
//! rules the example of a configuration and the table of `docs/anomalies.md`.
//!
//! The texts depend on [`protocol::KINDS`], on [`receiver::detect::Rulebook::shipped`] and on the
//! templates in this folder, and on nothing else: the same declarations give the same octets. A test
//! compares every file with what would be written.

pub mod corpus;
pub mod damage;
mod lua;
mod markdown;
mod number;
pub mod pcap;
pub mod reading;
mod rules;
pub mod samples;
mod xtce;

use std::path::{Path, PathBuf};
use std::{fs, io};

/// A generated file.
#[derive(Debug)]
pub struct Generated {
    /// Where it belongs, from the repository's root.
    pub path: PathBuf,
    /// What it holds.
    pub octets: Vec<u8>,
}

/// The Wireshark dissector.
pub const DISSECTOR: &str = "wireshark/orbitstream.lua";
/// The XTCE document.
pub const XTCE: &str = "docs/orbitstream.xtce.xml";
/// The description of the protocol, whose tables are generated.
pub const PROTOCOL: &str = "docs/protocol.md";
/// How to use the dissector, with a table of the sample captures.
pub const README: &str = "wireshark/README.md";
/// An example of the receiver's configuration.
pub const CONFIGURATION: &str = "docs/receiver.example.toml";
/// The description of the detectors, with a table of what ships.
pub const ANOMALIES: &str = "docs/anomalies.md";
/// The folder of the sample captures.
pub const SAMPLES: &str = "wireshark/samples";

/// Every generated file, as it should be. Of documents that people write, the parts outside the
/// markers are taken as they stand in `root`.
pub fn files(root: &Path) -> io::Result<Vec<Generated>> {
    let text =
        |path: &str, text: String| Generated { path: path.into(), octets: text.into_bytes() };
    let present = |path: &str| fs::read_to_string(root.join(path));
    let samples = samples::all();
    let mut files = vec![
        text(DISSECTOR, lua::dissector()),
        text(XTCE, xtce::document()),
        text(PROTOCOL, markdown::with_kinds(&present(PROTOCOL)?)?),
        text(CONFIGURATION, rules::example()),
        text(ANOMALIES, markdown::with_rules(&present(ANOMALIES)?, &rules::table())?),
        text(README, markdown::with_samples(&present(README)?, &samples)?),
    ];
    for sample in samples {
        files.push(Generated {
            path: Path::new(SAMPLES).join(sample.file_name()),
            octets: sample.pcap(),
        });
    }
    Ok(files)
}

/// The repository's root, as it was when this was compiled.
pub fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}
