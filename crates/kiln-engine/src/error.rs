//! Why the engine took no work, and every crate's errors as failures: the one place where they are
//! classified.

use std::time::Duration;

use kiln_api::{Failure, FailureClass};
use kiln_registry::RegistryError;
use kiln_resolve::ResolveError;
use kiln_spec::SpecErrors;
use kiln_store::{StoreError, StoreErrorKind};

/// A request that the engine did not take, or a question it could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The request is at fault.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
        /// What to do.
        remedy: String,
    },
    /// The document is at fault.
    #[error("the environment is not usable")]
    Spec(#[source] SpecErrors),
    /// Nothing of this name exists.
    #[error("there is no {what}")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The store can't take or give it.
    #[error("the store of kiln does not answer")]
    Store(#[from] StoreError),
    /// A file of kiln's data folder can't be used.
    #[error("the data folder of kiln is not usable")]
    Data(#[from] std::io::Error),
    /// What was asked for failed.
    #[error("{}", .0.message)]
    Failed(Failure),
    /// The same key came with another request.
    #[error("the idempotency key was used for another request")]
    Conflict,
    /// The version is there with another document.
    #[error("the environment `{environment}` is registered with another document")]
    VersionTaken {
        /// `NAME:VERSION`.
        environment: String,
    },
    /// The file name is another wheel's.
    #[error("the file name {file_name} is another wheel's")]
    WheelTaken {
        /// The file name.
        file_name: String,
    },
    /// Too many builds wait.
    #[error("{queued} builds wait already")]
    Full {
        /// How many.
        queued: u64,
        /// Whether it is the workspace's own bound.
        in_scope: bool,
    },
    /// The engine is stopping.
    #[error("kiln is shutting down")]
    Stopping,
}

impl From<kiln_spec::NameError> for EngineError {
    fn from(error: kiln_spec::NameError) -> Self {
        Self::Invalid {
            message: error.to_string(),
            remedy: error.rule().to_owned(),
        }
    }
}

impl EngineError {
    /// The error as the API answers it.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Invalid { message, remedy } => {
                Failure::new(FailureClass::Invalid, message, remedy)
            }
            Self::Spec(errors) => Failure::new(
                FailureClass::Invalid,
                errors.to_string(),
                "change the environment as the message says",
            ),
            Self::NotFound { what } => Failure::new(
                FailureClass::NotFound,
                format!("there is no {what}"),
                "check the name and the workspace",
            ),
            Self::Failed(failure) => failure.clone(),
            Self::Conflict => Failure::new(
                FailureClass::Invalid,
                "the idempotency key was used for another request",
                "send a new key with a new request",
            ),
            Self::WheelTaken { file_name } => Failure::new(
                FailureClass::Invalid,
                format!("the file name {file_name} is another wheel's"),
                "the bytes under a name never change: give the wheel a new version or build number",
            ),
            Self::VersionTaken { environment } => Failure::new(
                FailureClass::Invalid,
                format!("the environment `{environment}` is registered with another document"),
                "versions never change: choose another version, or leave it out for the next",
            ),
            Self::Full { queued, in_scope } => Failure {
                retryable: true,
                ..Failure::new(
                    FailureClass::Internal,
                    if *in_scope {
                        format!("{queued} builds of the workspace wait already")
                    } else {
                        format!("{queued} builds wait already")
                    },
                    "ask again later; `limits.queue` and `limits.queue_per_workspace` are the bounds",
                )
            },
            Self::Store(error) => of_store(error),
            Self::Data(error) => of_io("kiln's data folder", error),
            Self::Stopping => Failure {
                retryable: true,
                ..Failure::new(
                    FailureClass::Internal,
                    "kiln is shutting down",
                    "ask again in a few seconds",
                )
            },
        }
    }
}

/// An I/O error as a failure; `what` is what kiln was using.
pub fn of_io(what: &str, error: &std::io::Error) -> Failure {
    let full = matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
    );
    if full {
        return Failure::new(
            FailureClass::Disk,
            format!("no space is left for {what}: {error}"),
            "free some space on the disk of kiln's data folder, then ask again",
        );
    }
    Failure::new(
        FailureClass::Internal,
        format!("{what} can't be used: {error}"),
        "see kiln's own log",
    )
}

/// A store's error as a failure.
pub fn of_store(error: &StoreError) -> Failure {
    let message = chain(error);
    match error.kind() {
        StoreErrorKind::Disk => Failure::new(
            FailureClass::Disk,
            message,
            "free some space on the disk of kiln's data folder, then ask again",
        ),
        StoreErrorKind::Integrity => Failure::new(
            FailureClass::Integrity,
            message,
            "kiln's database or blobs are damaged: restore a backup of the data folder",
        ),
        StoreErrorKind::Busy => Failure {
            retryable: true,
            transient: true,
            ..Failure::new(
                FailureClass::Internal,
                message,
                "another process holds kiln's database: ask again in a few seconds",
            )
        },
        _ => Failure::new(FailureClass::Internal, message, "see kiln's own log"),
    }
}

/// A registry's error as a failure.
pub fn of_registry(error: &RegistryError) -> Failure {
    use kiln_registry::ErrorKind;
    let class = match error.kind() {
        ErrorKind::Auth => FailureClass::Auth,
        ErrorKind::NotFound => FailureClass::NotFound,
        ErrorKind::Network => FailureClass::Network,
        ErrorKind::Integrity => FailureClass::Integrity,
        ErrorKind::Invalid => FailureClass::Invalid,
        ErrorKind::Disk => FailureClass::Disk,
        _ => FailureClass::Registry,
    };
    Failure {
        retryable: error.is_retryable(),
        transient: error.is_retryable(),
        ..Failure::new(class, chain(error), error.remedy())
    }
}

/// A resolver's error as a failure.
pub(crate) fn of_resolve(error: &ResolveError) -> Failure {
    error.to_failure()
}

/// A phase that took too long.
pub(crate) fn timed_out(what: &str, limit: Duration) -> Failure {
    Failure::new(
        FailureClass::Timeout,
        format!("{what} took longer than {} s", limit.as_secs()),
        "raise the limit in kiln's settings, or make the environment smaller",
    )
}

/// An error and its causes in one line, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
