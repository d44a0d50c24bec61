//! Rows as the rest of kiln sees them.

use kiln_oci::Digest;
use kiln_spec::{CredentialForm, CredentialTarget, SpecHash};

use crate::Scope;

/// A build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRow {
    /// A UUID of version 7: later builds have greater ids.
    pub id: String,
    /// The workspace.
    pub scope: Scope,
    /// What is built.
    pub spec_hash: SpecHash,
    /// `QUEUED`, `RESOLVING`, `BUILDING`, `PUSHING`, `READY`, `FAILED` or `CANCELLED`.
    pub state: String,
    /// Rises whenever the build is taken over; a write with an older one changes nothing.
    pub fence: i64,
    /// How often it was begun.
    pub attempt: i64,
    /// `HOST[/PREFIX]/azureml/azureml_<hash>`.
    pub repository: String,
    /// The backend that builds.
    pub backend: String,
    /// Whether it resolves anew although there is a lock.
    pub refresh: bool,
    /// The hash of its lock, once there is one.
    pub lock_hash: Option<String>,
    /// The image, once it is READY.
    pub digest: Option<Digest>,
    /// The image's generation, once it is READY.
    pub generation: Option<u64>,
    /// Why it failed, as JSON.
    pub failure_json: Option<String>,
    /// Who asked.
    pub actor: String,
    /// Which way.
    pub via: String,
    /// When it was accepted, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// A build to begin.
#[derive(Debug, Clone)]
pub struct NewBuild {
    /// The definition's canonical JSON.
    pub canonical: String,
    /// Where the image goes.
    pub repository: String,
    /// The backend that builds.
    pub backend: String,
    /// Whether it resolves anew although there is a lock.
    pub refresh: bool,
    /// Who asked.
    pub actor: String,
    /// Which way.
    pub via: String,
}

/// What came of a build to begin.
#[derive(Debug, Clone)]
pub enum Started {
    /// It is this new build.
    New(BuildRow),
    /// Another one of the same definition is active.
    Joined(BuildRow),
}

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
}

/// An image that a build made or met.
#[derive(Debug, Clone)]
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
    /// Its generation when it exists already; else it gets the next.
    pub generation: Option<u64>,
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
}

/// What came of a build to finish.
#[derive(Debug, Clone)]
pub enum Finish {
    /// The image is current.
    Done(ImageRow),
    /// Another worker has the build now; nothing was changed.
    Stale,
}

/// A failure that asking again would only repeat.
#[derive(Debug, Clone)]
pub struct RememberedFailure {
    /// The failure, as JSON.
    pub failure_json: String,
    /// The build that met it.
    pub build_id: Option<String>,
}

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
