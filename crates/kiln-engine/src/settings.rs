//! What the engine is told once.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use kiln_lock::ResolverSettings;

use crate::collect::Keep;
use crate::environments::DefaultEnvironment;

/// Settings of the engine; all have been checked.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// `HOST[/PREFIX]` of images whose workspace names none.
    pub registry: Option<String>,
    /// Builds that run at once.
    pub max_builds: usize,
    /// Builds that may wait, over all workspaces; more are refused until some are done.
    pub queue_bound: u64,
    /// Builds of one workspace that may wait.
    pub scope_bound: u64,
    /// New builds are refused while the data folder's disk has less.
    pub disk_reserve_bytes: u64,
    /// The files of one model may have so many bytes.
    pub model_bytes: u64,
    /// The tar of one build context may have so many bytes; a build of it takes as much memory.
    pub context_bytes: u64,
    /// How long a build is a worker's without a sign of life; at most a minute.
    pub lease: Duration,
    /// How long, from its first attempt on, a build is tried again after failures that may pass.
    pub retry_budget: Duration,
    /// How long resolving and fetching may take.
    pub resolve_timeout: Duration,
    /// How long the build step may take.
    pub build_timeout: Duration,
    /// After how long a hit is verified anew.
    pub verify_after: Duration,
    /// Whether a hit that is due is verified before it is answered, or in the background.
    pub verify: Verify,
    /// How long a failure that asking again would repeat is remembered.
    pub remember_failure: Duration,
    /// How long what nothing needs is kept.
    pub keep: Keep,
    /// A PEM bundle that build steps trust beside their own.
    pub extra_ca: Option<Bytes>,
    /// A private folder for work in progress; the engine empties it at start.
    pub work_dir: PathBuf,
    /// What the resolvers are told; recorded in locks.
    pub resolver: ResolverSettings,
    /// The environment of a build that names none.
    pub default_environment: DefaultEnvironment,
    /// A text of all resolver settings: a failure is remembered only while they stay.
    pub resolver_key: String,
}

/// When a hit that is due is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// After it was answered: the daemon's way.
    Background,
    /// Before it is answered: the way of a process that ends with its answer.
    First,
}
