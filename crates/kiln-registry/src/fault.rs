//! The reasons for which operations at a registry fail.

use std::time::Duration;

use kiln_oci::{Digest, ParseConfigError, ParseManifestError, Platform, SelectPlatformError};

use crate::credentials::CredentialError;
use crate::error::ErrorKind;
use crate::error_body::DistributionError;

/// Why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The registry answered with an error.
    #[error("the registry answered {}{}", status_text(*.status), list(.codes))]
    Status {
        /// The HTTP status.
        status: u16,
        /// The distribution specification's codes, as far as it gave any.
        codes: Vec<DistributionError>,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The storage that the registry redirected to answered with an error.
    #[error("the registry's storage at {host} answered {}", status_text(*.status))]
    Storage {
        /// The storage's host.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// The token service failed.
    #[error("the token service at {service}: {fault}")]
    Token {
        /// The service's host.
        service: String,
        /// What it failed of.
        fault: Box<Self>,
    },
    /// The registry asked to wait, longer than the operation may take.
    #[error("the registry asked to wait for {} s more", .0.as_secs())]
    Wait(Duration),
    /// Too many requests of kiln's own wait at this host.
    #[error("too many requests to this registry are under way")]
    Busy,
    /// No connection came about.
    #[error("the connection failed")]
    Connect(#[source] reqwest::Error),
    /// The registry's certificate is not trusted.
    #[error("the registry's certificate is not trusted")]
    Certificate(#[source] reqwest::Error),
    /// The connection broke.
    #[error("the connection broke off")]
    Interrupted(#[source] reqwest::Error),
    /// Nothing moved for too long.
    #[error("nothing came for {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// Fewer bytes came than were announced.
    #[error("{actual} bytes came instead of {expected}")]
    Truncated {
        /// The bytes there should be.
        expected: u64,
        /// The bytes that came.
        actual: u64,
    },
    /// The content has another digest.
    #[error("the content has digest {actual} instead of {expected}")]
    Digest {
        /// The digest it should have.
        expected: Digest,
        /// The digest it has.
        actual: Digest,
    },
    /// The content has another size.
    #[error("the content has {actual} bytes or more instead of {expected}")]
    Size {
        /// The size it should have, in bytes.
        expected: u64,
        /// The size it was seen to have, in bytes.
        actual: u64,
    },
    /// What was pushed is not there afterwards.
    #[error("the registry took it but does not have it")]
    Vanished,
    /// An answer is larger than what is read.
    #[error("the answer has more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The manifest is none kiln can read.
    #[error(transparent)]
    Manifest(ParseManifestError),
    /// The configuration is none kiln can read.
    #[error(transparent)]
    Config(ParseConfigError),
    /// The index has nothing for the platform.
    #[error(transparent)]
    Platform(SelectPlatformError),
    /// The image is for another platform.
    #[error("the image is for {found}, not for {wanted}")]
    WrongPlatform {
        /// The platform that was asked for.
        wanted: Box<Platform>,
        /// The platform of the image.
        found: Box<Platform>,
    },
    /// It is an artifact that is no image.
    #[error("it is no container image, its configuration has media type `{0}`")]
    NotAnImage(String),
    /// Indexes lie inside indexes.
    #[error("its image indexes are nested more than {0} deep")]
    Depth(usize),
    /// A list does not end.
    #[error("its list of tags does not end")]
    EndlessList,
    /// Reading the credentials failed.
    #[error(transparent)]
    Credentials(CredentialError),
    /// The registry wants credentials and there are none.
    #[error("the registry wants credentials and none are configured for it")]
    NoCredentials,
    /// The registry wants something kiln can't give.
    #[error("the registry answered 401 with {0}, but kiln needs Bearer or Basic")]
    Challenge(String),
    /// Credentials would go where they don't belong.
    #[error("the registry sends logins to {realm}, which {reason}")]
    Realm {
        /// The realm's host, or what was written for it.
        realm: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The registry points where kiln does not go.
    #[error("the registry redirects to {host}, {reason}")]
    Redirect {
        /// The host it points to.
        host: String,
        /// Why kiln does not go there.
        reason: &'static str,
    },
    /// The answer does not follow the protocol.
    #[error("the answer is malformed: {0}")]
    Malformed(String),
    /// The local content could not be read.
    #[error("the content to be pushed could not be read")]
    Source(#[source] std::io::Error),
    /// The local content is not what it is said to be.
    #[error("the content to be pushed has digest {actual} instead of {expected}")]
    SourceDigest {
        /// The digest it should have.
        expected: Digest,
        /// The digest it has.
        actual: Digest,
    },
    /// A tag that must not move already names something else.
    #[error("tag `{tag}` already names {digest}")]
    TagTaken {
        /// The tag.
        tag: String,
        /// What it names.
        digest: Digest,
    },
}

impl Fault {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Status { status, codes, .. } => kind_of_status(*status, codes),
            Self::Storage { status: 429, .. } | Self::Wait(_) => ErrorKind::RateLimited,
            Self::Storage { .. } | Self::Busy => ErrorKind::Unavailable,
            Self::Token { fault, .. } => match fault.kind() {
                ErrorKind::NotFound => ErrorKind::Protocol,
                // 400 is what OAuth2 answers to a bad grant.
                ErrorKind::Invalid => ErrorKind::Auth,
                kind => kind,
            },
            Self::Connect(_) | Self::Interrupted(_) | Self::Truncated { .. } => ErrorKind::Network,
            Self::Timeout(_) => ErrorKind::Timeout,
            Self::Digest { .. } | Self::Size { .. } | Self::Vanished => ErrorKind::Integrity,
            Self::Platform(_) | Self::WrongPlatform { .. } | Self::NotAnImage(_) => {
                ErrorKind::Invalid
            }
            Self::Manifest(error) => match error {
                ParseManifestError::Schema1 | ParseManifestError::MediaType(_) => {
                    ErrorKind::Invalid
                }
                _ => ErrorKind::Protocol,
            },
            Self::TooLarge { .. }
            | Self::Config(_)
            | Self::Depth(_)
            | Self::EndlessList
            | Self::Redirect { .. }
            | Self::Malformed(_)
            | Self::Certificate(_) => ErrorKind::Protocol,
            Self::Credentials(_)
            | Self::NoCredentials
            | Self::Challenge(_)
            | Self::Realm { .. } => ErrorKind::Auth,
            Self::Source(_) | Self::SourceDigest { .. } => ErrorKind::Source,
            Self::TagTaken { .. } => ErrorKind::Conflict,
        }
    }

    /// Whether the same request can succeed later without anything being changed.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::RateLimited
                | ErrorKind::Unavailable
                | ErrorKind::Network
                | ErrorKind::Timeout
                | ErrorKind::Integrity
                | ErrorKind::Disk
        )
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Token { fault, .. } => fault.retry_after(),
            Self::Wait(time) => Some(*time),
            _ => None,
        }
    }
}

fn kind_of_status(status: u16, codes: &[DistributionError]) -> ErrorKind {
    let has = |code: &str| codes.iter().any(|c| c.code == code);
    match status {
        401 | 403 => ErrorKind::Auth,
        _ if has("MANIFEST_BLOB_UNKNOWN") || has("DIGEST_INVALID") => ErrorKind::Integrity,
        404 | 410 => ErrorKind::NotFound,
        408 => ErrorKind::Timeout,
        429 => ErrorKind::RateLimited,
        507 => ErrorKind::Disk,
        500.. => ErrorKind::Unavailable,
        400..500 => ErrorKind::Invalid,
        _ => ErrorKind::Protocol,
    }
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if is_certificate(&error) {
            Self::Certificate(error)
        } else if error.is_connect() {
            Self::Connect(error)
        } else {
            Self::Interrupted(error)
        }
    }
}

