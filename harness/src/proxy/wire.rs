//! Just enough of PostgreSQL's frontend/backend protocol, version 3, to see a COMMIT pass: where a
//! message begins and ends, and whether it is that one (PostgreSQL's manual, "Message Formats").
//!
//! Guarantee: what comes out, put together, is what went in, whatever the sizes in which it came,
//! but for the requests for encryption. Pure; at most one short message is held back until it is
//! whole.
//!
//! Limits: only the simple query `COMMIT`, as the driver of this project sends it, and the tag
//! `COMMIT` that answers it. What is no such protocol passes as it is.

/// Which end the octets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
}

/// What was seen in a stream of octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Part of the stream that is of no interest.
    Octets(&'a [u8]),
    /// From the client, the request to commit; from the server, that it was done. The whole message.
    Commit(&'a [u8]),
    /// A client asks for encryption and waits for an answer of one octet.
    EncryptionRequest,
}

/// Splits one direction of a connection into messages.
#[derive(Debug)]
pub(super) struct Splitter {
    commit: &'static [u8],
    /// Whether the next message is one that a client begins with, which has no type.
    is_starting: bool,
    /// Octets of the present message that are still to come, and of no interest.
    rest: usize,
    /// The beginning of a message of which not enough has come.
    held: Vec<u8>,
}

impl Splitter {
    pub(super) fn new(end: End) -> Self {
        let (commit, is_starting) = match end {
            End::Client => (COMMIT, true),
            End::Server => (COMMITTED, false),
        };
        Self { commit, is_starting, rest: 0, held: Vec::new() }
    }

    /// Takes what has come, and hands on what can be.
    pub(super) fn push(&mut self, mut octets: &[u8], mut each: impl FnMut(Piece<'_>)) {
        while !octets.is_empty() {
            if self.rest > 0 {
                let (now, later) = octets.split_at(self.rest.min(octets.len()));
                self.rest -= now.len();
                octets = later;
                each(Piece::Octets(now));
                continue;
            }
            let wanted = self.wanted() - self.held.len();
            let (now, later) = octets.split_at(wanted.min(octets.len()));
            self.held.extend_from_slice(now);
            octets = later;
            if self.held.len() == self.wanted() {
                self.decide(&mut each);
            }
        }
    }

    /// How much of a message must have come before it is known what it is.
    fn wanted(&self) -> usize {
        let head = if self.is_starting { STARTING_OCTETS } else { HEAD_OCTETS };
        let may_be_commit =
            !self.is_starting && self.held.get(..head) == Some(&self.commit[..head]);
        if may_be_commit { self.commit.len() } else { head }
    }

    fn decide(&mut self, each: &mut impl FnMut(Piece<'_>)) {
        let number = |at: usize| {
            let octets = self.held[at..].first_chunk().copied().unwrap_or_default();
            u32::from_be_bytes(octets) as usize
        };
        let (length, counted_from) = if self.is_starting { (number(0), 0) } else { (number(1), 1) };
        if self.is_starting && ENCRYPTION_REQUESTS.contains(&number(4)) {
            each(Piece::EncryptionRequest);
        } else if self.held == self.commit {
            each(Piece::Commit(&self.held));
        } else {
            each(Piece::Octets(&self.held));
            // A length that cannot be one: not this protocol, so let everything pass.
            let end = length.checked_add(counted_from).filter(|_| length >= LENGTH_OCTETS);
            self.rest = end.map_or(usize::MAX, |end| end.saturating_sub(self.held.len()));
            self.is_starting = false;
        }
        self.held.clear();
    }
}

/// The simple query that ends a transaction: type, length, text and a zero.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
/// `CommandComplete` with its tag.
const COMMITTED: &[u8] = b"C\0\0\0\x0bCOMMIT\0";
/// Type and length. The length counts itself, but not the type.
const HEAD_OCTETS: usize = 5;
const LENGTH_OCTETS: usize = 4;
/// What a client begins with: a length and a code.
const STARTING_OCTETS: usize = 8;
/// The codes of `SSLRequest` and `GSSENCRequest`.
const ENCRYPTION_REQUESTS: [usize; 2] = [80_877_103, 80_877_104];

#[cfg(test)]
mod tests {
    use super::*;

    const STARTUP: &[u8] = b"\0\0\0\x0f\0\x03\0\0user\0x\0";
    const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";

    /// What comes out when the octets come in pieces of `size`: all of it, and where commits were.
    fn split(end: End, octets: &[u8], size: usize) -> (Vec<u8>, Vec<usize>, usize) {
        let (mut passed, mut commits, mut requests) = (Vec::new(), Vec::new(), 0);
        let mut splitter = Splitter::new(end);
        for piece in octets.chunks(size) {
            splitter.push(piece, |piece| match piece {
                Piece::Octets(octets) => passed.extend_from_slice(octets),
                Piece::Commit(octets) => {
                    commits.push(passed.len());
                    passed.extend_from_slice(octets);
                }
                Piece::EncryptionRequest => requests += 1,
            });
        }
        (passed, commits, requests)
    }

    #[test]
    fn a_commit_is_found_in_pieces_of_any_size() {
        let query = b"Q\0\0\0\x0dSELECT 1\0";
        let copied = b"d\0\0\0\x10Q\0\0\0\x0bCOMMIT\0";
        let stream = [STARTUP, query, COMMIT, copied, COMMIT, COMMIT].concat();
        let first = STARTUP.len() + query.len();
        let second = first + COMMIT.len() + copied.len();
        for size in 1..=stream.len() {
            let found = split(End::Client, &stream, size);
            let commits = vec![first, second, second + COMMIT.len()];
            assert_eq!(found, (stream.clone(), commits, 0), "pieces of {size}");
        }
    }

    #[test]
    fn an_answer_is_told_from_what_is_alike() {
        let others: &[&[u8]] = &[b"C\0\0\0\x0dROLLBACK\0", b"C\0\0\0\x0bCOMMIx\0", b"Z\0\0\0\x05I"];
        let before = others.concat();
        let stream = [&before, COMMITTED, b"Z\0\0\0\x05I"].concat();
        for size in 1..=stream.len() {
            assert_eq!(split(End::Server, &stream, size), (stream.clone(), vec![before.len()], 0));
        }
    }

    #[test]
    fn requests_for_encryption_do_not_pass() {
        let stream = [SSL_REQUEST, STARTUP, COMMIT].concat();
        let expected = (stream[SSL_REQUEST.len()..].to_vec(), vec![STARTUP.len()], 1);
        for size in 1..=stream.len() {
            assert_eq!(split(End::Client, &stream, size), expected);
        }
    }

    #[test]
    fn another_protocol_passes_as_it_is() {
        let streams: [&[u8]; 2] =
            [b"\0\0\0\x01GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0Q\0\0\0\x0bCOMMIT\0"];
        for stream in streams {
            assert_eq!(split(End::Client, stream, 3).0, stream);
        }
    }
}
