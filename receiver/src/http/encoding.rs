//! `Content-Encoding` of a body (RFC 9110 §8.4): none or gzip.
//!
//! Guarantee: however well a body was compressed, no more than the limit of octets comes out of it.

use std::{borrow::Cow, io::Read as _};

use axum::http::{HeaderMap, header};
use flate2::bufread::MultiGzDecoder;

/// What a request may say, as the answer to any other says it (RFC 9110 §12.5.3).
pub(super) const ACCEPTED: &str = "gzip, identity";

/// Why a body cannot be decoded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Undecodable {
    /// It is in an encoding that is not known.
    #[error("Content-Encoding {0:?} is not supported: send gzip, or none")]
    Unsupported(String),
    /// It is larger than the limit once it is decoded.
    #[error("the body is larger than {0} octets when it is decompressed")]
    TooLarge(usize),
    /// It is not what it says.
    #[error("the body is not the gzip that Content-Encoding says: {0}")]
    Damaged(String),
}

/// The octets that were encoded, `limit` at most.
pub(super) fn decode<'a>(
    headers: &HeaderMap,
    body: &'a [u8],
    limit: usize,
) -> Result<Cow<'a, [u8]>, Undecodable> {
    let mut is_gzip = false;
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let value = String::from_utf8_lossy(value.as_bytes());
        for coding in value.split(',').map(|coding| coding.trim().to_ascii_lowercase()) {
            match coding.as_str() {
                "" | "identity" => {}
                "gzip" | "x-gzip" if !is_gzip => is_gzip = true,
                _ => {
                    let shown = value.chars().take(VALUE_CHARS_SHOWN).collect();
                    return Err(Undecodable::Unsupported(shown));
                }
            }
        }
    }
    if !is_gzip {
        return Ok(body.into());
    }
    let mut decoded = Vec::new();
    MultiGzDecoder::new(body)
        .take(limit as u64 + 1)
        .read_to_end(&mut decoded)
        .map_err(|error| Undecodable::Damaged(error.to_string()))?;
    if decoded.len() > limit { Err(Undecodable::TooLarge(limit)) } else { Ok(decoded.into()) }
}

const VALUE_CHARS_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn decode_as(encodings: &[&str], body: &[u8]) -> Result<Vec<u8>, Undecodable> {
        let mut headers = HeaderMap::new();
        for encoding in encodings {
            headers.append(header::CONTENT_ENCODING, encoding.parse().unwrap());
        }
        decode(&headers, body, LIMIT).map(Cow::into_owned)
    }

    #[test]
    fn gzip_or_nothing() {
        let packed = gzip(b"[1]");
        for (encodings, body) in [
            (&[][..], &b"[1]"[..]),
            (&[""], b"[1]"),
            (&["identity"], b"[1]"),
            (&["gzip"], &packed),
            (&["GZIP"], &packed),
            (&["x-gzip"], &packed),
            (&["identity, gzip"], &packed),
            (&["identity", "gzip"], &packed),
        ] {
            assert_eq!(decode_as(encodings, body).unwrap(), b"[1]", "{encodings:?}");
        }
        // Members one after the other are one body (RFC 1952 §2.2).
        assert_eq!(decode_as(&["gzip"], &[gzip(b"[1,"), gzip(b"2]")].concat()).unwrap(), b"[1,2]");
        for encodings in
            [&["br"][..], &["deflate"], &["gzip, gzip"], &["gzip", "gzip"], &["gzip;q=1"]]
        {
            let error = decode_as(encodings, &packed).unwrap_err();
            assert!(matches!(&error, Undecodable::Unsupported(_)), "{error}");
            assert!(error.to_string().contains(encodings[0]), "{error}");
        }
    }

    #[test]
    fn damage_is_an_error() {
        let packed = gzip(b"{\"satellite_id\": \"SAT-01\", \"temp\": 50}");
        let mut wrong_sum = packed.clone();
        *wrong_sum.iter_mut().rev().nth(5).unwrap() ^= 1;
        for body in [
            &b""[..],
            b"[1]",
            &packed[..packed.len() - 1],
            &packed[..12],
            &wrong_sum,
            &[&packed[..], b"more"].concat(),
        ] {
            assert!(matches!(decode_as(&["gzip"], body), Err(Undecodable::Damaged(_))), "{body:?}");
        }
    }

    #[test]
    fn a_bomb_is_read_to_the_limit() {
        assert_eq!(decode_as(&["gzip"], &gzip(&vec![b' '; LIMIT])).unwrap().len(), LIMIT);
        for octets in [LIMIT + 1, 64 << 20] {
            let bomb = gzip(&vec![b' '; octets]);
            assert_eq!(decode_as(&["gzip"], &bomb), Err(Undecodable::TooLarge(LIMIT)));
        }
    }
}
