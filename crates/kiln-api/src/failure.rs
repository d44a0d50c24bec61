//! Failure classes: what went wrong, in the words of the API.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a build failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The input is at fault.
    Invalid,
    /// No set of packages meets the constraints.
    Unsatisfiable,
    /// Something the input names does not exist: a base, a package, a channel.
    NotFound,
    /// Credentials are missing, wrong or not enough.
    Auth,
    /// A connection failed, or a channel or index answers with faults.
    Network,
    /// The registry refuses or fails.
    Registry,
    /// No space is left.
    Disk,
    /// A step ran out of memory.
    Memory,
    /// A phase took longer than it may.
    Timeout,
    /// Bytes are not what they must be.
    Integrity,
    /// Somebody cancelled the build.
    Cancelled,
    /// kiln itself is at fault, or what it runs on.
    Internal,
}

impl FailureClass {
    /// The class as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unsatisfiable => "unsatisfiable",
            Self::NotFound => "not_found",
            Self::Auth => "auth",
            Self::Network => "network",
            Self::Registry => "registry",
            Self::Disk => "disk",
            Self::Memory => "memory",
            Self::Timeout => "timeout",
            Self::Integrity => "integrity",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    /// Whether the same request can succeed later without being changed.
    pub const fn is_retryable(self) -> bool {
        !matches!(
            self,
            Self::Invalid | Self::Unsatisfiable | Self::NotFound | Self::Auth
        )
    }

    /// Whether the input is at fault, not kiln or what it runs on.
    pub const fn is_input_fault(self) -> bool {
        matches!(self, Self::Invalid | Self::Unsatisfiable | Self::NotFound)
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure a person can act on.
#[derive(
    Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error, utoipa::ToSchema,
)]
#[error("{message}")]
pub struct Failure {
    /// Its class.
    pub class: FailureClass,
    /// What went wrong, with the names of what is concerned; the last lines of a failed step too.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// Whether the same request can succeed later without being changed.
    pub retryable: bool,
    /// Whether it may pass by itself, so that kiln tries again unasked; kiln's own, not the API's.
    #[serde(skip)]
    pub transient: bool,
}

impl Failure {
    /// Makes a failure whose class decides whether it is retryable.
    pub fn new(class: FailureClass, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            remedy: remedy.into(),
            retryable: class.is_retryable(),
            transient: matches!(class, FailureClass::Network | FailureClass::Registry),
        }
    }
}
