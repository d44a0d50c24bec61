//! What a linked package is made of: a stream of entries into a sink.

use std::io::{self, Read};

use crate::path::PrefixPath;

/// 1980-01-01T00:00:00Z, the oldest time a zip can state: the modification time of what kiln writes
/// itself and of every file of a wheel, whose times have no zone.
pub const CONSTANT_MTIME: i64 = 315_532_800;

/// Where a path of a package comes from; it decides who keeps the path when packages clash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The archive has it.
    Shipped,
    /// An entry point's script, written at installation.
    EntryPoint,
    /// The installation's own record.
    Record,
}

/// One path of a linked package.
pub struct Entry<'a> {
    /// Where it goes.
    pub path: &'a PrefixPath,
    /// Where it comes from.
    pub origin: Origin,
    /// What it is.
    pub node: Node<'a>,
}

/// A file, symlink or directory.
pub enum Node<'a> {
    /// A regular file.
    File {
        /// Permission bits, at most `0o755`.
        mode: u32,
        /// Seconds since the epoch.
        mtime: i64,
        /// Length of the content in bytes.
        size: u64,
        /// The content: `size` bytes, or an error where it is not what the package's list says.
        content: &'a mut dyn Read,
    },
    /// A symlink whose target, by its text, stays inside the prefix.
    Symlink {
        /// The target, relative to the link's directory.
        target: &'a str,
        /// Seconds since the epoch.
        mtime: i64,
    },
    /// A directory that has to exist even when empty. Parents of other entries are not named.
    Directory,
}

/// Takes the entries of a package, in the archive's order, each path at most once.
///
/// Content that a sink doesn't read is read and verified by the linker afterwards.
pub trait Sink {
    /// Takes one entry.
    fn put(&mut self, entry: Entry<'_>) -> io::Result<()>;
}
