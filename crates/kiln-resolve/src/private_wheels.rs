//! Wheels that a workspace keeps itself; the caller implements where.

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use kiln_oci::Digest;

/// A wheel that the caller keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateWheel {
    /// The PEP 503 name of its distribution.
    pub name: String,
    /// Its file name.
    pub file_name: String,
    /// Its bytes.
    pub sha256: Digest,
    /// Their number.
    pub size_bytes: u64,
    /// Where they are.
    pub path: PathBuf,
}

/// Finds private wheels; what is another workspace's is not found.
#[async_trait]
pub trait PrivateWheels: fmt::Debug + Send + Sync {
    /// The wheel of an address: `kiln-wheel:sha256:` and 64 hex digits, or an http address without a
    /// signature.
    ///
    /// # Errors
    /// When that can't be found out; asking again may help.
    async fn find(
        &self,
        address: &str,
    ) -> Result<Option<PrivateWheel>, Box<dyn std::error::Error + Send + Sync>>;
}

/// Knows none.
#[derive(Debug, Clone, Copy)]
pub struct NoPrivateWheels;

#[async_trait]
impl PrivateWheels for NoPrivateWheels {
    async fn find(
        &self,
        _address: &str,
    ) -> Result<Option<PrivateWheel>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(None)
    }
}
