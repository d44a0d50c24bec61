//! Private wheels.

use kiln_oci::Digest;

/// A wheel to keep.
#[derive(Debug, Clone)]
pub struct NewWheel {
    /// Its file name, in which a scope has one wheel for ever.
    pub file_name: String,
    /// Its bytes, a blob that is there.
    pub digest: Digest,
    /// Their number.
    pub size_bytes: u64,
    /// The PEP 503 name of its distribution.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The address under which its uploader knows it, without a signature.
    pub url: Option<String>,
    /// Who.
    pub actor: String,
    /// Which way: `http`, `sdk`, ...
    pub via: String,
}

/// A wheel that a workspace keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelRow {
    /// Its file name.
    pub file_name: String,
    /// Its bytes, a blob.
    pub digest: Digest,
    /// Their number.
    pub size_bytes: u64,
    /// The PEP 503 name of its distribution.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The address under which its uploader knows it, without a signature.
    pub url: Option<String>,
    /// Who uploaded it.
    pub actor: String,
    /// Which way.
    pub via: String,
    /// When, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// What came of a wheel to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptWheel {
    /// It is new.
    New(WheelRow),
    /// The very same was there.
    Same(WheelRow),
    /// The file name is another wheel's.
    Taken(WheelRow),
}
