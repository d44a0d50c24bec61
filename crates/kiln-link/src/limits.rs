//! How much one package may unpack to.

use std::io::{self, Read};

use crate::error::Problem;

/// Limits for one package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all entries together.
    pub unpacked_bytes: u64,
    /// How many times larger than the archive the entries may be.
    pub ratio: u64,
    /// Up to this many bytes the ratio doesn't count: small texts compress well.
    pub ratio_free_bytes: u64,
    /// Entries in the archive.
    pub entries: u64,
    /// Bytes of one file that is held in memory: one whose prefix is replaced.
    pub patched_bytes: u64,
    /// Bytes of one metadata file.
    pub metadata_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unpacked_bytes: 10 << 30,
            ratio: 50,
            ratio_free_bytes: 64 << 20,
            entries: 200_000,
            patched_bytes: 512 << 20,
            metadata_bytes: 64 << 20,
        }
    }
}

impl Limits {
    /// Says whether an archive of this size may unpack to that many bytes.
    pub(crate) fn check(&self, archive_bytes: u64, unpacked: u64) -> Result<(), Problem> {
        if unpacked > self.unpacked_bytes {
            return Err(Problem::TooLarge {
                what: "unpacked bytes",
                limit: self.unpacked_bytes,
            });
        }
        if unpacked > self.ratio_free_bytes && unpacked / self.ratio > archive_bytes {
            return Err(Problem::TooLarge {
                what: "unpacked bytes per archive byte",
                limit: self.ratio,
            });
        }
        Ok(())
    }
}

/// Counts what a decompressor gives and stops it at the limits.
pub(crate) struct Bounded<R> {
    inner: R,
    limits: Limits,
    archive_bytes: u64,
    read: u64,
}

impl<R> Bounded<R> {
    pub(crate) fn new(inner: R, limits: Limits, archive_bytes: u64) -> Self {
        Self {
            inner,
            limits,
            archive_bytes,
            read: 0,
        }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.read += n as u64;
        self.limits
            .check(self.archive_bytes, self.read)
            .map_err(io::Error::other)?;
        Ok(n)
    }
}

/// Reads a whole file that has to fit in memory.
pub(crate) fn read_limited(
    reader: &mut dyn Read,
    what: &'static str,
    limit: u64,
) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    reader
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(Problem::from_read)?;
    if bytes.len() as u64 > limit {
        return Err(Problem::TooLarge { what, limit });
    }
    Ok(bytes)
}
