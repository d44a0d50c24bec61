//! A layer of a few small files that are made for one image.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use kiln_link::CONSTANT_MTIME;

use crate::compress::Compressors;
use crate::directories::Directories;
use crate::header::{BLOCK_BYTES, Kind, header};
use crate::member::MemberWriter;
use crate::package::{END, Layer};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SmallEntry {
    /// A file.
    File {
        /// Permission bits.
        mode: u32,
        /// The content.
        content: Vec<u8>,
    },
    /// A symlink to this path of the image.
    Symlink(String),
    /// A directory, which exists even when empty.
    Directory,
}

/// Makes the layer: its bytes, and what it is. Paths are the archive's: relative and in shortest form.
pub fn small_layer(entries: &BTreeMap<String, SmallEntry>) -> io::Result<(Vec<u8>, Layer)> {
    let mut directories = Directories::default();
    for (path, entry) in entries {
        match entry {
            SmallEntry::Directory => directories.add(path),
            _ => {
                if let Some((parent, _)) = path.rsplit_once('/') {
                    directories.add(parent);
                }
            }
        }
    }
    let mut out = MemberWriter::new(Vec::new(), &Compressors::inline());
    out.write_all(&directories.entries())?;
    out.cut()?;
    for (path, entry) in entries {
        match entry {
            SmallEntry::File { mode, content } => {
                let size = content.len() as u64;
                let kind = Kind::File { mode: *mode, size };
                out.write_all(&header(path, kind, CONSTANT_MTIME))?;
                out.write_all(content)?;
                let padding = content.len().next_multiple_of(BLOCK_BYTES) - content.len();
                out.write_all(&END[..padding])?;
            }
            SmallEntry::Symlink(target) => {
                out.write_all(&header(path, Kind::Symlink { target }, CONSTANT_MTIME))?;
            }
            SmallEntry::Directory => {}
        }
    }
    out.cut()?;
    out.write_all(&END)?;
    let (bytes, packed) = out.finish()?;
    Ok((bytes, packed.into()))
}
