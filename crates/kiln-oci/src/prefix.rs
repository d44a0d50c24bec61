//! Where a store's images go: `HOST[:PORT][/PREFIX]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::host;
use crate::name::{ParseNameError, RepositoryName, shown};
use crate::reference::{ParseReferenceError, Reference};

/// A registry and, below it, an optional prefix of repositories.
///
/// Unlike in a [`Reference`], the first part is always the host: `registry/team` names the host
/// `registry`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RegistryPrefix {
    registry: String,
    prefix: Option<RepositoryName>,
}

/// Says why a text names no registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePrefixError {
    /// It is a URL.
    #[error(
        "registry must be written as HOST[:PORT][/PREFIX], without a scheme such as `https://`"
    )]
    Scheme,
    /// The part before the first slash is no host.
    #[error("registry `{0}` is no host name with an optional port")]
    Registry(String),
    /// What follows the host is no repository name.
    #[error("prefix of the registry is no repository name")]
    Prefix(#[source] ParseNameError),
}

impl RegistryPrefix {
    /// The registry as `host[:port]`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The prefix of repositories, if there is one.
    pub fn prefix(&self) -> Option<&RepositoryName> {
        self.prefix.as_ref()
    }

    /// The reference of a repository below the prefix, without tag and digest.
    ///
    /// # Errors
    /// When prefix and name together are longer than a repository name may be.
    pub fn repository(&self, name: &RepositoryName) -> Result<Reference, ParseReferenceError> {
        let repository = match &self.prefix {
            Some(prefix) => prefix.join(name)?,
            None => name.clone(),
        };
        Reference::new(&self.registry, repository)
    }
}

impl FromStr for RegistryPrefix {
    type Err = ParsePrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains("://") {
            return Err(ParsePrefixError::Scheme);
        }
        let (registry, prefix) = match text.split_once('/') {
            Some((registry, prefix)) => (registry, Some(prefix)),
            None => (text, None),
        };
        // The text before an `@` may be a password.
        let visible = registry.rsplit('@').next().unwrap_or_default();
        let registry =
            host::normalise(registry).ok_or_else(|| ParsePrefixError::Registry(shown(visible)))?;
        let prefix = prefix
            .map(str::parse)
            .transpose()
            .map_err(ParsePrefixError::Prefix)?;
        Ok(Self { registry, prefix })
    }
}

impl fmt::Display for RegistryPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.registry)?;
        self.prefix
            .iter()
            .try_for_each(|prefix| write!(f, "/{prefix}"))
    }
}

impl Serialize for RegistryPrefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RegistryPrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_lie_below_the_prefix() {
        let name: RepositoryName = "azureml/azureml_00".parse().unwrap();
        for (text, full) in [
            ("localhost:5000", "localhost:5000/azureml/azureml_00"),
            ("registry/team", "registry/team/azureml/azureml_00"),
            ("x.azurecr.io/a/b", "x.azurecr.io/a/b/azureml/azureml_00"),
        ] {
            let prefix: RegistryPrefix = text.parse().unwrap();
            assert_eq!(prefix.to_string(), text);
            assert_eq!(prefix.repository(&name).unwrap().to_string(), full);
        }
    }

    #[test]
    fn urls_credentials_and_bad_prefixes_are_refused() {
        for text in [
            "",
            "https://x",
            "u:hunter2@x.io",
            "x.io/",
            "x.io/A",
            "-x",
            "x y",
        ] {
            let error = text.parse::<RegistryPrefix>().unwrap_err();
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
