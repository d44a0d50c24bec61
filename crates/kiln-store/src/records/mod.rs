//! The records of kiln, whatever keeps them: one trait per subject.

mod builds;
mod collection;
mod commits;
mod contexts;
mod credentials;
mod environments;
mod failures;
mod hooks;
mod images;
mod layers;
mod locks;
mod models;
mod queue;
mod requests;
mod runs;
mod wheels;

use async_trait::async_trait;

use crate::error::StoreError;

pub use builds::Builds;
pub use collection::{Collection, TakeAway};
pub use commits::Commits;
pub use contexts::Contexts;
pub use credentials::Credentials;
pub use environments::Environments;
pub use failures::Failures;
pub use hooks::{Events, Hooks};
pub use images::Images;
pub use layers::Layers;
pub use locks::Locks;
pub use models::Models;
pub use queue::Queue;
pub use requests::Requests;
pub use runs::Runs;
pub use wheels::Wheels;

/// The records of kiln. What a call has answered is durable.
#[async_trait]
pub trait Records:
    Builds
    + Queue
    + Commits
    + Failures
    + Requests
    + Hooks
    + Events
    + Locks
    + Images
    + Layers
    + Collection
    + Credentials
    + Environments
    + Models
    + Wheels
    + Contexts
    + Runs
{
    /// Whether the database answers.
    async fn ping(&self) -> Result<(), StoreError>;
}
