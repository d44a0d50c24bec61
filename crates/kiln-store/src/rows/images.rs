//! Images.

use kiln_oci::Digest;
use kiln_spec::SpecHash;
use serde::{Deserialize, Serialize};

use crate::Scope;

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// Its number among those of its definition, from 1.
    pub generation: u64,
    /// `HOST[/PREFIX]/azureml/azureml_<hash>`.
    pub repository: String,
    /// Its manifest.
    pub digest: Digest,
    /// The hash of its lock; none for one that was found in a registry.
    pub lock_hash: Option<String>,
    /// The backend that built it.
    pub backend: String,
    /// The sum of its blobs' compressed sizes.
    pub size_bytes: u64,
    /// The build that made it; none for one that was found in a registry.
    pub build_id: Option<String>,
    /// When a registry last said that it is there, milliseconds since the Unix epoch.
    pub verified_ms: i64,
    /// Why it is no longer what a build would make today.
    pub outdated: Option<String>,
}

/// What an image was built on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseOrigin {
    /// The reference that was resolved, `host/repository[:tag]`.
    pub reference: String,
    /// The index it was chosen from, where there was one.
    pub index: Option<Digest>,
    /// The platform's manifest.
    pub manifest: Digest,
}

/// A base as somebody tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseName {
    /// `host/repository[:tag]`, exactly as locks have it.
    Reference(String),
    /// The digest of a manifest or an index.
    Digest(Digest),
}

/// An image with its place and base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownImage {
    /// The workspace.
    pub scope: Scope,
    /// The definition.
    pub spec_hash: SpecHash,
    /// The image.
    pub image: ImageRow,
    /// What it was built on, where that is known.
    pub base: Option<BaseOrigin>,
}

/// An image that a build made or met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewImage {
    /// Where it is.
    pub repository: String,
    /// Its manifest.
    pub digest: Digest,
    /// What decides its content, 64 hex digits.
    pub image_key: String,
    /// The hash of its lock.
    pub lock_hash: String,
    /// The backend that built it.
    pub backend: String,
    /// The sum of its blobs' compressed sizes.
    pub size_bytes: u64,
}

/// An image that another kiln pushed.
#[derive(Debug, Clone)]
pub struct FoundImage {
    /// Where it is.
    pub repository: String,
    /// Its manifest.
    pub digest: Digest,
    /// The generation its tag says.
    pub generation: u64,
    /// The backend its label says.
    pub backend: String,
    /// The sum of its blobs' compressed sizes.
    pub size_bytes: u64,
    /// What its labels say it was built on.
    pub base: Option<BaseOrigin>,
}

/// What came of a build to finish.
#[derive(Debug, Clone)]
pub enum Finish {
    /// The image is current.
    Done(ImageRow),
    /// Another worker has the build now; nothing was changed.
    Stale,
}
