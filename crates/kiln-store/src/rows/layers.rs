//! Layers of packages.

use kiln_oci::Digest;

/// A layer that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRow {
    /// What decides its bytes, as text.
    pub key: String,
    /// The digest of its bytes, a blob that may be collected meanwhile.
    pub digest: Digest,
    /// The digest of what they unpack to.
    pub diff_id: Digest,
    /// The number of its bytes.
    pub size_bytes: u64,
    /// Where the package's own entries begin.
    pub segment_offset: u64,
    /// Their length; nothing in a layer of several packages.
    pub segment_bytes: u64,
    /// The directories that it names.
    pub directories: Vec<String>,
}
