//! `sslmode` and `sslrootcert`, taken out of an address: the driver knows half of the former's
//! values, and refuses the latter.

use percent_encoding::percent_decode_str;

use super::AddressError;

/// An address, and what was taken out of it. An empty value is none, as to libpq.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) rest: String,
    pub(crate) mode: Option<String>,
    pub(crate) roots: Option<String>,
}

impl Parameters {
    pub(crate) fn take_from(text: &str) -> Result<Self, AddressError> {
        let is_url = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
        if is_url { Ok(Self::take_from_url(text)) } else { Self::take_from_pairs(text) }
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
        while let Some((key, after)) = left.split_once('=') {
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
        // What is no pair is for the driver to refuse.
        taken.rest.push_str(left);
        Ok(taken)
    }

    /// Whether it is one of those that are taken out.
    fn set(&mut self, key: &str, value: &str) -> bool {
        let slot = match key {
            "sslmode" => &mut self.mode,
            "sslrootcert" => &mut self.roots,
            _ => return false,
        };
        *slot = (!value.is_empty()).then(|| value.to_owned());
        true
    }
}

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
