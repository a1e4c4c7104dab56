//! The TOML file: each key is an option's name, and its value that option's default. So a file can
//! say what the command line can, is checked in the same way, and knows no other keys but the table
//! `detect`.

use std::{
    collections::HashMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::ArgAction;
use toml::{Table, Value};

use super::detect;
use crate::detect::Settings;

/// The file that the command line or the environment names.
pub(super) fn path_in(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let argument = argument.to_string_lossy();
        if argument == OPTION {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = argument.strip_prefix(OPTION).and_then(|rest| rest.strip_prefix('=')) {
            return Some(path.into());
        }
    }
    let variable = std::env::var_os("ORBITSTREAM_CONFIG").filter(|path| !path.is_empty());
    variable.map(PathBuf::from)
}

/// The file's table.
pub(super) fn read(path: &Path) -> Result<Table, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the configuration {shown}: {error}"))?;
    text.parse().map_err(|error| format!("{shown}: {}", one_line(&error, &text)))
}

/// What the table `detect` of the file says; it is taken out.
pub(super) fn take_detect(table: &mut Table, path: &Path) -> Result<Settings, String> {
    // As an option it has a plain value.
    let Some(Value::Table(detect)) = table.get(DETECT) else {
        return Ok(Settings::default());
    };
    let settings = detect::settings(detect).map_err(|error| format!("{}: {error}", path.display()));
    table.remove(DETECT);
    settings
}

/// Makes the file's values the defaults of the commands' options.
pub(super) fn as_defaults(
    command: clap::Command,
    table: &Table,
    path: &Path,
) -> Result<clap::Command, String> {
    let shown = path.display();
    let mut command = command;
    let mut keys = HashMap::new();
    for (key, value) in table {
        let id = key.replace('-', "_");
        if let Some(other) = keys.insert(id.clone(), key) {
            return Err(format!("{shown}: `{other}` and `{key}` are the same key: give only one"));
        }
        let takes = |command: &clap::Command| {
            id != "config" && command.get_arguments().any(|argument| argument.get_id() == &*id)
        };
        if !command.get_subcommands().any(takes) {
            return Err(format!(
                "{shown}: unknown key `{key}`; the keys are the options of `receiver run --help`, and \
                 the table `{DETECT}`"
            ));
        }
        let values = strings(value).ok_or_else(|| {
            format!("{shown}: `{key}` takes a string, a number, a boolean or a list of them")
        })?;
        let is_list = |command: &clap::Command| {
            let mut arguments = command.get_arguments();
            let argument = arguments.find(|argument| argument.get_id() == &*id);
            argument.is_some_and(|argument| matches!(argument.get_action(), ArgAction::Append))
        };
        if value.is_array() && !command.get_subcommands().any(is_list) {
            return Err(format!("{shown}: `{key}` takes one value, no list"));
        }
        if values.is_empty() {
            return Err(format!("{shown}: `{key}` needs at least one value"));
        }
        let names: Vec<_> = command
            .get_subcommands()
            .filter(|command| takes(command))
            .map(|command| command.get_name().to_owned())
            .collect();
        for name in names {
            command = command.mut_subcommand(name, |command| {
                command.mut_arg(&id, |argument| {
                    argument.required(false).default_values(values.clone())
                })
            });
        }
    }
    Ok(command)
}

/// The value as it would be written on the command line.
fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Some(vec![value.to_string()]),
        Value::Array(values) => {
            let lists: Option<Vec<_>> = values.iter().map(strings).collect();
            Some(lists?.concat())
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

fn one_line(error: &toml::de::Error, text: &str) -> String {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.as_bytes()[..start].iter().filter(|&&octet| octet == b'\n').count() + 1;
    format!("line {line}: {}", error.message().replace('\n', "; "))
}

const OPTION: &str = "--config";
const DETECT: &str = "detect";
