//! Bodies of `/v1/contexts`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A build context: a folder with a Dockerfile, by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContextInfo {
    /// `sha256:` and 64 hex digits; equal folders have the same.
    pub digest: String,
    /// What names it in `docker.buildContext.location` of an environment.
    pub location: String,
    /// The size of its tar.
    pub size_bytes: u64,
    /// How many files and links it has.
    pub files: u64,
    /// Who uploaded it first.
    pub actor: String,
    /// Which way: `http`, ...
    pub via: String,
    /// When, RFC 3339.
    pub created: String,
}
