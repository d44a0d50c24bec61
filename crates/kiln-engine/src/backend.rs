//! The trait that makes images, and what it is given.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kiln_api::{BuildState, Failure};
use kiln_dockerfile::UserContext;
use kiln_lock::{BaseFacts, Lock};
use kiln_oci::{Digest, Platform, Reference};
use kiln_registry::{RegistryClient, ResolvedImage};
use kiln_spec::{Definition, SpecHash};
use tokio_util::sync::CancellationToken;

/// Makes an image from a lock and pushes it by digest; it never tags.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The backend's name in the API, the store and the image key: `docker` or `assemble`.
    fn name(&self) -> &'static str;

    /// Tells whether it can build at all now; the failure says what is missing.
    async fn check(&self) -> Result<(), Failure>;

    /// Builds and pushes one image. Cancelling the token stops all that was started, and the future
    /// returns only when nothing is left running.
    async fn build(
        &self,
        job: BuildJob,
        reporter: Arc<dyn Reporter>,
        cancel: CancellationToken,
    ) -> Result<Built, Failure>;

    /// The ids of builds, of this kiln or of others that share the backend, of which something is left.
    async fn leftovers(&self) -> Result<HashSet<String>, Failure>;

    /// Removes what is left of these builds.
    async fn remove(&self, build_ids: &[String]) -> Result<(), Failure>;
}

/// All that a backend needs for one image.
#[derive(Clone)]
pub struct BuildJob {
    /// The build's id, safe in names of containers, images and folders.
    pub build_id: String,
    /// What is built.
    pub definition: Definition,
    /// Its identity.
    pub spec_hash: SpecHash,
    /// What it resolved to.
    pub lock: Lock,
    /// The target platform.
    pub platform: Platform,
    /// Facts about the base; the default where a user's own Dockerfile is the base.
    pub facts: BaseFacts,
    /// The base's manifest and configuration; `None` where a user's own Dockerfile is the base.
    pub base: Option<ResolvedImage>,
    /// The definition's build context; its tar is among the archives.
    pub context: Option<UserContext>,
    /// The repository that receives the image: `HOST[/PREFIX]/azureml/azureml_<hash>`.
    pub repository: Reference,
    /// Labels of the image, by name.
    pub labels: BTreeMap<String, String>,
    /// Where the lock's archives lie.
    pub archives: Arc<dyn Archives>,
    /// The client for the base's and the destination's registries, with the scope's credentials.
    pub registry: RegistryClient,
    /// Credentials the engine that pulls the base needs: (host, user, password).
    pub pull_credentials: Vec<(String, String, PullSecret)>,
    /// An empty private folder of this build alone; the caller removes it.
    pub work_dir: PathBuf,
    /// A PEM bundle that build steps trust beside their own; never left in the image.
    pub extra_ca: Option<Bytes>,
    /// How long the build step may take.
    pub timeout: Duration,
    /// Whether every step runs, whatever earlier builds left in a cache.
    pub anew: bool,
    /// Told what is about to be pushed.
    pub before_manifest: Arc<dyn BeforeManifest>,
}

/// Is told of an image when its blobs are in the registry, before its manifest is.
#[async_trait]
pub trait BeforeManifest: Send + Sync {
    /// Notes the image durably; the manifest may be pushed only when that succeeded.
    async fn note(&self, built: &Built) -> Result<(), Failure>;
}

/// A secret text that prints as `***`.
#[derive(Clone)]
pub struct PullSecret(String);

impl PullSecret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PullSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The verified archives of a lock.
pub trait Archives: Send + Sync {
    /// The file of an archive that was fetched, by digest.
    fn path(&self, digest: &Digest) -> Option<PathBuf>;
}

/// An image that is in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The digest of the platform's manifest.
    pub digest: Digest,
    /// The sum of its blobs' compressed sizes in bytes.
    pub size_bytes: u64,
}

/// Receives a build's progress; calls are quick and never fail.
pub trait Reporter: Send + Sync {
    /// The build enters a phase.
    fn phase(&self, phase: BuildState);
    /// A step moves.
    fn step(&self, step: Step);
    /// One line of output of a step, as it came: without a line end, escapes still in it.
    fn line(&self, step: &str, text: &str);
}

/// Where a step of a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The step's name for people, stable within the build.
    pub name: String,
    /// What is done so far, in `unit`.
    pub done: u64,
    /// What there is to do, where it is known.
    pub total: Option<u64>,
    /// What is counted.
    pub unit: Unit,
    /// Whether the step is over.
    pub finished: bool,
}

/// What a step counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Packages, layers and the like.
    Items,
}
