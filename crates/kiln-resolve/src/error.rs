//! Why a definition does not resolve: one class, one message, one remedy.

use std::time::Duration;

use kiln_api::{Failure, FailureClass};
use kiln_conda::{CondaError, CondaErrorKind};
use kiln_registry::{ErrorKind, RegistryError};

use crate::base::FactsError;
use crate::catalog::CatalogError;
use crate::fetch::FetchError;
use crate::python::PythonError;
use crate::uv::{PypiError, PypiErrorKind, UvToolError};

/// Why a definition does not resolve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The definition's platform is none.
    #[error("`{platform}` is no platform")]
    Platform {
        /// What was written.
        platform: String,
    },
    /// The definition asks for something that this kiln does not build.
    #[error("{what} can't be built by this kiln")]
    Unsupported {
        /// What, by the field's name.
        what: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// The base is no image.
    #[error(transparent)]
    Catalog(CatalogError),
    /// The base can't be pulled.
    #[error("the base image can't be read")]
    Base(#[source] RegistryError),
    /// The base's layers can't be read.
    #[error(transparent)]
    Facts(FactsError),
    /// There is no python.
    #[error(transparent)]
    Python(PythonError),
    /// The conda section does not resolve.
    #[error(transparent)]
    Conda(CondaError),
    /// There is no uv.
    #[error(transparent)]
    Tool(UvToolError),
    /// The pip section does not resolve.
    #[error("the pip section does not resolve: {0}")]
    Pypi(PypiError),
    /// Packages can't be fetched.
    #[error(transparent)]
    Fetch(FetchError),
    /// A fetched conda package is not readable.
    #[error("the conda package `{file_name}` is not readable")]
    Archive {
        /// The archive.
        file_name: String,
        /// Why.
        #[source]
        source: kiln_conda::ReadArchiveError,
    },
    /// The deadline passed.
    #[error("resolving took longer than {} s", .after.as_secs())]
    Timeout {
        /// The time it had.
        after: Duration,
    },
    /// Somebody cancelled.
    #[error("resolving was cancelled")]
    Cancelled,
}

impl ResolveError {
    /// The failure's class.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Platform { .. }
            | Self::Unsupported { .. }
            | Self::Catalog(CatalogError::Reference { .. }) => FailureClass::Invalid,
            Self::Catalog(CatalogError::NoDefault(_)) | Self::Python(_) => FailureClass::NotFound,
            Self::Catalog(_) => FailureClass::Internal,
            Self::Base(error) | Self::Facts(FactsError::Fetch { source: error, .. }) => {
                of_registry(error)
            }
            Self::Facts(FactsError::Layer { .. }) | Self::Archive { .. } => FailureClass::Integrity,
            Self::Conda(error) => of_conda(error.kind()),
            Self::Tool(error) => of_tool(error),
            Self::Pypi(error) => of_pypi(error.kind()),
            Self::Fetch(error) => of_fetch(error),
            Self::Timeout { .. } => FailureClass::Timeout,
            Self::Cancelled => FailureClass::Cancelled,
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Platform { .. } => "write os/arch, for example linux/amd64".into(),
            Self::Unsupported { remedy, .. } => (*remedy).into(),
            Self::Catalog(CatalogError::NoDefault(_)) => {
                "name a base image, or give the catalog such an entry".into()
            }
            Self::Catalog(CatalogError::Reference { .. }) => {
                "write [host/]repository[:tag][@sha256:...]".into()
            }
            Self::Catalog(_) => "correct the catalog of base images".into(),
            Self::Base(error) | Self::Facts(FactsError::Fetch { source: error, .. }) => {
                error.remedy()
            }
            Self::Facts(FactsError::Layer { .. }) => {
                "check that the base image can be pulled and run".into()
            }
            Self::Python(error) => error.remedy(),
            Self::Conda(error) => error.remedy(),
            Self::Tool(error) => error.remedy(),
            Self::Pypi(error) => error.remedy(),
            Self::Fetch(error) => fetch_remedy(error),
            Self::Archive { .. } => {
                "use another build of this package: its archive is broken".into()
            }
            Self::Timeout { .. } => "try again, pin the main packages, or raise the limit".into(),
            Self::Cancelled => "ask again".into(),
        }
    }

    /// The failure as the API gives it; the message holds the chain of causes.
    pub fn to_failure(&self) -> Failure {
        let mut message = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let text = cause.to_string();
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            next = cause.source();
        }
        let failure = Failure::new(self.class(), message, self.remedy());
        match self {
            Self::Base(error) | Self::Facts(FactsError::Fetch { source: error, .. }) => Failure {
                retryable: error.is_retryable(),
                transient: error.is_retryable(),
                ..failure
            },
            Self::Fetch(FetchError::Hold(error)) => Failure {
                retryable: error.is_retryable,
                transient: error.is_retryable,
                ..failure
            },
            _ => failure,
        }
    }
}

