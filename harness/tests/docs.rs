//! The documentation is true where a program can tell: links lead somewhere, `make` targets exist,
//! the tables of options are those of the programs, and no option, column or variable is left out.

mod support;

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

#[test]
fn every_option_of_the_tools_is_described() -> Result<()> {
    let text = prose()?;
    let mut missing = Vec::new();
    for (program, arguments) in TOOLS {
        for option in options_of(program, arguments)?.keys().filter(|name| !is_everywhere(name)) {
            let is_named =
                ["`", " ", "\n", "\""].iter().any(|end| text.contains(&format!("--{option}{end}")));
            if !is_named {
                missing.push(format!("{program} {} --{option}", arguments.join(" ")));
            }
        }
    }
    ensure!(missing.is_empty(), "no document describes:\n{}", missing.join("\n"));
    Ok(())
}

#[test]
fn every_variable_of_make_is_described() -> Result<()> {
    let (makefile, text) = (read("Makefile")?, prose()?);
    let variables: Vec<_> =
        makefile.lines().filter_map(|line| Some(line.split_once(" ?=")?.0)).collect();
    assert!(variables.contains(&"DEMO_SECONDS"), "{variables:?}");
    for variable in variables {
        ensure!(text.contains(&format!("{variable}=")), "no document describes make {variable}=");
    }
    Ok(())
}

#[test]
fn every_column_is_described() -> Result<()> {
    let text = prose()?;
    let database = support::database(support::Tables::Plain)?;
    let columns = support::cluster().sql(&database, COLUMNS)?;
    let missing: Vec<_> = columns
        .lines()
        .filter(|line| {
            let (_, column) = line.split_once('|').unwrap_or_default();
            !["`", ".", "rejected."].iter().any(|mark| {
                ["`", ",", " ", "("]
                    .iter()
                    .any(|end| text.contains(&format!("{mark}{column}{end}")))
            })
        })
        .collect();
    assert!(columns.lines().count() > 100, "{columns}");
    ensure!(missing.is_empty(), "no document describes the columns\n{}", missing.join("\n"));
    Ok(())
}

/// Tables, and views whose columns are not described as a group.
const COLUMNS: &str = "
    SELECT table_name, column_name
    FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name !~ '_1[mhd]$' AND table_name NOT LIKE 'refinery%'
    ORDER BY 1, ordinal_position";

/// Programs of this workspace that measure and judge.
const TOOLS: [(&str, &[&str]); 12] = [
    ("soak", &[]),
    ("detect-eval", &[]),
    ("chaos", &[]),
    ("bench-history", &[]),
    ("bench-receive", &[]),
    ("bench-dashboards", &[]),
    ("bench", &["rate"]),
    ("bench", &["ingest"]),
    ("bench", &["latency"]),
    ("bench", &["memory"]),
    ("bench", &["loss"]),
    ("bench", &["scale"]),
];

/// All documents together, but for the changes: they describe nothing.
fn prose() -> Result<String> {
    let mut documents = documents()?;
    documents.retain(|path| path != Path::new("CHANGELOG.md"));
    documents.iter().map(read).collect()
}

/// Every option of the two programs, and its help in each command that has it.
fn options() -> Result<BTreeMap<String, Vec<String>>> {
    let mut options: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (program, arguments) in [
        ("receiver", &[][..]),
        ("receiver", &["run"]),
        ("receiver", &["migrate"]),
        ("receiver", &["journal"]),
        ("receiver", &["replay"]),
        ("satsim", &[]),
        ("satsim", &["verify"]),
    ] {
        for (option, help) in options_of(program, arguments)? {
            options.entry(option).or_default().extend(help);
        }
    }
    Ok(options)
}

/// The options of one program, or one of its commands, with their help.
fn options_of(program: &str, arguments: &[&str]) -> Result<BTreeMap<String, Vec<String>>> {
    let mut options: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let output = Command::new(sibling(program)?).args(arguments).arg("--help").output()?;
    ensure!(output.status.success(), "{program} {arguments:?}");
    let help = String::from_utf8(output.stdout)?;
    let mut last = None;
    for indented in help.lines() {
        let line = indented.trim();
        if line.starts_with('-') && !line.starts_with("- ") {
            let name = names(line, "--").next().with_context(|| line.to_owned())?;
            let entries = options.entry(name.to_owned()).or_default();
            entries.push(line.to_owned());
            last = Some(name.to_owned());
        } else if indented.starts_with(|first: char| !first.is_whitespace()) {
            // A heading: what stands below it is about no option above.
            last = None;
        } else if let Some(entry) = last.as_ref().and_then(|name| options.get_mut(name)?.last_mut())
        {
            // A description that was wrapped.
            entry.push(' ');
            entry.push_str(line);
        }
    }
    ensure!(!options.is_empty(), "{program} {arguments:?} has no options");
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
