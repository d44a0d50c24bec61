//! Credentials.

use kiln_spec::{CredentialForm, CredentialTarget};

/// A stored credential without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialRow {
    /// What it is for.
    pub target: CredentialTarget,
    /// The form the secret takes there.
    pub form: CredentialForm,
    /// The user's name, where it has one.
    pub username: Option<String>,
    /// When it was last put, milliseconds since the Unix epoch.
    pub updated_ms: i64,
}
