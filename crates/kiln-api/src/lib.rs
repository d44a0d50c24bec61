//! Request and response types of kiln's native HTTP API.

mod build;
mod failure;

pub use build::{BackendChoice, BuildRequest, BuildState, BuildStatus};
pub use failure::{Failure, FailureClass};
