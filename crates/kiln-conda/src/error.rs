//! What can go wrong when conda packages are solved, and what helps.

use std::time::Duration;

/// Why the conda solver gives no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CondaError {
    /// A channel is not one.
    #[error("channel `{channel}` is not usable: {reason}")]
    Channel {
        /// The channel without credentials.
        channel: String,
        /// Why.
        reason: String,
    },
    /// A dependency is no MatchSpec.
    #[error("conda dependency `{spec}` is not readable: {reason}")]
    Spec {
        /// The dependency.
        spec: String,
        /// Why.
        reason: String,
    },
    /// conda has no subdir for the platform.
    #[error("platform `{platform}` is none that conda has packages for")]
    Platform {
        /// The platform, `os/arch[/variant]`.
        platform: String,
    },
    /// A channel does not exist.
    #[error("channel `{channel}` has no package list: it does not exist there")]
    ChannelNotFound {
        /// The channel without credentials.
        channel: String,
    },
    /// A channel refuses the credentials or their absence.
    #[error("channel `{channel}` refuses access (HTTP {status})")]
    Denied {
        /// The channel or address without credentials.
        channel: String,
        /// 401, 403 or 407.
        status: u16,
    },
    /// A channel can't be reached or answers with faults.
    #[error("reading the package lists of {channels} failed: {reason}")]
    Unreachable {
        /// The channels asked.
        channels: String,
        /// The chain of causes in one line, without credentials.
        reason: String,
    },
    /// Channels do not have packages that the definition names.
    #[error("{}", missing_text(.packages, .channels))]
    Missing {
        /// The packages.
        packages: Vec<MissingPackage>,
        /// The channels searched.
        channels: Vec<String>,
    },
    /// No set of packages meets the constraints.
    #[error("no set of conda packages meets the constraints:\n{}", .0.clash)]
    Unsatisfiable(Box<Explanation>),
    /// The solution holds a record that must not be used.
    #[error("channel package `{package}` is refused: {reason}")]
    Record {
        /// The package's file name, cleaned.
        package: String,
        /// Why.
        reason: String,
    },
    /// The deadline passed.
    #[error("solving the conda packages took longer than {} s", .after.as_secs())]
    Timeout {
        /// The time it had.
        after: Duration,
    },
    /// Somebody cancelled.
    #[error("solving the conda packages was cancelled")]
    Cancelled,
    /// The cache folder can't be written.
    #[error("writing the package lists to the cache failed")]
    Cache(#[source] std::io::Error),
    /// The solver broke down.
    #[error("the conda solver failed: {reason}")]
    Internal {
        /// What it said.
        reason: String,
    },
}

/// The class of a [`CondaError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CondaErrorKind {
    /// The input is at fault.
    Invalid,
    /// The constraints clash.
    Unsatisfiable,
    /// A channel or a package does not exist.
    NotFound,
    /// Credentials are missing or wrong.
    Auth,
    /// A channel can't be reached.
    Network,
    /// A record can't be trusted.
    Integrity,
    /// The deadline passed.
    Timeout,
    /// Somebody cancelled.
    Cancelled,
    /// The cache's disk failed.
    Disk,
    /// kiln is at fault.
    Internal,
}

/// A package that no channel has for the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPackage {
    /// Its name.
    pub name: String,
    /// Names in the channels that look like it, best first.
    pub nearest: Vec<String>,
    /// Other subdirs that do have it.
    pub other_platforms: Vec<String>,
}

/// Why constraints clash and what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The solver's tree of clashing constraints.
    pub clash: String,
    /// Changes that make the set solvable, or what the base lacks, as sentences for people.
    pub help: Vec<String>,
}

impl CondaError {
    /// The error's class.
    pub const fn kind(&self) -> CondaErrorKind {
        match self {
            Self::Channel { .. } | Self::Spec { .. } | Self::Platform { .. } => {
                CondaErrorKind::Invalid
            }
            Self::ChannelNotFound { .. } | Self::Missing { .. } => CondaErrorKind::NotFound,
            Self::Denied { .. } => CondaErrorKind::Auth,
            Self::Unreachable { .. } => CondaErrorKind::Network,
            Self::Unsatisfiable(_) => CondaErrorKind::Unsatisfiable,
            Self::Record { .. } => CondaErrorKind::Integrity,
            Self::Timeout { .. } => CondaErrorKind::Timeout,
            Self::Cancelled => CondaErrorKind::Cancelled,
            Self::Cache(_) => CondaErrorKind::Disk,
            Self::Internal { .. } => CondaErrorKind::Internal,
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Channel { .. } => "write a channel's name such as `conda-forge`, or its https, http or file address; \
                give credentials apart from it".into(),
            Self::Spec { .. } => "write one package with its version, for example `numpy=1.26` or `numpy>=1.26,<2`".into(),
            Self::Platform { .. } => "choose linux/amd64 or linux/arm64".into(),
            Self::ChannelNotFound { .. } => "check the channel's name or address and the configured channel alias; \
                every channel has `noarch/repodata.json`".into(),
            Self::Denied { .. } => "give credentials for this channel, or check that they may read it".into(),
            Self::Unreachable { .. } => "try again later; check the network, the proxy and the extra CA of the configuration".into(),
            Self::Missing { packages, .. } => missing_help(packages),
            Self::Unsatisfiable(explanation) if explanation.help.is_empty() => {
                "loosen one of the constraints named above, or add a channel that has other builds".into()
            }
            Self::Unsatisfiable(explanation) => explanation.help.join("; "),
            Self::Record { .. } => "re-index the channel with a current tool, or use another channel".into(),
            Self::Timeout { .. } => "pin the versions of the main packages, so that the solver has less to search, or raise the limit".into(),
            Self::Cancelled => "ask again".into(),
            Self::Cache(_) => "free space in kiln's data folder and check its rights".into(),
            Self::Internal { .. } => "report this with the environment file".into(),
        }
    }
}

fn missing_text(packages: &[MissingPackage], channels: &[String]) -> String {
    let list = |names: &[String]| {
        let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        quoted.join(", ")
    };
    let each: Vec<String> = packages
        .iter()
        .map(|package| {
            let name = &package.name;
            if !package.other_platforms.is_empty() {
                format!("`{name}` (only for {})", package.other_platforms.join(", "))
            } else if package.nearest.is_empty() {
                format!("`{name}`")
            } else {
                format!("`{name}` (near: {})", list(&package.nearest))
            }
        })
        .collect();
    format!(
        "the channels {} do not have {} for this platform",
        list(channels),
        each.join(", ")
    )
}

fn missing_help(packages: &[MissingPackage]) -> String {
    let one = |package: &MissingPackage| {
        let name = &package.name;
        if let Some(platform) = package.other_platforms.first() {
            format!(
                "build for a platform that has `{name}`, for example {platform}, or leave it out"
            )
        } else if let Some(near) = package.nearest.first() {
            format!(
                "check the spelling of `{name}` (`{near}` exists), add a channel that has it, or move it to the pip section"
            )
        } else {
            format!(
                "check the spelling of `{name}`, add a channel that has it, or move it to the pip section"
            )
        }
    };
    packages.iter().map(one).collect::<Vec<_>>().join("; ")
}
