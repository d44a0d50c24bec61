//! Who kiln is at a registry.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::secret::Secret;

/// What proves an identity to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// A user name and a password or access token.
    Basic {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// An OAuth2 refresh token, as `docker login` keeps for some registries.
    IdentityToken(Secret),
}

impl Credentials {
    /// A user name and a password.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Basic {
            username: username.into(),
            password: Secret::new(password),
        }
    }
}

/// Says why credentials could not be read. It never holds any part of them.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct CredentialError(String);

impl CredentialError {
    /// Makes an error from a text for people that holds no secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Knows credentials by registry.
#[async_trait]
pub trait CredentialSource: Send + Sync {
    /// The credentials of a registry, as a reference names it (`docker.io`, `localhost:5000`); `None` is
    /// no login. They are sent to that host and to its own token service only.
    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, CredentialError>;
}

/// Credentials that are given outright, by exact host and port.
#[derive(Debug, Clone, Default)]
pub struct StaticCredentials(HashMap<String, Credentials>);

impl StaticCredentials {
    /// Knows none.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the credentials of a registry, as a reference names it.
    #[must_use]
    pub fn with(mut self, host: &str, credentials: Credentials) -> Self {
        let host = host.to_ascii_lowercase();
        let host = if host == "index.docker.io" {
            "docker.io".to_owned()
        } else {
            host
        };
        self.0.insert(host, credentials);
        self
    }
}

#[async_trait]
impl CredentialSource for StaticCredentials {
    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, CredentialError> {
        Ok(self.0.get(host).cloned())
    }
}

/// Several sources: the first that knows the host answers, an error stops the search.
#[derive(Clone, Default)]
pub struct Chain(Vec<Arc<dyn CredentialSource>>);

impl Chain {
    /// Asks the sources in this order.
    pub fn new(sources: Vec<Arc<dyn CredentialSource>>) -> Self {
        Self(sources)
    }
}

#[async_trait]
impl CredentialSource for Chain {
    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, CredentialError> {
        for source in &self.0 {
            if let Some(found) = source.credentials(host).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_source_that_knows_the_exact_host_answers() {
        let a = StaticCredentials::new().with("A.example:5000", Credentials::basic("a", "1"));
        let b = StaticCredentials::new()
            .with("a.example:5000", Credentials::basic("b", "2"))
            .with(
                "index.docker.io",
                Credentials::IdentityToken(Secret::new("t")),
            );
        let chain = Chain::new(vec![Arc::new(a), Arc::new(b)]);
        let known = async |host| chain.credentials(host).await.unwrap();
        assert_eq!(
            known("a.example:5000").await,
            Some(Credentials::basic("a", "1"))
        );
        assert!(known("docker.io").await.is_some());
        for other in [
            "a.example",
            "a.example:5001",
            "sub.a.example:5000",
            "example:5000",
        ] {
            assert_eq!(known(other).await, None, "{other}");
        }
    }

    #[test]
    fn credentials_print_as_stars() {
        let all = [
            Credentials::basic("user", "hunter2"),
            Credentials::IdentityToken(Secret::new("hunter2")),
        ];
        assert!(!format!("{all:?}").contains("hunter2"));
    }
}