/// Whether a chain of errors ends in TLS's refusal of a certificate, which no waiting cures.
fn is_certificate(error: &reqwest::Error) -> bool {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        if error.to_string().contains("invalid peer certificate") {
            return true;
        }
        next = error.source();
    }
    false
}

fn status_text(status: u16) -> String {
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|code| code.canonical_reason());
    reason.map_or_else(|| status.to_string(), |reason| format!("{status} {reason}"))
}

fn list(codes: &[DistributionError]) -> String {
    let entries: Vec<String> = codes.iter().map(DistributionError::to_string).collect();
    if entries.is_empty() {
        String::new()
    } else {
        format!(" ({})", entries.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_kinds() {
        use ErrorKind as K;
        let kind = |status| kind_of_status(status, &[]);
        let kinds = [401, 403, 404, 400, 408, 413, 429, 500, 503, 507, 302].map(kind);
        assert_eq!(
            kinds,
            [
                K::Auth,
                K::Auth,
                K::NotFound,
                K::Invalid,
                K::Timeout,
                K::Invalid,
                K::RateLimited,
                K::Unavailable,
                K::Unavailable,
                K::Disk,
                K::Protocol
            ]
        );
        let not_found = Fault::Status {
            status: 404,
            codes: Vec::new(),
            retry_after: None,
        };
        let token = Fault::Token {
            service: "x".into(),
            fault: Box::new(not_found),
        };
        assert_eq!(token.kind(), K::Protocol);
    }
}
