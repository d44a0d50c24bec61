//! Credentials that stood in a document and left it.

use std::fmt;

use zeroize::Zeroizing;

/// A secret text; it prints as `***` and is wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A credential that a document held inline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineCredential {
    /// What it is for.
    pub target: CredentialTarget,
    /// The form it had.
    pub form: CredentialForm,
    /// The user's name, where it had one.
    pub username: Option<String>,
    /// The secret.
    pub secret: Secret,
}

/// What a credential is for: the address is exact and has no credentials in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CredentialTarget {
    /// A container registry, by host.
    Registry(String),
    /// A package index or a page of links, by its address.
    Index(String),
    /// A conda channel.
    Channel(String),
    /// A package's own address.
    Package(String),
    /// A GitHub package of the R section.
    RPackage(String),
}

/// The form a credential had in the document, and has again when it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialForm {
    /// User name and password.
    Basic,
    /// conda's `/t/<token>/` in the path.
    PathToken,
    /// Parameters to add to the query of the address.
    Query,
    /// A token by itself.
    Token,
}
