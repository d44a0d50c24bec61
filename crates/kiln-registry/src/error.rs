//! What can go wrong at a registry, in words a person can act on.

use std::fmt;
use std::time::Duration;

use crate::fault::Fault;

/// An operation at a registry that failed.
///
/// Its text names the operation, the host, the repository and the reason; never a secret, a query or a
/// body.
#[derive(Debug)]
pub struct RegistryError(Box<Failed>);

#[derive(Debug)]
struct Failed {
    operation: Operation,
    host: String,
    repository: Option<String>,
    subject: Option<String>,
    attempts: u32,
    fault: Fault,
}

/// What kiln was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Asking whether the registry answers at all.
    Ping,
    /// Asking whether a manifest is there.
    Probe,
    /// Fetching a manifest.
    FetchManifest,
    /// Fetching an image's configuration.
    FetchConfig,
    /// Fetching a blob.
    FetchBlob,
    /// Asking whether a blob is there.
    CheckBlob,
    /// Mounting a blob of another repository, or starting an upload.
    MountBlob,
    /// Uploading a blob.
    PushBlob,
    /// Uploading a manifest.
    PushManifest,
    /// Setting a tag.
    Tag,
    /// Listing tags.
    ListTags,
    /// Deleting a manifest.
    DeleteManifest,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Credentials are missing, wrong or not enough.
    Auth,
    /// The registry does not have it.
    NotFound,
    /// The registry wants fewer requests.
    RateLimited,
    /// The registry fails.
    Unavailable,
    /// No connection.
    Network,
    /// Nothing moved for too long.
    Timeout,
    /// Bytes are not what they must be.
    Integrity,
    /// The registry does not speak the protocol, or is hostile.
    Protocol,
    /// What was asked for can't be had: the registry refuses it, or it is no image for the platform.
    Invalid,
    /// A tag that must not move is taken.
    Conflict,
    /// The registry has no space left.
    Disk,
    /// The content to be pushed can't be read here.
    Source,
}

impl RegistryError {
    pub(crate) fn new(
        operation: Operation,
        host: &str,
        repository: Option<&str>,
        subject: Option<String>,
        fault: Fault,
    ) -> Self {
        let (host, repository) = (host.to_owned(), repository.map(str::to_owned));
        Self(Box::new(Failed {
            operation,
            host,
            repository,
            subject,
            attempts: 1,
            fault,
        }))
    }

