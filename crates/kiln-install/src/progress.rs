//! What an installation tells while it runs.

use serde::Serialize;

/// A part of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Archives are hashed.
    Verify,
    /// conda packages are linked.
    Link,
    /// Post-link scripts are run.
    Scripts,
    /// A venv is made.
    Venv,
    /// Wheels are linked.
    Wheels,
    /// Sources are byte-compiled; counted in files.
    Compile,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The step.
    pub step: Step,
    /// What is done of it.
    pub done: u64,
    /// All there is to do.
    pub total: u64,
}

/// Takes what an installation tells.
pub trait Reporter: Send {
    /// A step went on.
    fn progress(&mut self, progress: Progress);
    /// Something that people should know and that is no failure.
    fn warning(&mut self, text: &str);
}

/// What an installation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// conda packages linked.
    pub conda_packages: u64,
    /// Wheels linked.
    pub wheels: u64,
    /// Files and symlinks written.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Paths that several packages have.
    pub clashes: u64,
    /// Post-link scripts run.
    pub scripts: u64,
    /// Sources byte-compiled.
    pub compiled: u64,
    /// Sources that could not be byte-compiled.
    pub not_compiled: u64,
}
