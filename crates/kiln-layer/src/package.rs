//! One package as a layer of its own, of which groups take the middle.
//!
//! A layer is one gzip member (RFC 1952) sequence of three parts: the **directory member**, the package's
//! **segment** (its entries alone, as many members as they need), the **end member** (tar's end of archive, 1,024
//! zero bytes). No member crosses a part's end, so that a segment is a range of bytes which stands in any other
//! layer as it is.

use std::io::{self, Read, Write};

use kiln_link::{Entry, Node, Sink, TargetPrefix};
use kiln_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::compress::Compressors;
use crate::directories::{Directories, archive_path};
use crate::header::{BLOCK_BYTES, Kind, header};
use crate::member::{MemberWriter, Packed};

/// tar's end of archive.
pub(crate) const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];
const COPY_BYTES: usize = 128 << 10;

/// A layer as manifests and configurations name it; its media type is OCI's gzip one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The digest of its bytes.
    pub digest: Digest,
    /// The digest of the tar in it.
    pub diff_id: Digest,
    /// The number of its bytes.
    pub size: u64,
}

impl From<Packed> for Layer {
    fn from(packed: Packed) -> Self {
        Self {
            digest: packed.digest,
            diff_id: packed.diff_id,
            size: packed.size,
        }
    }
}

/// A package's layer, and where the segment is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageLayer {
    /// The layer of this package alone.
    pub layer: Layer,
    /// Where the segment begins in the layer's bytes.
    pub segment_offset: u64,
    /// The segment's length in bytes.
    pub segment_size: u64,
    /// What the directory member names.
    pub directories: Directories,
}

/// An entry that doesn't fit what was said of the package before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// One path would be a directory and something else.
    #[error("{path} is a directory and something else")]
    NotADirectory {
        /// The path.
        path: String,
    },
    /// A directory was not announced.
    #[error("the directory of {path} was not announced")]
    Undeclared {
        /// The entry.
        path: String,
    },
    /// A file's content is shorter or longer than was said.
    #[error("{path} does not have the {size} bytes that were announced")]
    Size {
        /// The path.
        path: String,
        /// What was announced.
        size: u64,
    },
}

/// Takes a package's entries and writes its layer.
///
/// The directories are needed first: they stand before the entries, and so the layer's two digests are known when
/// the last entry has passed. Memory doesn't depend on the package's size.
pub struct PackageWriter<W> {
    out: MemberWriter<W>,
    prefix: TargetPrefix,
    directories: Directories,
    segment_offset: u64,
    buffer: Vec<u8>,
}

impl<W: Write> PackageWriter<W> {
    /// Begins a layer for entries of a prefix whose directories are these.
    pub fn begin(
        out: W,
        compressors: &Compressors,
        prefix: &TargetPrefix,
        directories: Directories,
    ) -> io::Result<Self> {
        let mut out = MemberWriter::new(out, compressors);
        out.write_all(&directories.entries())?;
        let segment_offset = out.cut()?;
        Ok(Self {
            out,
            prefix: prefix.clone(),
            directories,
            segment_offset,
            buffer: vec![0; COPY_BYTES],
        })
    }

    /// Ends the layer.
    pub fn finish(mut self) -> io::Result<(W, PackageLayer)> {
        let end = self.out.cut()?;
        self.out.write_all(&END)?;
        let (out, packed) = self.out.finish()?;
        let layer = PackageLayer {
            layer: packed.into(),
            segment_offset: self.segment_offset,
            segment_size: end - self.segment_offset,
            directories: self.directories,
        };
        Ok((out, layer))
    }

    fn copy(&mut self, path: &str, size: u64, content: &mut dyn Read) -> io::Result<()> {
        let wrong = || {
            let path = path.to_owned();
            io::Error::other(EntryError::Size { path, size })
        };
        let mut left = size;
        loop {
            let read = match content.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if read == 0 {
                break;
            }
            left = left.checked_sub(read as u64).ok_or_else(wrong)?;
            self.out.write_all(&self.buffer[..read])?;
        }
        if left > 0 {
            return Err(wrong());
        }
        let padding = (size as usize).next_multiple_of(BLOCK_BYTES) - size as usize;
        self.out.write_all(&END[..padding])
    }
}

impl<W: Write> Sink for PackageWriter<W> {
    fn put(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let path = archive_path(&self.prefix, entry.path.as_str());
        let is_directory = self.directories.contains(&path);
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        match entry.node {
            Node::Directory if is_directory => Ok(()),
            Node::Directory => Err(io::Error::other(EntryError::Undeclared { path })),
            _ if is_directory => Err(io::Error::other(EntryError::NotADirectory { path })),
            _ if !self.directories.contains(parent) => {
                Err(io::Error::other(EntryError::Undeclared { path }))
            }
            Node::Symlink { target, mtime } => {
                let kind = Kind::Symlink { target };
                self.out.write_all(&header(&path, kind, mtime))
            }
            Node::File {
                mode,
                mtime,
                size,
                content,
            } => {
                let kind = Kind::File {
                    mode: mode & 0o755,
                    size,
                };
                self.out.write_all(&header(&path, kind, mtime))?;
                self.copy(&path, size, content)
            }
        }
    }
}
