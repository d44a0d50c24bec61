//! `gc`: when what nothing needs is removed, and for how long it is kept.

use std::time::Duration;

use kiln_engine::Keep;
use serde::Deserialize;

/// `gc` of the file; times are whole seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FileGc {
    every: Option<u64>,
    grace: Option<u64>,
    keep_logs: Option<u64>,
}

/// Garbage collection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gc {
    /// How often `kiln serve` collects; zero is never.
    pub(crate) every: Duration,
    /// For how long what nothing needs is kept.
    pub(crate) keep: Keep,
}

/// A setting's variable, what it means, and where it lands.
type Variable = (
    &'static str,
    &'static str,
    fn(&mut FileGc) -> &mut Option<u64>,
);

/// The variables of all settings.
pub(crate) const VARIABLES: [Variable; 3] = [
    ("KILN_GC_EVERY", "gc.every, seconds", |gc| &mut gc.every),
    ("KILN_GC_GRACE", "gc.grace, seconds", |gc| &mut gc.grace),
    ("KILN_GC_KEEP_LOGS", "gc.keep_logs, seconds", |gc| {
        &mut gc.keep_logs
    }),
];

impl FileGc {
    /// Lays the environment over the file.
    pub(super) fn apply(
        &mut self,
        variable: &dyn Fn(&str) -> Option<String>,
        faults: &mut Vec<String>,
    ) {
        for (name, _, field) in VARIABLES {
            super::limits::whole_number(name, variable, field(self), faults);
        }
    }

    /// The settings, with defaults for what is not set.
    pub(super) fn checked(&self) -> Gc {
        const DAY: u64 = 86_400;
        let seconds = |value: Option<u64>, default| Duration::from_secs(value.unwrap_or(default));
        Gc {
            every: seconds(self.every, DAY),
            keep: Keep {
                grace: seconds(self.grace, 3600),
                logs: seconds(self.keep_logs, 30 * DAY),
            },
        }
    }
}
