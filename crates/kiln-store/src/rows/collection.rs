//! What the garbage collection looks at.

use kiln_oci::Digest;

use crate::Scope;

/// A blob as the records know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRow {
    /// The blob.
    pub digest: Digest,
    /// When it was last used, milliseconds since the Unix epoch.
    pub used_ms: i64,
    /// Whether something needs it.
    pub needed: bool,
}

/// A lock that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleLock {
    /// The workspace.
    pub scope: Scope,
    /// Its hash.
    pub lock_hash: String,
    /// The size of its row's text.
    pub size_bytes: u64,
}
