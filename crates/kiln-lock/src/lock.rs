//! The lock: what an environment resolved to, for ever.

use kiln_oci::Digest;
use serde::{Deserialize, Serialize};

/// The version of the lock's form; a lock of another version is not read.
pub const LOCK_FORMAT_VERSION: u32 = 1;

/// What a definition resolved to. Made once, committed before anything is built, then frozen.
///
/// It names no prefix and no backend, and holds no credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// [`LOCK_FORMAT_VERSION`] when it was made.
    pub format_version: u32,
    /// `os/arch[/variant]`.
    pub platform: String,
    /// The base image; `None` only where a user's own Dockerfile or context is the base.
    pub base: Option<LockedBase>,
    /// The environment's python; `None` when nothing in it needs one.
    pub python: Option<LockedPython>,
    /// conda packages, sorted by name, unique.
    pub conda: Vec<CondaPackage>,
    /// Wheels, sorted by normalised name, unique.
    pub pip: Vec<Wheel>,
    /// What the resolvers were told.
    pub settings: ResolverSettings,
    /// Sentences for people: what was passed over, what overlaps. Not part of the identity.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A base image, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedBase {
    /// The reference that was resolved, `host/repository[:tag]`, without credentials or digest.
    pub reference: String,
    /// The digest of the platform's manifest.
    pub digest: Digest,
    /// The digest of the index it was chosen from: provenance, not identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_digest: Option<Digest>,
}

/// The environment's python.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedPython {
    /// `major.minor.patch`, or `major.minor` where the base tells no more.
    pub version: String,
    /// Where it comes from.
    pub source: PythonSource,
}

impl LockedPython {
    /// `major.minor`.
    pub fn minor(&self) -> String {
        self.version
            .split('.')
            .take(2)
            .collect::<Vec<_>>()
            .join(".")
    }
}

/// Where an environment's python comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PythonSource {
    /// It is one of the conda packages.
    Channel,
    /// A venv on the base's interpreter at this path.
    Base {
        /// Absolute path of the interpreter inside the base.
        interpreter: String,
    },
}

/// One conda package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CondaPackage {
    /// The package's name, lower case.
    pub name: String,
    /// The version as the channel writes it.
    pub version: String,
    /// The build string.
    pub build: String,
    /// The build number.
    pub build_number: u64,
    /// `linux-64`, `noarch`, ...
    pub subdir: String,
    /// The channel's name or URL without credentials.
    pub channel: String,
    /// The archive's address without credentials.
    pub url: String,
    /// The archive's file name, `name-version-build.conda` or `.tar.bz2`.
    pub file_name: String,
    /// The archive's digest.
    pub sha256: Digest,
    /// The archive's MD5 in hex, which conda's explicit files need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// The archive's size in bytes where the channel tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// `python` or `generic` for noarch packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noarch: Option<String>,
    /// The package's dependencies as the channel writes them: the order of installation follows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends: Vec<String>,
}

/// One wheel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wheel {
    /// The PEP 503 name.
    pub name: String,
    /// The PEP 440 version.
    pub version: String,
    /// The wheel's file name.
    pub file_name: String,
    /// The wheel's address without credentials.
    pub url: String,
    /// The wheel's digest.
    pub sha256: Digest,
    /// The wheel's size in bytes where the index tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Whether the definition names it itself (`REQUESTED` of the recording specification).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requested: bool,
    /// The VCS or source address it was built from, where it was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_from: Option<String>,
}

/// What the resolvers were told; part of the identity, because it decides what they answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverSettings {
    /// conda's channel priority.
    pub channel_priority: ChannelPriority,
    /// How several indexes are searched.
    pub index_strategy: IndexStrategy,
}

/// conda's `channel_priority`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelPriority {
    /// conda's default.
    #[default]
    Flexible,
    /// A package of a lower channel is never taken when a higher one has its name.
    Strict,
}

/// uv's `--index-strategy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IndexStrategy {
    /// Only the first index that has a name is asked for it: no dependency confusion.
    #[default]
    FirstIndex,
    /// The best version of all indexes, as pip does.
    UnsafeBestMatch,
}

/// Says why a text is no lock this kiln can read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseLockError {
    /// The JSON is not a lock's.
    #[error("the lock is not readable")]
    Json(#[source] serde_json::Error),
    /// It was made by another version.
    #[error("the lock has format version {found}, this kiln reads version {LOCK_FORMAT_VERSION}")]
    Version {
        /// The version it states.
        found: u32,
    },
}

impl Lock {
    /// The lock as stable, indented JSON: fields in fixed order, a line end at the end.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a lock has only text keys");
        text.push('\n');
        text
    }

    /// Reads [`Self::to_json`].
    pub fn from_json(text: &str) -> Result<Self, ParseLockError> {
        let lock: Self = serde_json::from_str(text).map_err(ParseLockError::Json)?;
        if lock.format_version != LOCK_FORMAT_VERSION {
            return Err(ParseLockError::Version {
                found: lock.format_version,
            });
        }
        Ok(lock)
    }
}
