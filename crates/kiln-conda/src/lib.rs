//! Conda channels and the conda solver behind kiln's own types.
//!
//! Everything of rattler stays inside this crate: its releases break often, and nothing above should
//! notice. The crate reads no environment variable, no home folder and no fact of its own machine.

mod access;
mod archive;
mod channel;
mod credentials;
mod error;
mod explain;
mod platform;
mod query;
mod record;
mod solver;
#[cfg(test)]
mod solver_tests;
mod spec;
mod task;
mod virtual_packages;

pub use archive::{Distribution, ReadArchiveError, python_distributions};
pub use channel::{ChannelSettings, MULTI_CHANNEL_DEFAULTS};
pub use credentials::{Authorized, Credential, Credentials, Secret, UrlSecret};
pub use error::{CondaError, CondaErrorKind, Explanation, MissingPackage};
pub use platform::subdir_name;
pub use query::Offer;
pub use solver::{CondaSolver, Solution, SolveRequest, SolverSettings};
pub use virtual_packages::virtual_packages;
