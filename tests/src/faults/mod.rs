//! Faults on purpose: a real kiln with a real registry and a real container engine is killed, starved,
//! locked out and lied to, and an `Oracle` that knows what was promised checks what became of it.
//!
//! Every choice comes from a seed. Times do not repeat exactly, so neither do races, but the schedule does.

mod api;
mod bed;
mod database;
mod disk;
mod environments;
mod failpoints;
mod kills;
mod oracle;
mod paused;
mod pulled;
mod records;
mod registry;
mod report;
mod verdict;

use std::path::PathBuf;

use anyhow::Result;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

pub use self::report::Report;

/// How much, and by which choices.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where all choices come from.
    pub seed: u64,
    /// Builds to accept.
    pub builds: usize,
    /// Times to kill kiln; for scenarios without kills, how often their fault comes.
    pub kills: usize,
    /// Builds that kiln runs at once.
    pub at_once: usize,
    /// Where the record of what was accepted and kiln's own log are written.
    pub record: PathBuf,
}

impl Options {
    fn random(&self) -> StdRng {
        StdRng::seed_from_u64(self.seed)
    }
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// `SIGKILL` at random times.
    Kills,
    /// A crash at every step of a build's way.
    Failpoints,
    /// Half of the registry's answers are wrong.
    Registry,
    /// The disk of the data folder is full.
    Disk,
    /// Somebody else holds the database's lock.
    Database,
    /// The process is stopped for longer than its leases last.
    Paused,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Kills,
        Self::Failpoints,
        Self::Registry,
        Self::Disk,
        Self::Database,
        Self::Paused,
    ];

    /// The name for the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kills => "kills",
            Self::Failpoints => "failpoints",
            Self::Registry => "registry",
            Self::Disk => "disk",
            Self::Database => "database",
            Self::Paused => "paused",
        }
    }

    /// Builds and faults that a run has when nobody says how many.
    pub const fn usual(self) -> (usize, usize) {
        match self {
            Self::Kills => (100, 20),
            Self::Failpoints => (0, 0),
            Self::Registry => (30, 0),
            Self::Disk | Self::Database => (12, 3),
            Self::Paused => (12, 6),
        }
    }

    /// Injects it, and gives what came of it.
    ///
    /// # Errors
    /// When the scenario could not be carried out; a promise that was broken is in the report.
    pub async fn run(self, options: &Options) -> Result<Report> {
        fs_err::create_dir_all(&options.record)?;
        match self {
            Self::Kills => kills::run(options).await,
            Self::Failpoints => failpoints::run(options).await,
            Self::Registry => registry::run(options).await,
            Self::Disk => disk::run(options).await,
            Self::Database => database::run(options).await,
            Self::Paused => paused::run(options).await,
        }
    }
}
