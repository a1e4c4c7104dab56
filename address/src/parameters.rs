//! `sslmode`, `sslrootcert` and `options`, taken out of an address: the driver knows half of the
//! first's values, refuses the second, and sends the third where poolers refuse it.

use percent_encoding::percent_decode_str;

use super::AddressError;

/// An address, and what was taken out of it. An empty value is none, as to libpq.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) rest: String,
    pub(crate) mode: Option<String>,
    pub(crate) roots: Option<String>,
    pub(crate) options: Option<String>,
}

/// Whether the text is a URL whose password has a percent sign.
pub(crate) fn has_percent_in_password(text: &str) -> bool {
    let credentials = without_scheme(text).and_then(|rest| rest.split_once('@'));
    let password = credentials.and_then(|(credentials, _)| credentials.split_once(':'));
    password.is_some_and(|(_, password)| password.contains('%'))
}

fn without_scheme(text: &str) -> Option<&str> {
    SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme))
}

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

impl Parameters {
    pub(crate) fn take_from(text: &str) -> Result<Self, AddressError> {
        match without_scheme(text) {
            // Where the password ends is unknown, and so is which parts may be shown.
            Some(rest) if rest.matches('@').nth(1).is_some() => Err(AddressError::Encoding),
            Some(_) => Ok(Self::take_from_url(text)),
            None => Self::take_from_pairs(text),
        }
    }

    fn take_from_url(text: &str) -> Self {
        // A password may have a question mark in it, and ends with the first @.
        let credentials = text.find('@').unwrap_or_default();
        let Some(mark) = text[credentials..].find('?') else {
            return Self { rest: text.to_owned(), ..Self::default() };
        };
        let (before, query) = text.split_at(credentials + mark);
        let mut taken = Self { rest: before.to_owned(), ..Self::default() };
        let mut separator = '?';
        for pair in query[1..].split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !taken.set(key, &percent_decode_str(value).decode_utf8_lossy()) {
                taken.rest.push(separator);
                taken.rest.push_str(pair);
                separator = '&';
            }
        }
        taken
    }

    /// Pairs of `key=value` with white space between them; a value may be quoted ('), and `\` takes
    /// the next character as it is.
    fn take_from_pairs(text: &str) -> Result<Self, AddressError> {
        let mut taken = Self::default();
        let mut left = text.trim_start();
        let mut is_after_password = false;
        while let Some((key, after)) = left.split_once('=') {
            // What the driver would call an unknown key may be the rest of a password, or all of an
            // address whose scheme is missing or another.
            let is_key = PAIR_KEYS.contains(&key.trim_end());
            if !is_key && is_after_password {
                return Err(AddressError::AfterPassword);
            }
            if !key.trim_end().bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
                return Err(AddressError::NoForm);
            }
            is_after_password = key.trim_end() == "password";
            let after = after.trim_start();
            let is_quoted = after.starts_with('\'');
            let (mut value, mut is_escaped, mut end) = (String::new(), false, None);
            for (at, c) in after.char_indices().skip(usize::from(is_quoted)) {
                match c {
                    _ if is_escaped => is_escaped = false,
                    '\\' => {
                        is_escaped = true;
                        continue;
                    }
                    '\'' if is_quoted => {
                        end = Some(at + 1);
                        break;
                    }
                    c if !is_quoted && c.is_whitespace() => {
                        end = Some(at);
                        break;
                    }
                    _ => {}
                }
                value.push(c);
            }
            let end = match end {
                None if is_quoted => return Err(AddressError::Quote),
                end => end.unwrap_or(after.len()),
            };
            if !taken.set(key.trim_end(), &value) {
                taken.rest.extend([key, "=", &after[..end], " "]);
            }
            left = after[end..].trim_start();
        }
        if is_after_password && !left.is_empty() {
            return Err(AddressError::AfterPassword);
        }
        // What is no pair is for the driver to refuse.
        taken.rest.push_str(left);
        Ok(taken)
    }

    /// Whether it is one of those that are taken out.
    fn set(&mut self, key: &str, value: &str) -> bool {
        let slot = match key {
            "sslmode" => &mut self.mode,
            "sslrootcert" => &mut self.roots,
            "options" => &mut self.options,
            _ => return false,
        };
        *slot = (!value.is_empty()).then(|| value.to_owned());
        true
    }
}

/// What may follow a password.
const PAIR_KEYS: [&str; 20] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslmode",
    "sslrootcert",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_taken_out_and_the_rest_stays() {
        for (text, rest, mode, roots) in [
            ("postgres://a:b?c@h:5/d", "postgres://a:b?c@h:5/d", None, None),
            ("postgres://h/d?sslmode=require", "postgres://h/d", Some("require"), None),
            (
                "postgresql://a:b@h/d?x=1&sslrootcert=%2Fa%20b&y=2&sslmode=verify-ca",
                "postgresql://a:b@h/d?x=1&y=2",
                Some("verify-ca"),
                Some("/a b"),
            ),
            ("host=h sslmode=disable user=a", "host=h user=a ", Some("disable"), None),
            (
                r"host = 'h' password='it\'s sslmode=x' sslrootcert = '/a b'",
                r"host ='h' password='it\'s sslmode=x' ",
                None,
                Some("/a b"),
            ),
            (r"sslrootcert=/a\ b port=5", "port=5 ", None, Some("/a b")),
            ("nonsense", "nonsense", None, None),
        ] {
            let taken = Parameters::take_from(text).unwrap();
            let expected = (rest, mode.map(str::to_owned), roots.map(str::to_owned));
            assert_eq!((&*taken.rest, taken.mode, taken.roots), expected, "{text}");
        }
    }
}
