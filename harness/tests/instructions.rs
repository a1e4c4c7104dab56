//! Parsing a frame takes no more instructions than were recorded beside the example that parses.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};
use harness::{generate, instructions, instructions::Recorded};

/// Set, and not empty: the figure is recorded instead of judged.
const RECORD_VARIABLE: &str = "RECORD_INSTRUCTIONS";
const FIGURE: &str = "protocol/examples/parse_frames.json";

#[test]
fn a_parsed_frame_takes_no_more_instructions_than_recorded() -> Result<()> {
    let path = generate::root().join(FIGURE);
    let now = Recorded::now(instructions::per_frame(&program()?)?);
    println!("{now:?}");
    if env::var_os(RECORD_VARIABLE).is_some_and(|value| !value.is_empty()) {
        return now.write(&path);
    }
    let recorded = Recorded::read(&path)?;
    if recorded.host != now.host {
        println!("NOT RUN: instructions were counted on {}, this is {}", recorded.host, now.host);
        return Ok(());
    }
    recorded.judge(&now)
}

/// The example as it is optimised for people: in the release folder beside the one of this test.
fn program() -> Result<PathBuf> {
    let exe = env::current_exe()?;
    // target/debug/deps/instructions-…
    let target = exe.ancestors().nth(3).context("no target folder")?;
    let program = target.join("release/examples/parse_frames");
    program.is_file().then_some(program).context(
        "parse_frames is not built: run `make test`, which builds it, or `cargo build --release -p \
         orbitstream-protocol --example parse_frames`",
    )
}
