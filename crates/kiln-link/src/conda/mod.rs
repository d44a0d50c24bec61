//! conda packages: `.conda` and `.tar.bz2`.
//!
//! Source: conda's own `core/portability.py`, `core/path_actions.py` and the package format pages
//! of its documentation; compared with what it writes, file by file.

mod archive;
mod entry_point;
mod info;
mod package;
mod placeholder;
mod record;
mod run;
#[cfg(test)]
mod tests;

pub(crate) use entry_point::is_dotted;
pub use package::{CondaPackage, CondaRequest};

/// How a file holds the placeholder of the prefix it was built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileMode {
    Text,
    Binary,
}
