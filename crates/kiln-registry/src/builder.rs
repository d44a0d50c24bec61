//! How a client is set up.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::auth::Authenticator;
use crate::client::RegistryClient;
use crate::credentials::CredentialSource;
use crate::policy::HostPolicy;
use crate::retry::RetryBudget;
use crate::transport::Transport;

/// How long the parts of an exchange may take. There is no limit for a whole blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// Without a byte moving in either direction.
    pub idle: Duration,
    /// From the last byte of an upload to the registry's answer: it may have to hash or move the blob.
    pub commit: Duration,
    /// The longest time a host is left alone after a 429.
    pub longest_pause: Duration,
}

impl Default for Timeouts {
    /// 30 s, 60 s, 5 minutes, 5 minutes.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            idle: Duration::from_mins(1),
            commit: Duration::from_mins(5),
            longest_pause: Duration::from_mins(5),
        }
    }
}

/// Says why a client could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildClientError {
    /// The extra CA bundle holds no certificate.
    #[error("extra CA bundle for registries holds no PEM certificate that can be read")]
    ExtraCa(#[source] Option<reqwest::Error>),
    /// TLS or the HTTP client could not be set up.
    #[error("HTTP client for registries could not be set up")]
    Http(#[source] reqwest::Error),
}

/// Sets up a [`RegistryClient`].
#[derive(Clone)]
#[must_use]
pub struct RegistryClientBuilder {
    credentials: Option<Arc<dyn CredentialSource>>,
    policy: HostPolicy,
    extra_ca: Option<Vec<u8>>,
    retry: RetryBudget,
    timeouts: Timeouts,
    requests_per_host: usize,
    uploads_per_host: usize,
    user_agent: String,
}

impl Default for RegistryClientBuilder {
    fn default() -> Self {
        Self {
            credentials: None,
            policy: HostPolicy::default(),
            extra_ca: None,
            retry: RetryBudget::default(),
            timeouts: Timeouts::default(),
            requests_per_host: 16,
            uploads_per_host: 4,
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl RegistryClientBuilder {
    /// Where credentials come from; without it kiln is anonymous everywhere.
    pub fn credentials(mut self, source: Arc<dyn CredentialSource>) -> Self {
        self.credentials = Some(source);
        self
    }

    /// Speaks plain http to a registry `host[:port]`. Loopback speaks it without being named.
    pub fn plain_http(mut self, host: &str) -> Self {
        self.policy.plain_http.insert(host.to_ascii_lowercase());
        self
    }

    /// Speaks TLS to a registry on loopback.
    pub fn tls_on_loopback(mut self, host: &str) -> Self {
        self.policy.tls.insert(host.to_ascii_lowercase());
        self
    }

    /// Allows a registry to send logins to a host outside its own registrable domain.
    pub fn trust_realm(mut self, registry: &str, service_host: &str) -> Self {
        let services = self
            .policy
            .realms
            .entry(registry.to_ascii_lowercase())
            .or_default();
        services.insert(service_host.to_ascii_lowercase());
        self
    }

    /// Trusts the authorities of a PEM bundle beside the system's.
    pub fn extra_ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.extra_ca = Some(pem.into());
        self
    }

    /// How long and how often operations are tried.
    pub fn retry(mut self, budget: RetryBudget) -> Self {
        self.retry = budget;
        self
    }

    /// How long the parts of an exchange may take.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// How many requests, and beside them uploads, run at one host at a time; at least 1 of each.
    pub fn concurrency(mut self, requests: usize, uploads: usize) -> Self {
        self.requests_per_host = requests.max(1);
        self.uploads_per_host = uploads.max(1);
        self
    }

    /// The name kiln gives itself; `kiln/VERSION` by default.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// Makes the client.
    ///
    /// # Errors
    /// When the CA bundle or the user agent can't be used.
    pub fn build(self) -> Result<RegistryClient, BuildClientError> {
        let authorities = match &self.extra_ca {
            None => Vec::new(),
            Some(pem) => reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|error| BuildClientError::ExtraCa(Some(error)))?,
        };
        if self.extra_ca.is_some() && authorities.is_empty() {
            return Err(BuildClientError::ExtraCa(None));
        }
        // Bytes must arrive as they are stored: a decoded body has another digest.
        let client = || {
            reqwest::Client::builder()
                .user_agent(&self.user_agent)
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .no_gzip()
                .no_brotli()
                .no_zstd()
                .no_deflate()
                .connect_timeout(self.timeouts.connect)
                .tls_certs_merge(authorities.iter().cloned())
        };
        let outside = client().build().map_err(BuildClientError::Http)?;
        let inside = client()
            .no_proxy()
            .build()
            .map_err(BuildClientError::Http)?;
        let transport = Transport {
            outside,
            inside,
            policy: self.policy,
            auth: Authenticator::new(self.credentials),
            timeouts: self.timeouts,
            requests_per_host: self.requests_per_host,
            uploads_per_host: self.uploads_per_host,
            gates: Mutex::new(HashMap::new()),
        };
        Ok(RegistryClient::new(Arc::new(transport), self.retry))
    }
}

impl fmt::Debug for RegistryClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryClientBuilder")
            .field("policy", &self.policy)
            .field("retry", &self.retry)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}
