//! A strict reader of zip archives.
//!
//! Only the central directory is trusted, and every local header has to agree with it. The entries
//! fill the file from its first byte to the central directory without gap or overlap, and the
//! directory fills it to the end record: nothing can hide before, between or behind. Names are
//! unique and UTF-8. Source: PKWARE APPNOTE 6.3.10, sections 4.3 and 4.4.

mod directory;
mod local;
#[cfg(test)]
mod tests;

use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use crate::error::Problem;
use crate::limits::Limits;

/// One entry of the central directory.
#[derive(Debug, Clone)]
pub(crate) struct ZipEntry {
    pub name: String,
    pub size: u64,
    /// The upper half of the external attributes: the mode, where the archive was made on Unix.
    pub unix_mode: u32,
    deflated: bool,
    flags: u16,
    crc: u32,
    compressed: u64,
    header_offset: u64,
    data_offset: u64,
}

impl ZipEntry {
    /// Whether it is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.name.ends_with('/')
    }
}

/// An archive whose structure is checked.
pub(crate) struct Zip<R> {
    reader: R,
    entries: Vec<ZipEntry>,
}

impl<R: Read + Seek> Zip<R> {
    /// Reads and checks the structure of a whole archive, without its contents.
    pub(crate) fn open(mut reader: R, limits: &Limits) -> Result<Self, Problem> {
        let length = reader.seek(SeekFrom::End(0)).map_err(Problem::from_read)?;
        let end = directory::find_end(&mut reader, length)?;
        if end.entries > limits.entries {
            return Err(Problem::TooLarge {
                what: "entries",
                limit: limits.entries,
            });
        }
        if end.size > limits.metadata_bytes {
            return Err(Problem::TooLarge {
                what: "bytes in the central directory",
                limit: limits.metadata_bytes,
            });
        }
        let mut entries = directory::read_entries(&mut reader, &end)?;
        let unpacked = entries
            .iter()
            .fold(0u64, |sum, entry| sum.saturating_add(entry.size));
        limits.check(length, unpacked)?;
        local::check(&mut reader, &mut entries, end.offset)?;
        Ok(Self { reader, entries })
    }

    /// The entries, in the central directory's order.
    pub(crate) fn entries(&self) -> &[ZipEntry] {
        &self.entries
    }

    /// Where a stored entry's bytes stand in the file; `None` when they are compressed.
    pub(crate) fn stored_range(&self, index: usize) -> Option<std::ops::Range<u64>> {
        let entry = &self.entries[index];
        let whole = !entry.deflated && entry.compressed == entry.size;
        whole.then(|| entry.data_offset..entry.data_offset + entry.size)
    }

    /// An entry's content; it ends with an error unless size and CRC-32 are the directory's.
    pub(crate) fn read(&mut self, index: usize) -> Result<ZipContent<'_, R>, Problem> {
        let entry = &self.entries[index];
        self.reader
            .seek(SeekFrom::Start(entry.data_offset))
            .map_err(Problem::from_read)?;
        let capacity =
            usize::try_from(entry.compressed.clamp(512, 64 << 10)).expect("at most 64 KiB");
        let raw = BufReader::with_capacity(capacity, (&mut self.reader).take(entry.compressed));
        Ok(ZipContent {
            decoder: if entry.deflated {
                Decoder::Deflated(DeflateDecoder::new(raw))
            } else {
                Decoder::Stored(raw)
            },
            remaining: entry.size,
            compressed: entry.compressed,
            crc: Crc::new(),
            expected_crc: entry.crc,
            done: false,
        })
    }
}

type Raw<'a, R> = BufReader<Take<&'a mut R>>;

enum Decoder<'a, R> {
    Stored(Raw<'a, R>),
    Deflated(DeflateDecoder<Raw<'a, R>>),
}

/// An entry's content.
pub(crate) struct ZipContent<'a, R> {
    decoder: Decoder<'a, R>,
    remaining: u64,
    compressed: u64,
    crc: Crc,
    expected_crc: u32,
    done: bool,
}

impl<R: Read> ZipContent<'_, R> {
    fn decode(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.decoder {
            Decoder::Stored(raw) => raw.read(buf),
            Decoder::Deflated(decoder) => decoder.read(buf),
        }
    }

    /// The compressed stream has to end where the directory says, not before and not behind.
    fn finish(&mut self) -> io::Result<()> {
        self.done = true;
        if self.decode(&mut [0])? != 0 {
            return Err(io::Error::other(Problem::Archive(
                "an entry is longer than stated",
            )));
        }
        let whole = match &self.decoder {
            Decoder::Stored(_) => true,
            Decoder::Deflated(decoder) => decoder.total_in() == self.compressed,
        };
        if !whole {
            return Err(io::Error::other(Problem::Archive(
                "data stands behind an entry's end",
            )));
        }
        if self.crc.sum() != self.expected_crc {
            return Err(io::Error::other(Problem::Content {
                what: "CRC-32",
                expected: format!("{:08x}", self.expected_crc),
                found: format!("{:08x}", self.crc.sum()),
            }));
        }
        Ok(())
    }
}

impl<R: Read> Read for ZipContent<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.done || buf.is_empty() {
            return Ok(0);
        }
        if self.remaining == 0 {
            self.finish()?;
            return Ok(0);
        }
        let most = usize::try_from(self.remaining)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let n = self.decode(&mut buf[..most])?;
        if n == 0 {
            return Err(io::Error::other(Problem::Archive(
                "an entry is shorter than stated",
            )));
        }
        self.crc.update(&buf[..n]);
        self.remaining -= n as u64;
        Ok(n)
    }
}
