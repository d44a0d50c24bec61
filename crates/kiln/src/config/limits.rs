//! `limits`: what kiln takes on at once, and for how long it tries.

use std::time::Duration;

use serde::Deserialize;

/// `limits` of the file; times are whole seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FileLimits {
    max_builds: Option<u64>,
    queue: Option<u64>,
    queue_per_workspace: Option<u64>,
    disk_reserve_mib: Option<u64>,
    model_mib: Option<u64>,
    context_mib: Option<u64>,
    lease: Option<u64>,
    drain: Option<u64>,
    resolve_timeout: Option<u64>,
    build_timeout: Option<u64>,
    retry_budget: Option<u64>,
    registry_budget: Option<u64>,
    verify_after: Option<u64>,
    verify_every: Option<u64>,
}

/// Limits.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Builds that run at once.
    pub(crate) max_builds: usize,
    /// Builds that may wait.
    pub(crate) queue: u64,
    /// Builds of one workspace that may wait.
    pub(crate) queue_per_workspace: u64,
    /// New builds are refused while the data folder's disk has less.
    pub(crate) disk_reserve_bytes: u64,
    /// The files of one model may have so many bytes.
    pub(crate) model_bytes: u64,
    /// The tar of one build context may have so many bytes.
    pub(crate) context_bytes: u64,
    /// How long a build is a worker's without a sign of life.
    pub(crate) lease: Duration,
    /// How long builds may go on after a signal to stop.
    pub(crate) drain: Duration,
    /// How long resolving may take.
    pub(crate) resolve_timeout: Duration,
    /// How long the build step may take.
    pub(crate) build_timeout: Duration,
    /// How long a build is tried again after failures that may pass.
    pub(crate) retry_budget: Duration,
    /// How long a registry may fail before an attempt does.
    pub(crate) registry_budget: Duration,
    /// After how long a hit is verified anew in the background.
    pub(crate) verify_after: Duration,
    /// Within which time every current image is verified; zero is never.
    pub(crate) verify_every: Duration,
}

/// A limit's variable, what it means, and where it lands.
type Variable = (
    &'static str,
    &'static str,
    fn(&mut FileLimits) -> &mut Option<u64>,
);

/// The variables of all limits.
pub(crate) const VARIABLES: [Variable; 14] = [
    ("KILN_LIMITS_MAX_BUILDS", "limits.max_builds", |l| {
        &mut l.max_builds
    }),
    ("KILN_LIMITS_QUEUE", "limits.queue", |l| &mut l.queue),
    (
        "KILN_LIMITS_QUEUE_PER_WORKSPACE",
        "limits.queue_per_workspace",
        |l| &mut l.queue_per_workspace,
    ),
    (
        "KILN_LIMITS_DISK_RESERVE_MIB",
        "limits.disk_reserve_mib",
        |l| &mut l.disk_reserve_mib,
    ),
    ("KILN_LIMITS_CONTEXT_MIB", "limits.context_mib", |l| {
        &mut l.context_mib
    }),
    ("KILN_LIMITS_MODEL_MIB", "limits.model_mib", |l| {
        &mut l.model_mib
    }),
    ("KILN_LIMITS_LEASE", "limits.lease, seconds", |l| {
        &mut l.lease
    }),
    ("KILN_LIMITS_DRAIN", "limits.drain, seconds", |l| {
        &mut l.drain
    }),
    (
        "KILN_LIMITS_RESOLVE_TIMEOUT",
        "limits.resolve_timeout, seconds",
        |l| &mut l.resolve_timeout,
    ),
    (
        "KILN_LIMITS_BUILD_TIMEOUT",
        "limits.build_timeout, seconds",
        |l| &mut l.build_timeout,
    ),
    (
        "KILN_LIMITS_RETRY_BUDGET",
        "limits.retry_budget, seconds",
        |l| &mut l.retry_budget,
    ),
    (
        "KILN_LIMITS_REGISTRY_BUDGET",
        "limits.registry_budget, seconds",
        |l| &mut l.registry_budget,
    ),
    (
        "KILN_LIMITS_VERIFY_AFTER",
        "limits.verify_after, seconds",
        |l| &mut l.verify_after,
    ),
    (
        "KILN_LIMITS_VERIFY_EVERY",
        "limits.verify_every, seconds",
        |l| &mut l.verify_every,
    ),
];

/// Lays a variable over a field of the file.
pub(super) fn whole_number(
    name: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    field: &mut Option<u64>,
    faults: &mut Vec<String>,
) {
    let Some(value) = variable(name).filter(|value| !value.is_empty()) else {
        return;
    };
    match value.parse() {
        Ok(value) => *field = Some(value),
        Err(_) => faults.push(format!("{name}: `{value}` is not a whole number")),
    }
}

impl FileLimits {
    /// Lays the environment over the file.
    pub(super) fn apply(
        &mut self,
        variable: &dyn Fn(&str) -> Option<String>,
        faults: &mut Vec<String>,
    ) {
        for (name, _, field) in VARIABLES {
            whole_number(name, variable, field(self), faults);
        }
    }

    /// The limits, with defaults for what is not set.
    pub(super) fn checked(&self) -> Limits {
        let seconds = |value: Option<u64>, default| Duration::from_secs(value.unwrap_or(default));
        let queue = self.queue.unwrap_or(1000);
        Limits {
            max_builds: usize::try_from(self.max_builds.unwrap_or(2))
                .unwrap_or(2)
                .max(1),
            queue,
            queue_per_workspace: self.queue_per_workspace.unwrap_or(queue),
            disk_reserve_bytes: self.disk_reserve_mib.unwrap_or(512).saturating_mul(1 << 20),
            context_bytes: self.context_mib.unwrap_or(100).saturating_mul(1 << 20),
            model_bytes: self.model_mib.unwrap_or(20 << 10).saturating_mul(1 << 20),
            lease: seconds(self.lease, 45).clamp(Duration::from_secs(1), Duration::from_mins(1)),
            drain: seconds(self.drain, 30),
            resolve_timeout: seconds(self.resolve_timeout, 600),
            build_timeout: seconds(self.build_timeout, 3600),
            retry_budget: seconds(self.retry_budget, 900),
            registry_budget: seconds(self.registry_budget, 120),
            verify_after: seconds(self.verify_after, 300),
            verify_every: seconds(self.verify_every, 86_400),
        }
    }
}
