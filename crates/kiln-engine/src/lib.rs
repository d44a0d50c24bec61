//! Get-or-create of images: single flight, states, failure classes, logs.
//!
//! [`Engine::submit`] is the way in; `lookup` answers from what exists, `run` makes what does not.

mod access;
mod active;
mod archives;
mod backend;
mod bases;
mod callbacks;
mod collect;
mod commit;
mod contexts;
mod eject;
mod engine;
mod environments;
mod error;
mod explain;
mod failpoint;
mod follow;
mod intake;
mod leftovers;
mod log;
mod lookup;
mod models;
mod recent;
mod recover;
mod redact;
mod resolve;
mod retry;
mod room;
mod run;
mod runs;
mod settings;
mod submission;
mod submit;
#[cfg(test)]
mod testing;
mod trigger;
mod uploads;
mod verify;
mod wheels;
mod worker;

pub use access::{ConnectRegistry, NoCredentials};
pub use active::{Ticket, Waiting};
pub use archives::StoredFacts;
pub use backend::{
    Archives, Backend, BeforeManifest, BuildJob, Built, PullSecret, Reporter, Step, Unit,
};
pub use bases::{Changed, OnBaseChange};
pub use callbacks::check_callback;
pub use collect::Keep;
pub use contexts::{CONTEXT_FILES_LIMIT, ContextArchiveError};
pub use eject::Ejected;
pub use engine::{Engine, Parts};
pub use environments::{
    Archived, DefaultEnvironment, NewVersion, RegisteredVersion, Side, VersionPage, compare,
    image_of,
};
pub use error::EngineError;
pub use kiln_store::{
    Action, Callback, ContextRow, EnvironmentRow, FilePath, HistoryRow, ImageRow, KeptWheel,
    ModelFile, ModelFilter, ModelName, ModelNotes, ModelRow, NameFilter, NewModel,
    ParseModelNameError, RequestKey, Scope, WheelRow,
};
pub use log::Logs;
pub use models::{MODEL_FILES_LIMIT, ModelArchiveError};
pub use recent::Question;
pub use recover::Recovery;
pub use resolve::Locked;
pub use runs::DEFAULT_RUN_ENVIRONMENT;
pub use settings::{EngineSettings, Verify};
pub use submission::{Options, Origin, Submission};
pub use trigger::{Accepted, Intake, Message, Refusal, Refused, ReplyError, ReplyPublisher};
pub use verify::Verified;
pub use wheels::{WHEEL_BYTES_LIMIT, check_name as check_wheel_name};

/// Errors of the crates below as failures.
pub mod failure {
    pub use crate::error::{of_io, of_registry, of_store};
}
