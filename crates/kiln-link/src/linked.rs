//! What linking a package gave.

use crate::error::Problem;
use crate::limits::Limits;
use crate::path::PrefixPath;

/// Figures and findings of one linked package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Linked {
    /// Files and symlinks written.
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Scripts that the package wants run; the linker runs none.
    pub scripts: Vec<Script>,
}

impl Linked {
    pub(crate) fn add(&mut self, bytes: u64, limits: &Limits) -> Result<(), Problem> {
        self.files += 1;
        self.bytes += bytes;
        if self.bytes > limits.unpacked_bytes {
            return Err(Problem::TooLarge {
                what: "unpacked bytes",
                limit: limits.unpacked_bytes,
            });
        }
        Ok(())
    }
}

/// A script that a conda package wants run when it is installed or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// When.
    pub kind: ScriptKind,
    /// Where it is.
    pub path: PrefixPath,
}

/// When a script is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptKind {
    /// Before linking; conda calls these deprecated.
    PreLink,
    /// After linking.
    PostLink,
    /// Before removal.
    PreUnlink,
    /// After removal.
    PostUnlink,
}

impl ScriptKind {
    /// Tells a package's scripts by their names, `bin/.NAME-post-link.sh`.
    pub(crate) fn of(path: &PrefixPath, package: &str) -> Option<Self> {
        let name = path.as_str().strip_prefix("bin/.")?.strip_suffix(".sh")?;
        match name.strip_prefix(package)?.strip_prefix('-')? {
            "pre-link" => Some(Self::PreLink),
            "post-link" => Some(Self::PostLink),
            "pre-unlink" => Some(Self::PreUnlink),
            "post-unlink" => Some(Self::PostUnlink),
            _ => None,
        }
    }
}
