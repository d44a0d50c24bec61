//! The client, and what all its operations share.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header};
use kiln_oci::{Reference, media_type};
use tokio::time::Instant;
use url::Url;

use crate::builder::RegistryClientBuilder;
use crate::error::{Operation, RegistryError};
use crate::fault::Fault;
use crate::journal::UploadJournal;
use crate::retry::{Attempts, RetryBudget};
use crate::scope::Scopes;
use crate::transport::{Answer, Request, Transport};

/// A client for any number of registries. Clones are cheap and share connections, tokens and limits.
#[derive(Clone)]
pub struct RegistryClient {
    transport: Arc<Transport>,
    retry: RetryBudget,
    pub(crate) journal: Option<Arc<dyn UploadJournal>>,
}

impl RegistryClient {
    /// Sets up a client.
    pub fn builder() -> RegistryClientBuilder {
        RegistryClientBuilder::default()
    }

    pub(crate) fn new(transport: Arc<Transport>, retry: RetryBudget) -> Self {
        Self {
            transport,
            retry,
            journal: None,
        }
    }

    /// The same client with another budget, for example a short one for a question in between.
    #[must_use]
    pub fn with_retry(&self, retry: RetryBudget) -> Self {
        Self {
            retry,
            ..self.clone()
        }
    }

    /// The same client, which writes down the uploads it opens.
    #[must_use]
    pub fn with_journal(&self, journal: Arc<dyn UploadJournal>) -> Self {
        Self {
            journal: Some(journal),
            ..self.clone()
        }
    }

    /// Asks whether a registry, named as in references, answers and takes kiln's credentials.
    pub async fn ping(&self, host: &str) -> Result<(), RegistryError> {
        let mut attempts = Attempts::new(self.retry);
        loop {
            match self.ping_once(host, attempts.deadline()).await {
                Ok(()) => return Ok(()),
                Err(fault) => {
                    let error = RegistryError::new(Operation::Ping, host, None, None, fault);
                    attempts.pause(error).await?;
                }
            }
        }
    }

    async fn ping_once(&self, host: &str, deadline: Instant) -> Result<(), Fault> {
        let url = join(&self.transport.policy.base(host)?, "v2/")?;
        let request = Request::new(Method::GET, url, &[200]);
        let answer = self
            .transport
            .send(host, &request, &Scopes::default(), deadline)
            .await?;
        match answer.header("docker-distribution-api-version") {
            Some(version) if !version.contains("registry/2.0") => Err(Fault::Malformed(
                "the registry does not speak version 2".into(),
            )),
            // The OCI specification does not ask for the header.
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryClient")
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// One operation on one repository: knows its errors' context, its scopes and its budget.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) client: RegistryClient,
    pub(crate) reference: Reference,
    pub(crate) operation: Operation,
    pub(crate) subject: Option<String>,
    pub(crate) scopes: Scopes,
}

impl Exchange {
    pub(crate) fn new(
        client: &RegistryClient,
        reference: &Reference,
        operation: Operation,
        subject: Option<String>,
        scopes: Scopes,
    ) -> Self {
        let (client, reference) = (client.clone(), reference.clone());
        Self {
            client,
            reference,
            operation,
            subject,
            scopes,
        }
    }

    pub(crate) fn error(&self, fault: Fault) -> RegistryError {
        let repository = Some(self.reference.repository().as_str());
        let subject = self.subject.clone();
        RegistryError::new(
            self.operation,
            self.reference.registry(),
            repository,
            subject,
            fault,
        )
    }

    /// An address below the repository's.
    pub(crate) fn url(&self, path: &str) -> Result<Url, Fault> {
        let base = self.transport().policy.base(self.reference.registry())?;
        join(&base, &format!("v2/{}/{path}", self.reference.repository()))
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.client.transport
    }

    pub(crate) async fn send(&self, request: &Request, deadline: Instant) -> Result<Answer, Fault> {
        let host = self.reference.registry();
        self.transport()
            .send(host, request, &self.scopes, deadline)
            .await
    }

    pub(crate) fn attempts(&self) -> Attempts {
        Attempts::new(self.client.retry)
    }

    /// Tries until it works, can't work, or the budget is spent. `once` is given the deadline.
    pub(crate) async fn retrying<T, F, Fut>(&self, once: F) -> Result<T, RegistryError>
    where
        F: Fn(Instant) -> Fut,
        Fut: Future<Output = Result<T, Fault>>,
    {
        let mut attempts = self.attempts();
        loop {
            match once(attempts.deadline()).await {
                Ok(value) => return Ok(value),
                Err(fault) => attempts.pause(self.error(fault)).await?,
            }
        }
    }
}

fn join(base: &Url, path: &str) -> Result<Url, Fault> {
    base.join(path)
        .map_err(|_| Fault::Malformed("the repository makes no address".into()))
}

/// The header that asks for any manifest kiln can read.
pub(crate) fn accept_manifests() -> HeaderMap {
    let types = media_type::MANIFESTS.join(", ");
    let value = HeaderValue::from_str(&types).expect("media types are ASCII");
    HeaderMap::from_iter([(header::ACCEPT, value)])
}
