//! Build contexts.

use kiln_oci::Digest;

/// A build context to keep.
#[derive(Debug, Clone)]
pub struct NewContext {
    /// Its normalised tar, a blob that is there.
    pub digest: Digest,
    /// The tar's bytes.
    pub size_bytes: u64,
    /// How many files and links it has.
    pub files: u64,
    /// Who.
    pub actor: String,
    /// Which way: `http`, ...
    pub via: String,
}

/// A build context that a workspace keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextRow {
    /// Its normalised tar, a blob.
    pub digest: Digest,
    /// The tar's bytes.
    pub size_bytes: u64,
    /// How many files and links it has.
    pub files: u64,
    /// Who uploaded it first.
    pub actor: String,
    /// Which way.
    pub via: String,
    /// When, milliseconds since the Unix epoch.
    pub created_ms: i64,
}
