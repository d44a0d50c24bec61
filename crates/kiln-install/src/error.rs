//! Why an environment is not installed.

use std::io;
use std::path::PathBuf;

use kiln_link::{LinkError, PrefixError, ProblemKind, UninstallError};

/// A failed installation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The prefix is none that can be linked for.
    #[error("the prefix is refused")]
    Prefix(#[source] PrefixError),
    /// An archive's file name in the lock is no plain name.
    #[error("the lock's file name {name:?} is no plain file name")]
    FileName {
        /// The name.
        name: String,
    },
    /// An archive is not in the folder.
    #[error("the archive {} is missing", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// An archive is not the one of the lock.
    #[error("the archive {} has sha256 {found}, the lock says {expected}", path.display())]
    Hash {
        /// The archive.
        path: PathBuf,
        /// The lock's hash.
        expected: String,
        /// The archive's.
        found: String,
    },
    /// A package can't be linked.
    #[error("a package can't be linked")]
    Link(#[source] LinkError),
    /// A distribution can't make room for the wheel that replaces it.
    #[error("a distribution that a wheel replaces can't be removed")]
    Uninstall(#[source] UninstallError),
    /// The lock can't be installed here.
    #[error("the lock can't be installed: {reason}")]
    Lock {
        /// Why.
        reason: String,
    },
    /// The base's python is not the lock's.
    #[error("the base's python {interpreter} is {found}, the lock says {expected}")]
    BasePython {
        /// Its path.
        interpreter: String,
        /// What it said of itself.
        found: String,
        /// The lock's version.
        expected: String,
    },
    /// A package's script failed.
    #[error("the script {script} failed with {status}: {output}")]
    Script {
        /// Its path in the prefix.
        script: String,
        /// Its exit status.
        status: String,
        /// The end of what it wrote.
        output: String,
    },
    /// A file can't be read or written, a program can't be started.
    #[error("{doing} failed")]
    Io {
        /// What was being done.
        doing: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl InstallError {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// The failure's class, by the name that a build's failure has.
    pub fn class(&self) -> &'static str {
        if self.is_full_disk() {
            return "disk";
        }
        match self {
            Self::Prefix(_)
            | Self::FileName { .. }
            | Self::Lock { .. }
            | Self::BasePython { .. }
            | Self::Script { .. }
            | Self::Uninstall(UninstallError::Unknown { .. }) => "invalid",
            Self::Missing { .. } => "not_found",
            Self::Hash { .. } => "integrity",
            Self::Link(error) => match error.problem.kind() {
                ProblemKind::Integrity => "integrity",
                ProblemKind::Unfit => "invalid",
                ProblemKind::Io => "internal",
            },
            _ => "internal",
        }
    }

    fn is_full_disk(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>()
                && matches!(
                    io.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                )
            {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// The message and its causes in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use kiln_link::Problem;

    use super::*;

    #[test]
    fn a_full_disk_is_told_from_wherever_it_is_met() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let link = |problem| {
            InstallError::Link(LinkError {
                package: "a.whl".to_owned(),
                entry: None,
                problem,
            })
        };
        assert_eq!(InstallError::io("writing")(full()).class(), "disk");
        assert_eq!(link(Problem::Write(full())).class(), "disk");
        assert_eq!(
            link(Problem::Write(io::Error::from(
                io::ErrorKind::PermissionDenied
            )))
            .class(),
            "internal"
        );
        assert_eq!(link(Problem::Unrecorded).class(), "integrity");
        let chain = link(Problem::Duplicate).chain();
        let expected =
            "a package can't be linked: linking a.whl failed: the package has this path twice";
        assert_eq!(chain, expected);
    }
}
