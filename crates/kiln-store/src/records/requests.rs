//! Requests that may come more than once: idempotency keys and messages.

use async_trait::async_trait;

use crate::error::StoreError;
use crate::rows::{Answer, Received, RequestKey};
use crate::scope::Scope;

/// Answers that were given, by the request's key. A request that begins a build is kept with the
/// build's row, see [`Terms::request`](crate::Terms::request).
#[async_trait]
pub trait Requests: Send + Sync {
    /// Whether a request came before.
    async fn receive(&self, key: &RequestKey) -> Result<Received, StoreError>;

    /// Keeps the answer to a request that began no build, and sees to it that its receivers hear the
    /// end: they join those of a build that runs, and are told at once what is known. A request that
    /// was answered before stays as it was answered: that answer is given, and nothing is changed.
    async fn answer(&self, scope: &Scope, answer: &Answer) -> Result<Received, StoreError>;

    /// Removes what is kept long enough: keys, remembered failures, holds of builds that are over, and
    /// events of 30 days that are not on their way any more. Answers how many rows.
    async fn prune(&self) -> Result<u64, StoreError>;
}
