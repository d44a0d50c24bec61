//! Events and the hooks they go to.

use std::time::Duration;

use async_trait::async_trait;
use kiln_spec::Secret;

use crate::error::StoreError;
use crate::rows::{
    Callback, Delivery, DeliveryRow, EventRow, HookRow, NewEvent, NewHook, Replay, Target,
};
use crate::scope::Scope;

/// Subscriptions of workspaces.
#[async_trait]
pub trait Hooks: Send + Sync {
    /// Adds a hook, active.
    async fn add_hook(&self, scope: &Scope, new: &NewHook) -> Result<HookRow, StoreError>;

    /// The hooks of a workspace, oldest first.
    async fn hooks(&self, scope: &Scope) -> Result<Vec<HookRow>, StoreError>;

    /// The hook of an id.
    async fn hook(&self, id: &str) -> Result<Option<HookRow>, StoreError>;

    /// Removes a hook with its secrets and deliveries; false when there is none.
    async fn remove_hook(&self, id: &str) -> Result<bool, StoreError>;

    /// Disables a hook and gives up what is on its way to it; false when there is none.
    async fn disable_hook(&self, id: &str, reason: &str) -> Result<bool, StoreError>;

    /// Lets a hook have events again, from now on; false when there is none.
    async fn enable_hook(&self, id: &str) -> Result<bool, StoreError>;

    /// Adds a secret beside those that live, and answers its number; none when there is no such hook.
    async fn add_hook_secret(&self, id: &str, secret: &Secret) -> Result<Option<i64>, StoreError>;

    /// Removes a secret; false when there is none of that number, or it is the last.
    async fn remove_hook_secret(&self, id: &str, number: i64) -> Result<bool, StoreError>;

    /// The live secrets of a hook, newest first.
    async fn hook_secrets(&self, id: &str) -> Result<Vec<Secret>, StoreError>;
}

/// The outbox. Events of builds and images are written by the calls that change them, in the same
/// transaction, and so is a delivery for every hook and callback that is to have one.
#[async_trait]
pub trait Events: Send + Sync {
    /// Writes an event that no change of a row makes; an event of the type `test` goes to the hook of
    /// `only` alone, every other to the workspace's hooks and the callbacks.
    async fn add_event(
        &self,
        scope: &Scope,
        new: &NewEvent,
        callbacks: &[Callback],
        only: Option<&str>,
    ) -> Result<EventRow, StoreError>;

    /// Events of a workspace, oldest first; `after` is an id.
    async fn events(
        &self,
        scope: &Scope,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Vec<EventRow>, StoreError>;

    /// Takes deliveries that are due, the longest due first, and counts the attempt. Who does not tell
    /// within `hold` what came of one sees it due again: a target may get a message twice.
    async fn due_deliveries(&self, limit: u32, hold: Duration)
    -> Result<Vec<Delivery>, StoreError>;

    /// The time until a delivery is due; none when nothing is on its way.
    async fn next_delivery(&self) -> Result<Option<Duration>, StoreError>;

    /// The target has it.
    async fn delivery_done(&self, event_id: &str, target: &Target) -> Result<(), StoreError>;

    /// It failed: it is tried again after a time, or no more. An attempt that is not the last one
    /// taken changes nothing: false.
    async fn delivery_failed(
        &self,
        delivery: &Delivery,
        again: Option<Duration>,
        error: &str,
    ) -> Result<bool, StoreError>;

    /// What became of an event at its targets.
    async fn deliveries(&self, event_id: &str) -> Result<Vec<DeliveryRow>, StoreError>;

    /// Makes events due again at a hook of their workspace, or at all its active hooks and the
    /// callbacks they had, whether they have them or not; answers how many deliveries are due now.
    async fn replay(
        &self,
        scope: &Scope,
        what: &Replay,
        hook: Option<&str>,
    ) -> Result<u64, StoreError>;
}
