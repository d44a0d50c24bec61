//! The end of a build: one conditional UPDATE on (id, fence, state), and what goes with it.

use kiln_oci::Digest;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::builds::ACTIVE;
use super::convert::{self, BUILD_COLUMNS};
use super::outbox;
use crate::error::StoreError;
use crate::rows::{BuildRow, EventType};

/// How a build ends.
pub(super) struct Ending<'a> {
    /// `READY`, `FAILED` or `CANCELLED`.
    pub(super) state: &'a str,
    /// Why, unless it is READY.
    pub(super) failure_json: Option<&'a str>,
    /// Manifest and generation, when it is READY.
    pub(super) image: Option<(Digest, u64)>,
}

/// Ends a build, tells it, and answers its row; none when the fence is stale or it is over already.
pub(super) async fn end(
    connection: &mut SqliteConnection,
    id: &str,
    fence: i64,
    ending: &Ending<'_>,
    now_ms: i64,
) -> Result<Option<BuildRow>, StoreError> {
    let sql = format!(
        "UPDATE builds SET state = ?, failure_json = ?, digest = ?, generation = ?, finished_ms = ?,
         lease_owner = NULL, lease_boot = NULL, lease_until = NULL
         WHERE id = ? AND fence = ? AND {ACTIVE} RETURNING {BUILD_COLUMNS}"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(ending.state)
        .bind(ending.failure_json)
        .bind(ending.image.map(|(digest, _)| digest.to_hex()))
        .bind(ending.image.map(|(_, generation)| generation.cast_signed()))
        .bind(now_ms)
        .bind(id)
        .bind(fence)
        .fetch_optional(&mut *connection)
        .await
        .map_err(StoreError::database("end a build"))?;
    let Some(row) = row else { return Ok(None) };
    let build = convert::build(&row)?;
    let kind = match ending.state {
        "READY" => EventType::Ready,
        "CANCELLED" => EventType::Cancelled,
        _ => EventType::Failed,
    };
    outbox::of_build(connection, kind, &build, now_ms).await?;
    Ok(Some(build))
}
