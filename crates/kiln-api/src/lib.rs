//! Request and response types of kiln's native HTTP API.

mod build;
mod failure;
mod hooks;
mod log;

pub use build::{BackendChoice, BuildList, BuildRequest, BuildState, BuildStatus, Defaults};
pub use failure::{Failure, FailureClass};
pub use hooks::{
    Hook, HookList, HookSecret, NewHookRequest, RegistryReport, ReplayReport, ReplayRequest,
};
pub use log::{LogEvent, LogKind};
