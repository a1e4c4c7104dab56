//! The bearer token (RFC 6750) that requests must carry, where the station is given one. It is never
//! logged, shown or part of an error.

use std::{fmt, fs, os::unix::fs::PermissionsExt as _, path::Path};

use axum::http::{HeaderMap, StatusCode, header};
use subtle::ConstantTimeEq as _;

/// What a client has to know.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The token of a file or, without one, of the environment variable `VARIABLE`; `None` when
    /// there is neither. Errors are one line, and do not show it.
    pub fn read(file: Option<&Path>) -> Result<Option<Self>, String> {
        let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        match (file, variable) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(format!("--http-token-file and {VARIABLE}: give only one")),
            (None, Some(value)) => Self::parse(&value.to_string_lossy())
                .map(Some)
                .map_err(|e| format!("{VARIABLE}: {e}")),
            (Some(path), None) => {
                let shown = path.display();
                let text = fs::read_to_string(path)
                    .map_err(|error| format!("cannot read --http-token-file {shown}: {error}"))?;
                let mode = fs::metadata(path).map_or(0, |data| data.permissions().mode());
                if mode & OTHERS != 0 {
                    tracing::warn!("{shown} can be read by everybody: chmod o= {shown}");
                }
                Self::parse(&text).map(Some).map_err(|e| format!("--http-token-file {shown}: {e}"))
            }
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let token = text.trim();
        let is_good = (OCTETS_MIN..=OCTETS_MAX).contains(&token.len())
            && token.bytes().all(|octet| octet.is_ascii_graphic());
        is_good.then(|| Self(token.to_owned())).ok_or_else(|| {
            format!(
                "expected a token of {OCTETS_MIN} to {OCTETS_MAX} printable ASCII characters without \
                 spaces, as `openssl rand -hex 32` makes one"
            )
        })
    }

    /// Whether a request carries it, and if not, what is wrong. How long the comparison takes tells
    /// nothing but the token's length.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let given = headers.get(header::AUTHORIZATION).ok_or(Refused::Missing)?.as_bytes();
        let (scheme, given) = given.split_at_checked(SCHEME.len()).ok_or(Refused::Wrong)?;
        let is_bearer = scheme.eq_ignore_ascii_case(SCHEME);
        let is_right = bool::from(given.trim_ascii_start().ct_eq(self.0.as_bytes()));
        if is_bearer && is_right { Ok(()) } else { Err(Refused::Wrong) }
    }
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It has no token.
    Missing,
    /// It has another one.
    Wrong,
}

impl Refused {
    /// Status, challenge and message of the answer.
    pub(super) fn answer(self) -> (StatusCode, &'static str, &'static str) {
        let (challenge, message) = match self {
            Self::Missing => ("Bearer", "this station asks for a token: Authorization: Bearer …"),
            Self::Wrong => ("Bearer error=\"invalid_token\"", "the token is wrong"),
        };
        (StatusCode::UNAUTHORIZED, challenge, message)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The token itself, for whoever has no file for it. There is no such option: `ps` would show it.
const VARIABLE: &str = "ORBITSTREAM_HTTP_TOKEN";
const SCHEME: &[u8] = b"Bearer ";
/// What nobody guesses, at four bits a character: 64 bits.
const OCTETS_MIN: usize = 16;
const OCTETS_MAX: usize = 1_024;
/// The right of others to read.
const OTHERS: u32 = 0o004;

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    #[test]
    fn only_the_token_itself_opens() {
        let token = Token::parse(&format!("{TOKEN}\n")).unwrap();
        let check = |value: Option<&str>| {
            let headers = value.map(|value| (header::AUTHORIZATION, value.parse().unwrap()));
            token.check(&headers.into_iter().collect())
        };
        assert_eq!(check(Some(&format!("Bearer {TOKEN}"))), Ok(()));
        assert_eq!(check(Some(&format!("bearer  {TOKEN}"))), Ok(()));
        assert_eq!(check(None), Err(Refused::Missing));
        for wrong in ["", "Bearer", "Bearer ", TOKEN, "Bearer 0123456789abcdeF", "Basic MDEyMw=="] {
            assert_eq!(check(Some(wrong)), Err(Refused::Wrong), "{wrong:?}");
        }
        for wrong in [
            format!("Bearer {TOKEN}0"),
            format!("Basic  {TOKEN}"),
            format!("Bearer {}", &TOKEN[1..]),
        ] {
            assert_eq!(check(Some(&wrong)), Err(Refused::Wrong), "{wrong:?}");
        }
    }

    #[test]
    fn it_is_not_shown() {
        assert!(!format!("{:?}", Token::parse(TOKEN).unwrap()).contains(TOKEN));
        for wrong in [
            "",
            "short-secret",
            "has a space in its middle",
            "no-äscii-at-all-here",
            &"x".repeat(1_025),
        ] {
            let error = Token::parse(wrong).unwrap_err();
            assert!(wrong.is_empty() || !error.contains(wrong), "{error}");
            assert!(error.contains("openssl rand"), "{error}");
        }
    }

    #[test]
    fn a_file_gives_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let error = Token::read(Some(&path)).unwrap_err();
        assert!(error.contains("--http-token-file") && !error.contains('\n'), "{error}");
        fs::write(&path, format!("{TOKEN}\n")).unwrap();
        assert_eq!(Token::read(Some(&path)).unwrap().unwrap().0, TOKEN);
        assert!(Token::read(None).unwrap().is_none());
    }
}
