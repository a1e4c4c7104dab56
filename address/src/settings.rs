//! The settings in `options` of an address, which the server would read as a command line: words
//! separated by white space, where a backslash takes the next character as it is.

use super::AddressError;

/// Names and values, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings(Vec<(String, String)>);

/// For how long settings hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Session,
    Transaction,
}

impl Settings {
    pub(crate) fn from_options(options: &str) -> Result<Self, AddressError> {
        let mut settings = Vec::new();
        let mut words = words(options).into_iter();
        while let Some(word) = words.next() {
            let setting = match word.strip_prefix("-c").or_else(|| word.strip_prefix("--")) {
                Some("") if word == "-c" => words.next(),
                Some(setting) => Some(setting.to_owned()),
                None => None,
            };
            let setting = setting.as_deref().and_then(|setting| setting.split_once('='));
            let Some((name, value)) = setting.filter(|(name, _)| !name.is_empty()) else {
                return Err(AddressError::Options(word));
            };
            settings.push((name.replace('-', "_"), value.to_owned()));
        }
        Ok(Self(settings))
    }

    /// Statements that apply them.
    pub(crate) fn statements(&self, scope: Scope) -> Option<String> {
        let is_local = scope == Scope::Transaction;
        let statements = self.0.iter().map(|(name, value)| {
            let (name, value) = (literal(name), literal(value));
            format!("SELECT pg_catalog.set_config({name}, {value}, {is_local});")
        });
        (!self.0.is_empty()).then(|| statements.collect())
    }
}

fn words(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None;
    let mut characters = options.chars();
    while let Some(c) = characters.next() {
        if c.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let c = if c == '\\' { characters.next() } else { Some(c) };
        word.get_or_insert_with(String::new).extend(c);
    }
    words.extend(word);
    words
}

/// A string constant, whatever `standard_conforming_strings` is.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_read_as_the_server_reads_a_command_line() {
        for (options, expected) in [
            ("", &[][..]),
            ("-csearch_path=a,b", &[("search_path", "a,b")]),
            (
                " -c  work_mem=1MB --statement-timeout=5s ",
                &[("work_mem", "1MB"), ("statement_timeout", "5s")],
            ),
            (r#"-c search_path="My\ own",it's\\"#, &[("search_path", r#""My own",it's\"#)]),
            ("-c a.b=", &[("a.b", "")]),
        ] {
            let settings = Settings::from_options(options).unwrap();
            let expected = expected.iter().map(|&(name, value)| (name.into(), value.into()));
            assert_eq!(settings.0, expected.collect::<Vec<(String, String)>>(), "{options}");
        }
        for options in ["-c", "-B 100", "work_mem=1MB", "-c work_mem", "-c =1", "--"] {
            assert!(Settings::from_options(options).is_err(), "{options}");
        }
    }

    #[test]
    fn values_are_quoted() {
        let settings = Settings(vec![("a".into(), r"x'); DROP TABLE t; --\".into())]);
        let statements = settings.statements(Scope::Session).unwrap();
        assert_eq!(
            statements,
            r"SELECT pg_catalog.set_config(E'a', E'x\'); DROP TABLE t; --\\', false);"
        );
    }
}