fn of_registry(error: &RegistryError) -> FailureClass {
    match error.kind() {
        ErrorKind::NotFound => FailureClass::NotFound,
        ErrorKind::Auth => FailureClass::Auth,
        ErrorKind::Invalid => FailureClass::Invalid,
        ErrorKind::Network => FailureClass::Network,
        ErrorKind::Timeout => FailureClass::Timeout,
        ErrorKind::Integrity => FailureClass::Integrity,
        ErrorKind::Disk => FailureClass::Disk,
        _ => FailureClass::Registry,
    }
}

const fn of_conda(kind: CondaErrorKind) -> FailureClass {
    match kind {
        CondaErrorKind::Invalid => FailureClass::Invalid,
        CondaErrorKind::Unsatisfiable => FailureClass::Unsatisfiable,
        CondaErrorKind::NotFound => FailureClass::NotFound,
        CondaErrorKind::Auth => FailureClass::Auth,
        CondaErrorKind::Network => FailureClass::Network,
        CondaErrorKind::Integrity => FailureClass::Integrity,
        CondaErrorKind::Timeout => FailureClass::Timeout,
        CondaErrorKind::Cancelled => FailureClass::Cancelled,
        CondaErrorKind::Disk => FailureClass::Disk,
        CondaErrorKind::Internal => FailureClass::Internal,
    }
}

const fn of_pypi(kind: PypiErrorKind) -> FailureClass {
    match kind {
        PypiErrorKind::Invalid => FailureClass::Invalid,
        PypiErrorKind::Unsatisfiable => FailureClass::Unsatisfiable,
        PypiErrorKind::NotFound => FailureClass::NotFound,
        PypiErrorKind::Auth => FailureClass::Auth,
        PypiErrorKind::Network => FailureClass::Network,
        PypiErrorKind::Integrity => FailureClass::Integrity,
        PypiErrorKind::Timeout => FailureClass::Timeout,
        PypiErrorKind::Cancelled => FailureClass::Cancelled,
        PypiErrorKind::Disk => FailureClass::Disk,
        PypiErrorKind::Internal => FailureClass::Internal,
    }
}

const fn of_tool(error: &UvToolError) -> FailureClass {
    match error {
        UvToolError::Index(_) | UvToolError::Download(_) | UvToolError::Pip(_) => {
            FailureClass::Network
        }
        UvToolError::Digest { .. } | UvToolError::Wheel(_) => FailureClass::Integrity,
        UvToolError::Io { .. } => FailureClass::Disk,
        UvToolError::Timeout => FailureClass::Timeout,
        UvToolError::Cancelled => FailureClass::Cancelled,
        _ => FailureClass::Internal,
    }
}

const fn of_fetch(error: &FetchError) -> FailureClass {
    match error {
        FetchError::Address { .. } => FailureClass::Invalid,
        FetchError::Gone { .. } => FailureClass::NotFound,
        FetchError::Denied { .. } => FailureClass::Auth,
        FetchError::Status { .. } | FetchError::Network { .. } => FailureClass::Network,
        FetchError::Digest { .. } => FailureClass::Integrity,
        FetchError::Disk { .. } => FailureClass::Disk,
        FetchError::Hold(_) => FailureClass::Internal,
        FetchError::Cancelled => FailureClass::Cancelled,
    }
}

fn fetch_remedy(error: &FetchError) -> String {
    match error {
        FetchError::Address { .. } => "take the package from an http, https or file channel".into(),
        FetchError::Gone { .. } => {
            "refresh the environment: the channel or index has taken the package away".into()
        }
        FetchError::Denied { host, .. } => format!("give credentials for {host}"),
        FetchError::Digest { host, .. } => format!(
            "refresh the environment if the file was replaced on purpose; else {host} or something between changes files"
        ),
        FetchError::Disk { .. } => "free space in kiln's data folder and check its rights".into(),
        FetchError::Hold(_) => "see kiln's own log; ask again in a few seconds".into(),
        FetchError::Cancelled => "ask again".into(),
        _ => "check the network, the proxy and the extra CA of the configuration, then try again"
            .into(),
    }
}

impl From<FetchError> for ResolveError {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error)
    }
}
