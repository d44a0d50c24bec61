//! Builds: accepted, moved on and ended.

use async_trait::async_trait;
use kiln_spec::SpecHash;

use crate::error::StoreError;
use crate::rows::{BuildRow, Finish, NewBuild, NewImage, Remember, Started};
use crate::scope::Scope;

/// Builds and their states. Every transition is one conditional write on state and fence.
#[async_trait]
pub trait Builds: Send + Sync {
    /// Writes the row of a build and what its [`Terms`](crate::Terms) ask for, or answers the active
    /// one of the same definition; joining is never refused for want of room.
    async fn begin_build(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        new: &NewBuild,
    ) -> Result<Started, StoreError>;

    /// The build of an id.
    async fn build(&self, id: &str) -> Result<Option<BuildRow>, StoreError>;

    /// Builds of a workspace, newest first; `before` is an id.
    async fn list_builds(
        &self,
        scope: &Scope,
        limit: u32,
        before: Option<&str>,
    ) -> Result<Vec<BuildRow>, StoreError>;

    /// Builds that are not over, oldest first, and their definitions' canonical JSON.
    async fn unfinished_builds(&self) -> Result<Vec<(BuildRow, String)>, StoreError>;

    /// Moves a build on to another state that is not final, or to the same again; false when the
    /// fence is stale, the build is over or the state lies behind it.
    async fn advance(&self, id: &str, fence: i64, state: &str) -> Result<bool, StoreError>;

    /// Makes a build READY: image, generation and the definition's current one in one transaction.
    async fn finish_ready(
        &self,
        id: &str,
        fence: i64,
        image: &NewImage,
    ) -> Result<Finish, StoreError>;

    /// Makes a build FAILED or CANCELLED, and remembers why where that is asked for; false when the
    /// fence is stale or the build is over.
    async fn finish_failed(
        &self,
        id: &str,
        fence: i64,
        state: &str,
        failure_json: &str,
        remember: Option<Remember>,
    ) -> Result<bool, StoreError>;
}
