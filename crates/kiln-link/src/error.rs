//! Why a package is not linked.

use std::io;

use crate::path::PathError;

/// A package that can't be linked, and the entry at which it was found.
#[derive(Debug, thiserror::Error)]
#[error("linking {package} failed{}", at(.entry.as_deref()))]
pub struct LinkError {
    /// The archive's file name.
    pub package: String,
    /// The entry's name as the archive writes it, where one is to blame.
    pub entry: Option<String>,
    /// What is wrong with it.
    #[source]
    pub problem: Problem,
}

fn at(entry: Option<&str>) -> String {
    entry
        .map(|entry| format!(" at entry {entry:?}"))
        .unwrap_or_default()
}

/// What is wrong with a package, or with writing it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The archive can't be read.
    #[error("reading the archive failed")]
    Read(#[source] io::Error),
    /// The sink refused an entry.
    #[error("writing the entry failed")]
    Write(#[source] io::Error),
    /// The archive's structure is broken, or two readers could see two archives in it.
    #[error("the archive is malformed or ambiguous: {0}")]
    Archive(&'static str),
    /// A name is no safe path.
    #[error("the entry's path is unsafe")]
    UnsafePath(#[source] PathError),
    /// A symlink leaves the prefix.
    #[error("the symlink's target {target:?} is outside the prefix")]
    LinkOutside {
        /// The target as written.
        target: String,
    },
    /// A device, a pipe, a sparse file or another kind that no package needs.
    #[error("a {0} is not allowed in a package")]
    ForbiddenKind(&'static str),
    /// A file would run with its owner's rights.
    #[error("setuid and setgid files are not allowed in a package")]
    SetId,
    /// A file stands where an installation keeps its own records.
    #[error("the path belongs to the environment's own records")]
    Reserved,
    /// One path has two contents.
    #[error("the package has this path twice")]
    Duplicate,
    /// A limit is passed.
    #[error("the package is too large: more than {limit} {what}")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The content is not the recorded one.
    #[error("the content's {what} is {found}, the package's own list says {expected}")]
    Content {
        /// `sha256`, `size`, ...
        what: &'static str,
        /// What the list says.
        expected: String,
        /// What was read.
        found: String,
    },
    /// The package's own list names a file that the archive lacks.
    #[error("the package's own list names this file, the archive lacks it")]
    Missing,
    /// A file of the wheel is not in its RECORD.
    #[error("the wheel's RECORD does not name this file with a sha256 or stronger hash")]
    Unrecorded,
    /// A metadata file can't be understood.
    #[error("the metadata file is invalid: {0}")]
    Metadata(String),
    /// The package is not the one asked for.
    #[error("the package's {field} is {found:?}, the lock says {expected:?}")]
    NotTheOne {
        /// `name`, `version`, `build`.
        field: &'static str,
        /// What the lock says.
        expected: String,
        /// What the package says.
        found: String,
    },
    /// The package is made for another python or platform.
    #[error("the package does not fit the environment: {0}")]
    Unfit(String),
    /// An entry point is no `name = module:function`.
    #[error("the entry point {0:?} is invalid")]
    EntryPoint(String),
    /// The prefix is longer than the room that a binary has for it.
    #[error("the prefix has {prefix} bytes, the binary has room for {room}")]
    PrefixTooLong {
        /// The prefix's length.
        prefix: usize,
        /// The placeholder's length.
        room: usize,
    },
}

/// Classes of [`Problem`], for a program to decide on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The content is not what it should be, or is hostile.
    Integrity,
    /// The package is right but can't go into this environment.
    Unfit,
    /// The disk, a permission, a full device.
    Io,
}

impl Problem {
    /// Takes the problem out of an error that came through a reader.
    pub(crate) fn from_read(error: io::Error) -> Self {
        Self::unwrap_io(error, Self::Read)
    }

    /// Takes the problem out of an error that came through a sink, which reads.
    pub(crate) fn from_write(error: io::Error) -> Self {
        Self::unwrap_io(error, Self::Write)
    }

    fn unwrap_io(error: io::Error, otherwise: fn(io::Error) -> Self) -> Self {
        match error.downcast::<Self>() {
            Ok(problem) => problem,
            Err(error) => otherwise(error),
        }
    }

    /// The problem's class.
    pub fn kind(&self) -> ProblemKind {
        match self {
            // Data that ends early or can't be decompressed comes from the archive, not the disk.
            Self::Read(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::InvalidData
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::Other => ProblemKind::Integrity,
                _ => ProblemKind::Io,
            },
            Self::Write(_) => ProblemKind::Io,
            Self::Unfit(_) | Self::PrefixTooLong { .. } => ProblemKind::Unfit,
            _ => ProblemKind::Integrity,
        }
    }

    /// Names the entry that is to blame.
    pub(crate) fn at(self, entry: impl Into<String>) -> Found {
        Found {
            entry: Some(entry.into()),
            problem: self,
        }
    }
}

/// A problem before its package is named.
#[derive(Debug)]
pub(crate) struct Found {
    entry: Option<String>,
    problem: Problem,
}

impl Found {
    /// Names the package.
    pub(crate) fn of(self, package: &str) -> LinkError {
        LinkError {
            package: package.to_owned(),
            entry: self.entry,
            problem: self.problem,
        }
    }
}

impl From<Problem> for Found {
    fn from(problem: Problem) -> Self {
        Self {
            entry: None,
            problem,
        }
    }
}

impl From<PathError> for Problem {
    fn from(error: PathError) -> Self {
        Self::UnsafePath(error)
    }
}
