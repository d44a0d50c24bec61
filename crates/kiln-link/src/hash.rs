//! Readers that hash what passes, and refuse content that is not the expected one.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::error::Problem;

/// A running hash of one of the algorithms that a RECORD may use.
enum Hasher {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

/// A hash that content must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    Sha256(Vec<u8>),
    Sha384(Vec<u8>),
    Sha512(Vec<u8>),
}

/// Passes content on and fails at its end when hash or size are not the expected ones.
pub(crate) struct Verifying<R> {
    inner: R,
    hasher: Option<Hasher>,
    expected: Option<Expected>,
    expected_size: Option<u64>,
    size: u64,
    done: bool,
}

impl<R: Read> Verifying<R> {
    pub(crate) fn new(inner: R, expected: Option<Expected>, expected_size: Option<u64>) -> Self {
        let hasher = expected.as_ref().map(|expected| match expected {
            Expected::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Expected::Sha384(_) => Hasher::Sha384(Sha384::new()),
            Expected::Sha512(_) => Hasher::Sha512(Sha512::new()),
        });
        Self {
            inner,
            hasher,
            expected,
            expected_size,
            size: 0,
            done: false,
        }
    }

    fn finish(&mut self) -> Result<(), Problem> {
        self.done = true;
        if let Some(expected) = self.expected_size
            && expected != self.size
        {
            return Err(Problem::Content {
                what: "size",
                expected: expected.to_string(),
                found: self.size.to_string(),
            });
        }
        let (Some(hasher), Some(expected)) = (self.hasher.take(), self.expected.as_ref()) else {
            return Ok(());
        };
        let (what, found) = match hasher {
            Hasher::Sha256(h) => ("sha256", h.finalize().to_vec()),
            Hasher::Sha384(h) => ("sha384", h.finalize().to_vec()),
            Hasher::Sha512(h) => ("sha512", h.finalize().to_vec()),
        };
        let (Expected::Sha256(bytes) | Expected::Sha384(bytes) | Expected::Sha512(bytes)) =
            expected;
        if *bytes == found {
            return Ok(());
        }
        Err(Problem::Content {
            what,
            expected: hex::encode(bytes),
            found: hex::encode(found),
        })
    }
}

impl<R: Read> Read for Verifying<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.done || buf.is_empty() {
            return Ok(0);
        }
        let n = self.inner.read(buf)?;
        if n == 0 {
            self.finish().map_err(io::Error::other)?;
            return Ok(0);
        }
        self.size += n as u64;
        match &mut self.hasher {
            Some(Hasher::Sha256(h)) => h.update(&buf[..n]),
            Some(Hasher::Sha384(h)) => h.update(&buf[..n]),
            Some(Hasher::Sha512(h)) => h.update(&buf[..n]),
            None => {}
        }
        Ok(n)
    }
}

/// Passes content on and knows its SHA-256 and size afterwards.
pub(crate) struct Hashing<R> {
    inner: R,
    hasher: Sha256,
    size: u64,
}

impl<R> Hashing<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            size: 0,
        }
    }

    /// The SHA-256 and the number of bytes that passed.
    pub(crate) fn finish(self) -> ([u8; 32], u64) {
        (self.hasher.finalize().into(), self.size)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hasher.update(&buf[..n]);
        self.size += n as u64;
        Ok(n)
    }
}

/// SHA-256 of bytes in memory.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Reads what a sink left, so that the end's checks are made.
pub(crate) fn drain(reader: &mut dyn Read) -> Result<(), Problem> {
    io::copy(reader, &mut io::sink())
        .map(drop)
        .map_err(Problem::from_read)
}
