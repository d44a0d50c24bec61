//! Why a pip section does not resolve.

use std::io;
use std::time::Duration;

/// Why a pip section does not resolve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PypiError {
    /// A requirement is not usable.
    #[error("pip requirement `{requirement}` is not usable: {reason}")]
    Requirement {
        /// The requirement, without secrets.
        requirement: String,
        /// Why.
        reason: String,
    },
    /// A requirement would have to be built from source.
    #[error("pip requirement `{requirement}` would have to be built: {why}")]
    NeedsBuild {
        /// The requirement, without secrets.
        requirement: String,
        /// Why.
        why: String,
    },
    /// An index's address is not usable.
    #[error("package index `{index}` is not usable: {reason}")]
    Index {
        /// The address, without secrets.
        index: String,
        /// Why.
        reason: String,
    },
    /// There are no wheels for such a platform.
    #[error("the pip section can't be resolved for {0}")]
    Target(String),
    /// A package exists nowhere.
    #[error("{message}")]
    NotFound {
        /// uv's explanation.
        message: String,
    },
    /// Packages exist as source alone.
    #[error("{message}")]
    OnlySource {
        /// The packages' names.
        packages: Vec<String>,
        /// uv's explanation.
        message: String,
    },
    /// The requirements clash.
    #[error("{clash}")]
    Unsatisfiable {
        /// uv's explanation.
        clash: String,
        /// What would help.
        help: Vec<String>,
    },
    /// An index refuses access.
    #[error("{message}")]
    Denied {
        /// uv's explanation.
        message: String,
    },
    /// An index can't be reached.
    #[error("{message}")]
    Unreachable {
        /// uv's explanation.
        message: String,
    },
    /// A wheel's hash is none of those that the definition allows.
    #[error("no wheel of {name} {version} has one of the hashes that the definition states")]
    Hash {
        /// The package.
        name: String,
        /// Its version.
        version: String,
    },
    /// Hashes are required and one is missing.
    #[error("the definition states hashes, and none for `{name}`, which is needed too")]
    HashMissing {
        /// The package.
        name: String,
    },
    /// The index gives no hash.
    #[error("the package index gives no sha256 for {file_name}")]
    NoHash {
        /// The wheel.
        file_name: String,
    },
    /// A package's files are not what they claim.
    #[error(
        "the package index offers `{file_name}` for {name} {version}, which is not a file of it"
    )]
    Foreign {
        /// The file's name, cleaned.
        file_name: String,
        /// The package.
        name: String,
        /// Its version.
        version: String,
    },
    /// The host has no python.
    #[error("the host has no python3, which uv needs to run")]
    NoPython,
    /// A file or process of kiln's failed.
    #[error("{doing}")]
    Io {
        /// What kiln was doing.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// uv failed in a way kiln does not know.
    #[error("uv failed: {message}")]
    Failed {
        /// What it said.
        message: String,
    },
    /// The deadline passed.
    #[error("resolving the pip section took longer than {} s", .after.as_secs())]
    Timeout {
        /// The time it had.
        after: Duration,
    },
    /// Somebody cancelled.
    #[error("resolving the pip section was cancelled")]
    Cancelled,
}

/// The class of a [`PypiError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PypiErrorKind {
    /// The input is at fault.
    Invalid,
    /// The requirements clash.
    Unsatisfiable,
    /// A package or its wheel does not exist.
    NotFound,
    /// Credentials are missing or wrong.
    Auth,
    /// An index can't be reached.
    Network,
    /// Files are not what they must be.
    Integrity,
    /// The deadline passed.
    Timeout,
    /// Somebody cancelled.
    Cancelled,
    /// The disk failed.
    Disk,
    /// kiln is at fault, or what it runs on.
    Internal,
}

impl PypiError {
    /// The error's class.
    pub const fn kind(&self) -> PypiErrorKind {
        match self {
            Self::Requirement { .. }
            | Self::NeedsBuild { .. }
            | Self::Index { .. }
            | Self::Target(_)
            | Self::HashMissing { .. }
            | Self::NoHash { .. } => PypiErrorKind::Invalid,
            Self::NotFound { .. } | Self::OnlySource { .. } => PypiErrorKind::NotFound,
            Self::Unsatisfiable { .. } => PypiErrorKind::Unsatisfiable,
            Self::Denied { .. } => PypiErrorKind::Auth,
            Self::Unreachable { .. } => PypiErrorKind::Network,
            Self::Hash { .. } | Self::Foreign { .. } => PypiErrorKind::Integrity,
            Self::Io { .. } => PypiErrorKind::Disk,
            Self::NoPython | Self::Failed { .. } => PypiErrorKind::Internal,
            Self::Timeout { .. } => PypiErrorKind::Timeout,
            Self::Cancelled => PypiErrorKind::Cancelled,
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Requirement { .. } => "write a name with a version, or the https address of a wheel".into(),
            Self::NeedsBuild { .. } => {
                "build a wheel of it, put it into a package index or give its https address; kiln runs no package's code to resolve".into()
            }
            Self::OnlySource { packages, .. } => {
                let names = if packages.is_empty() { "it".to_owned() } else { packages.join(", ") };
                format!("build a wheel of {names} and put it into a package index, allow another version that has one, or take it from a conda channel; kiln runs no package's code to resolve")
            }
            Self::Index { .. } => "give the index's http or https address, and credentials apart from it".into(),
            Self::Target(_) => "choose a glibc base on linux/amd64 or linux/arm64, with glibc 2.17 or newer".into(),
            Self::NotFound { .. } => "check the spelling of the package, or name the index that has it with --extra-index-url".into(),
            Self::Unsatisfiable { help, .. } if help.is_empty() => "loosen one of the constraints named above".into(),
            Self::Unsatisfiable { help, .. } => help.join("; "),
            Self::Denied { .. } => "give credentials for this package index, or check that they may read it".into(),
            Self::Unreachable { .. } => "check the index's address, the network, the proxy and the extra CA of the configuration, then try again".into(),
            Self::Hash { .. } => "compare the hashes with the index's; a file under a used name may have been changed".into(),
            Self::HashMissing { name } => format!("state `{name}` with version and hash too, as pip asks for"),
            Self::NoHash { .. } => "state the wheel's `--hash=sha256:...` in the requirement, or use an index that gives hashes".into(),
            Self::Foreign { .. } => "use another package index: this one is faulty or hostile".into(),
            Self::NoPython => "install python3 on kiln's machine".into(),
            Self::Io { .. } => "check the rights and the free space of kiln's folders".into(),
            Self::Failed { .. } => "report this with the environment file".into(),
            Self::Timeout { .. } => "pin the versions of the main packages, or raise the limit".into(),
            Self::Cancelled => "ask again".into(),
        }
    }
}

/// An error of kiln's own files or processes.
pub(super) fn failed(doing: &'static str) -> impl Fn(io::Error) -> PypiError {
    move |source| PypiError::Io { doing, source }
}
