//! Request and response types of kiln's native HTTP API.

mod build;
mod failure;
mod gc;
mod hooks;
mod log;

pub use build::{BackendChoice, BuildList, BuildRequest, BuildState, BuildStatus, Defaults};
pub use failure::{Failure, FailureClass};
pub use gc::{GcArchive, GcReport, GcRequest, GcShare};
pub use hooks::{
    Hook, HookList, HookSecret, NewHookRequest, RegistryReport, ReplayReport, ReplayRequest,
};
pub use log::{LogEvent, LogKind};
