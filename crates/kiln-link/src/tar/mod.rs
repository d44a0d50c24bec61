//! A strict reader of tar archives.
//!
//! It reads POSIX ustar, PAX and the GNU long names that conda packages are made of, front to end,
//! and refuses what different readers understand differently: a PAX size beside the header's,
//! headers that wait for an entry that doesn't come, extensions of extensions, data behind the end.
//! Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header".

mod extension;
mod header;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Read};

use self::extension::{agreed_size, long_text, parse_pax};
use self::header::Header;
use crate::error::Problem;

const BLOCK: usize = 512;
/// Longest extension header or long name.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TarKind {
    File,
    HardLink(String),
    Symlink(String),
    Directory,
}

/// One entry's header, extensions applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TarEntry {
    /// The name as written, maybe with `./` and a trailing slash.
    pub name: String,
    pub kind: TarKind,
    pub size: u64,
    /// All twelve permission bits.
    pub mode: u32,
    pub mtime: i64,
}

/// Reads entries one after another; [`Read`] gives the current entry's content.
pub(crate) struct TarReader<R> {
    inner: R,
    remaining: u64,
    padding: u64,
    entries: u64,
    max_entries: u64,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(inner: R, max_entries: u64) -> Self {
        Self {
            inner,
            remaining: 0,
            padding: 0,
            entries: 0,
            max_entries,
        }
    }

    /// The next entry, or `None` at the end of the archive.
    pub(crate) fn next_entry(&mut self) -> Result<Option<TarEntry>, Problem> {
        let mut pax: Option<BTreeMap<String, String>> = None;
        let mut long_name: Option<String> = None;
        let mut long_link: Option<String> = None;
        loop {
            self.skip_content()?;
            let pending = pax.is_some() || long_name.is_some() || long_link.is_some();
            let Some(block) = self.read_header()? else {
                if pending {
                    return Err(Problem::Archive("an extension header belongs to no entry"));
                }
                return Ok(None);
            };
            let header = Header(&block);
            self.entries += 1;
            if self.entries > self.max_entries {
                return Err(Problem::TooLarge {
                    what: "entries",
                    limit: self.max_entries,
                });
            }
            let size = header.number(124, 12)?;
            match block[156] {
                b'x' => {
                    if pending {
                        return Err(Problem::Archive("an extension header extends another"));
                    }
                    pax = Some(parse_pax(&self.extension(size)?)?);
                }
                b'g' => {
                    let global = parse_pax(&self.extension(size)?)?;
                    if global.keys().any(|key| key != "comment") {
                        return Err(Problem::Archive("a global extension changes other entries"));
                    }
                }
                b'L' if long_name.is_none() && pax.is_none() => {
                    long_name = Some(long_text(&self.extension(size)?)?);
                }
                b'K' if long_link.is_none() && pax.is_none() => {
                    long_link = Some(long_text(&self.extension(size)?)?);
                }
                b'L' | b'K' => {
                    return Err(Problem::Archive("an extension header extends another"));
                }
                _ => {
                    let pax = pax.unwrap_or_default();
                    return self
                        .entry(&header, size, &pax, long_name, long_link)
                        .map(Some);
                }
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header<'_>,
        size: u64,
        pax: &BTreeMap<String, String>,
        long_name: Option<String>,
        long_link: Option<String>,
    ) -> Result<TarEntry, Problem> {
        let size = agreed_size(size, pax)?;
        let name = match (pax.get("path"), long_name) {
            (Some(path), _) => path.clone(),
            (None, Some(name)) => name,
            (None, None) => header.name()?,
        };
        let link = match (pax.get("linkpath"), long_link) {
            (Some(path), _) => path.clone(),
            (None, Some(link)) => link,
            (None, None) => header.text(157, 100)?,
        };
        if name.is_empty() {
            return Err(Problem::Archive("an entry has no name"));
        }
        let kind = match header.0[156] {
            b'0' | b'7' if name.ends_with('/') => {
                return Err(Problem::Archive("a file's name ends with a slash"));
            }
            // Before POSIX a directory was a file of no length with such a name.
            0 if name.ends_with('/') => TarKind::Directory,
            b'0' | b'7' | 0 => TarKind::File,
            b'1' => TarKind::HardLink(link),
            b'2' => TarKind::Symlink(link),
            b'5' => TarKind::Directory,
            b'3' => return Err(Problem::ForbiddenKind("character device")),
            b'4' => return Err(Problem::ForbiddenKind("block device")),
            b'6' => return Err(Problem::ForbiddenKind("named pipe")),
            b'S' => return Err(Problem::ForbiddenKind("sparse file")),
            _ => return Err(Problem::ForbiddenKind("entry of an unknown kind")),
        };
        if kind != TarKind::File && size != 0 {
            return Err(Problem::Archive("an entry that is no file has content"));
        }
        self.begin(size);
        Ok(TarEntry {
            name,
            kind,
            size,
            mode: u32::try_from(header.number(100, 8)? & 0o7777).expect("twelve bits fit"),
            mtime: mtime(header, pax)?,
        })
    }

    fn begin(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Problem> {
        if size > MAX_EXTENSION_BYTES {
            return Err(Problem::TooLarge {
                what: "bytes in an extension header",
                limit: MAX_EXTENSION_BYTES,
            });
        }
        self.begin(size);
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(Problem::from_read)?;
        Ok(bytes)
    }

    fn skip_content(&mut self) -> Result<(), Problem> {
        io::copy(self, &mut io::sink()).map_err(Problem::from_read)?;
        let padding = std::mem::take(&mut self.padding);
        let skipped = io::copy(&mut (&mut self.inner).take(padding), &mut io::sink())
            .map_err(Problem::from_read)?;
        if skipped == padding {
            Ok(())
        } else {
            Err(Problem::Archive("it ends inside an entry"))
        }
    }

    /// One header block; `None` at the end, behind which only zeros may stand.
    fn read_header(&mut self) -> Result<Option<[u8; BLOCK]>, Problem> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let n = self
                .inner
                .read(&mut block[filled..])
                .map_err(Problem::from_read)?;
            if n == 0 {
                break;
            }
            filled += n;
        }
        if filled == 0 {
            return Ok(None);
        }
        if filled < BLOCK {
            return Err(Problem::Archive("it ends inside a header"));
        }
        if block.iter().all(|byte| *byte == 0) {
            let mut rest = [0; 8192];
            loop {
                let n = self.inner.read(&mut rest).map_err(Problem::from_read)?;
                if n == 0 {
                    return Ok(None);
                }
                if rest[..n].iter().any(|byte| *byte != 0) {
                    return Err(Problem::Archive("data stands behind its end"));
                }
            }
        }
        Header(&block).verify_checksum()?;
        Ok(Some(block))
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.remaining == 0 || buf.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.remaining)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let n = self.inner.read(&mut buf[..most])?;
        if n == 0 {
            return Err(io::Error::other(Problem::Archive(
                "it ends inside an entry",
            )));
        }
        self.remaining -= n as u64;
        Ok(n)
    }
}

fn mtime(header: &Header<'_>, pax: &BTreeMap<String, String>) -> Result<i64, Problem> {
    let Some(text) = pax.get("mtime") else {
        return Ok(i64::try_from(header.number(136, 12)?).unwrap_or(0));
    };
    // A decimal fraction is dropped towards the past, as `floor` does.
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole
        .parse()
        .map_err(|_| Problem::Archive("a time is no number"))?;
    let below = whole.starts_with('-') && fraction.bytes().any(|b| b != b'0');
    Ok(seconds - i64::from(below))
}
