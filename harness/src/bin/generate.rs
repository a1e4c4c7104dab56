//! Writes every generated file where it belongs; see [`harness::generate`].

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use harness::generate;
use harness::outln;
use harness::output::exit_code;

/// Writes the files that come from the packet declarations: dissector, documents, test data.
#[derive(Debug, Parser)]
struct Options {}

fn main() -> ExitCode {
    let Options {} = Options::parse();
    exit_code("generate", run().map(|()| true))
}

fn run() -> Result<()> {
    let root = generate::root();
    for file in generate::files(&root)? {
        let path = root.join(&file.path);
        if fs::read(&path).is_ok_and(|present| present == file.octets) {
            continue;
        }
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, &file.octets));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        outln!("wrote {}", file.path.display())?;
    }
    Ok(())
}
