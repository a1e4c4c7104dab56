//! The documentation is true where a program can tell: links lead somewhere, `make` targets exist,
//! and the tables of options are those of the programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result, ensure};
use harness::program::sibling;

/// Where the options are described.
const OPERATIONS: &str = "docs/operations.md";

#[test]
fn links_lead_somewhere() -> Result<()> {
    let mut wrong = Vec::new();
    for path in documents()? {
        let text = read(&path)?;
        let prose: String = lines(&text).filter(|line| !line.is_code).map(prose_of).collect();
        for (_, rest) in prose.match_indices("](").map(|(at, mark)| prose.split_at(at + mark.len()))
        {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            if !target.contains(':') && !leads_somewhere(&path, target)? {
                wrong.push(format!("{}: {target}", path.display()));
            }
        }
    }
    ensure!(wrong.is_empty(), "links to what is not there:\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn make_targets_exist() -> Result<()> {
    let makefile = read("Makefile")?;
    let targets: BTreeSet<_> = makefile
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, rest)| !rest.starts_with('=') && name.bytes().all(is_name))
        .map(|(name, _)| name)
        .collect();
    assert!(targets.contains("demo") && targets.contains("test"), "{targets:?}");
    for path in documents()? {
        let text = read(&path)?;
        for target in lines(&text).flat_map(code_of).flat_map(|code| names(code, "make ")) {
            ensure!(targets.contains(target), "{}: make {target}", path.display());
        }
    }
    Ok(())
}

#[test]
fn every_option_is_described_as_it_is() -> Result<()> {
    let text = read(OPERATIONS)?;
    for (option, help) in options()?.iter().filter(|(option, _)| !is_everywhere(option)) {
        let (bare, valued) = (format!("| `--{option}`"), format!("| `--{option} "));
        let rows = || text.lines().filter(|l| l.starts_with(&bare) || l.starts_with(&valued));
        ensure!(rows().next().is_some(), "{OPERATIONS} does not describe --{option}");
        for help in help {
            let facts: Vec<_> = ["[env: ", "[default: "]
                .into_iter()
                .filter_map(|mark| help.split(mark).nth(1)?.split([']', '=']).next())
                // A default in words, such as "until Ctrl-C", may be worded otherwise.
                .filter(|fact| !fact.contains(' '))
                .collect();
            let is_told = |row: &str| facts.iter().all(|fact| row.contains(fact));
            ensure!(rows().any(is_told), "{OPERATIONS}, --{option}: no row has {facts:?}");
        }
    }
    Ok(())
}

#[test]
fn every_described_option_exists() -> Result<()> {
    let (text, known) = (read(OPERATIONS)?, options()?);
    for option in names(&text, "--") {
        ensure!(known.contains_key(option), "{OPERATIONS}: no program has --{option}");
    }
    Ok(())
}

/// Every option of the two programs, and its help in each command that has it.
fn options() -> Result<BTreeMap<String, Vec<String>>> {
    let mut options: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (program, arguments) in [
        ("receiver", &["--help"][..]),
        ("receiver", &["run", "--help"]),
        ("receiver", &["migrate", "--help"]),
        ("receiver", &["journal", "--help"]),
        ("receiver", &["replay", "--help"]),
        ("satsim", &["--help"]),
        ("satsim", &["verify", "--help"]),
    ] {
        let output = Command::new(sibling(program)?).args(arguments).output()?;
        ensure!(output.status.success(), "{program} {arguments:?}");
        let help = String::from_utf8(output.stdout)?;
        let mut last = None;
        for line in help.lines().map(str::trim) {
            if line.starts_with('-') && !line.starts_with("- ") {
                let name = names(line, "--").next().with_context(|| line.to_owned())?;
                let entries = options.entry(name.to_owned()).or_default();
                entries.push(line.to_owned());
                last = Some(name.to_owned());
            } else if let Some(entry) =
                last.as_ref().and_then(|name| options.get_mut(name)?.last_mut())
            {
                // A description that was wrapped.
                entry.push(' ');
                entry.push_str(line);
            }
        }
    }
    Ok(options)
}

/// Options that need no description.
fn is_everywhere(option: &str) -> bool {
    ["help", "version"].contains(&option)
}

/// Everything that people read.
fn documents() -> Result<Vec<PathBuf>> {
    let mut documents = ["README.md", "CHANGELOG.md", "SECURITY.md"].map(PathBuf::from).to_vec();
    for folder in ["docs", "docs/adr", "wireshark"] {
        let entries = fs::read_dir(root().join(folder)).with_context(|| folder.to_owned())?;
        let names: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
        let paths = names?.into_iter().map(|name| Path::new(folder).join(name));
        documents.extend(paths.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    Ok(documents)
}

/// Whether the target of a link in `document` is there, its heading included.
fn leads_somewhere(document: &Path, target: &str) -> Result<bool> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => document.to_owned(),
        file => document.parent().unwrap_or(Path::new("")).join(file),
    };
    if !root().join(&path).exists() {
        return Ok(false);
    }
    let text = if anchor.is_empty() { return Ok(true) } else { read(&path)? };
    let headings = lines(&text).filter(|line| !line.is_code && line.text.starts_with('#'));
    Ok(headings.map(|line| anchor_of(line.text)).any(|heading| heading == anchor))
}

/// The anchor that a heading gets: small letters, hyphens for spaces, nothing for punctuation.
fn anchor_of(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A line of a document.
#[derive(Clone, Copy)]
struct Line<'a> {
    text: &'a str,
    /// Whether it stands between fences.
    is_code: bool,
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut is_code = false;
    text.lines().filter_map(move |text| {
        let is_fence = text.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_fence).then_some(Line { text, is_code })
    })
}

/// What of a line is code: all between fences, else what is between backticks.
fn code_of(line: Line<'_>) -> impl Iterator<Item = &str> {
    let (skip, step) = if line.is_code { (0, 1) } else { (1, 2) };
    let separator = if line.is_code { '\n' } else { '`' };
    line.text.split(separator).skip(skip).step_by(step)
}

/// What of a line outside fences is no code, and a line's end.
fn prose_of(line: Line<'_>) -> String {
    line.text.split('`').step_by(2).chain(["\n"]).collect()
}

/// The names that follow `prefix` where it begins a word.
fn names<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(prefix).filter_map(move |(at, _)| {
        let begins = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '-');
        let rest = &text[at + prefix.len()..];
        let end = rest.bytes().position(|octet| !is_name(octet)).unwrap_or(rest.len());
        let name = rest[..end].trim_end_matches('-');
        (begins && name.starts_with(|c: char| c.is_ascii_lowercase())).then_some(name)
    })
}

fn is_name(octet: u8) -> bool {
    octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-'
}

fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = root().join(path);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
