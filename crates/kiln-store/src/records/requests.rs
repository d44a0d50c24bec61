//! Requests that may come more than once: idempotency keys and messages.

use async_trait::async_trait;

use crate::error::StoreError;
use crate::rows::{Received, RequestKey};

/// Answers that were given, by the request's key. A request that begins a build is kept with the
/// build's row, see [`Terms::request`](crate::Terms::request).
#[async_trait]
pub trait Requests: Send + Sync {
    /// Whether a request came before.
    async fn receive(&self, key: &RequestKey) -> Result<Received, StoreError>;

    /// Keeps the answer to a request that began no build; where it was answered before, that answer
    /// stays and is told.
    async fn keep_answer(&self, key: &RequestKey, answer: &str) -> Result<Received, StoreError>;

    /// Removes what is kept long enough: keys, remembered failures, and events of 30 days that are not
    /// on their way any more. Answers how many rows.
    async fn prune(&self) -> Result<u64, StoreError>;
}