    /// Notes how often it was tried.
    pub(crate) fn after(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// What kiln was doing.
    pub fn operation(&self) -> Operation {
        self.0.operation
    }

    /// The registry, as the reference names it.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// The repository, where one was concerned.
    pub fn repository(&self) -> Option<&str> {
        self.0.repository.as_deref()
    }

    /// How often it was tried.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Why it failed.
    pub fn fault(&self) -> &Fault {
        &self.0.fault
    }

    /// The HTTP status of the registry's answer, where there was one.
    pub fn status(&self) -> Option<u16> {
        match self.fault() {
            Fault::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the registry gave a code of the distribution specification.
    pub fn has_code(&self, code: &str) -> bool {
        matches!(self.fault(), Fault::Status { codes, .. } if codes.iter().any(|c| c.code == code))
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.fault().kind()
    }

    /// Whether the same request can succeed later without anything being changed.
    pub fn is_retryable(&self) -> bool {
        self.fault().is_retryable()
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.fault().retry_after()
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        let host = self.host();
        match self.fault() {
            Fault::Certificate(_) => {
                format!("give kiln the certificate authority of {host} as an extra CA bundle")
            }
            Fault::Realm { .. } => format!(
                "if {host} really uses that login service, allow it in kiln's settings; otherwise do not use this registry"
            ),
            Fault::Connect(_) => format!(
                "check the name {host}, that it runs and can be reached from here; if it speaks plain http, allow that for it in kiln's settings"
            ),
            Fault::Manifest(_) | Fault::NotAnImage(_) => {
                "name an OCI or Docker schema 2 container image".to_owned()
            }
            Fault::Platform(_) | Fault::WrongPlatform { .. } => {
                "ask for a platform the image has, or choose another image".to_owned()
            }
            Fault::Status { status: 405, .. } => {
                format!("allow this operation in the settings of the registry {host}")
            }
            _ => match self.kind() {
                ErrorKind::Auth => format!(
                    "log in to {host} with an account that may do this (docker login {host}), or give kiln its credentials"
                ),
                ErrorKind::NotFound => {
                    "check the name and the tag; a private image may need a login".to_owned()
                }
                ErrorKind::RateLimited => {
                    format!("wait, or log in to {host} for a higher limit")
                }
                ErrorKind::Unavailable | ErrorKind::Network | ErrorKind::Timeout => {
                    format!("check that {host} is up and reachable, then try again")
                }
                ErrorKind::Integrity => format!(
                    "try again; if it stays, {host} or something between damages its content"
                ),
                ErrorKind::Protocol => {
                    format!("check that {host} is an OCI registry and nothing answers in its place")
                }
                ErrorKind::Invalid => "change the request as the registry's answer says".to_owned(),
                ErrorKind::Conflict => "choose another tag; kiln does not move this one".to_owned(),
                ErrorKind::Disk => format!("free space on {host}"),
                ErrorKind::Source => "check kiln's data folder".to_owned(),
            },
        }
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = &self.0;
        write!(f, "cannot {}", failed.operation.as_str())?;
        if let Some(subject) = &failed.subject {
            write!(f, " {subject}")?;
        }
        write!(f, " {} {}", failed.operation.preposition(), failed.host)?;
        if let Some(repository) = &failed.repository {
            write!(f, "/{repository}")?;
        }
        write!(f, ": {}", failed.fault)?;
        if failed.attempts > 1 {
            write!(f, " (after {} attempts)", failed.attempts)?;
        }
        Ok(())
    }
}

impl std::error::Error for RegistryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.fault.source()
    }
}

impl Operation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ping => "reach the registry",
            Self::Probe => "look for image",
            Self::FetchManifest => "fetch manifest",
            Self::FetchConfig => "fetch configuration",
            Self::FetchBlob => "fetch blob",
            Self::CheckBlob => "look for blob",
            Self::MountBlob => "mount blob",
            Self::PushBlob => "push blob",
            Self::PushManifest => "push manifest",
            Self::Tag => "set tag",
            Self::ListTags => "list the tags",
            Self::DeleteManifest => "delete manifest",
        }
    }

    const fn preposition(self) -> &'static str {
        match self {
            Self::Ping => "at",
            Self::Probe | Self::CheckBlob | Self::Tag => "in",
            Self::MountBlob => "into",
            Self::FetchManifest | Self::FetchConfig | Self::FetchBlob | Self::DeleteManifest => {
                "from"
            }
            Self::PushBlob | Self::PushManifest => "to",
            Self::ListTags => "of",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_body::DistributionError;

    #[test]
    fn an_error_says_what_where_and_why() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest\u001b[31m unknown","detail":{"x":1}}]}"#;
        let codes = DistributionError::read(body, &[]);
        let fault = Fault::Status {
            status: 404,
            codes,
            retry_after: None,
        };
        let (host, repository) = ("r.example", Some("a/b"));
        let error = RegistryError::new(
            Operation::FetchManifest,
            host,
            repository,
            Some("v1".into()),
            fault,
        )
        .after(2);
        assert_eq!(
            error.to_string(),
            "cannot fetch manifest v1 from r.example/a/b: the registry answered 404 Not Found \
             (MANIFEST_UNKNOWN: manifest [31m unknown) (after 2 attempts)"
        );
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(!error.is_retryable() && error.has_code("MANIFEST_UNKNOWN"));
    }
}
