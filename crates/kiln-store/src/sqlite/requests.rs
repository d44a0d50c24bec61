//! Requests that may come more than once.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::SqliteRecords;
use super::convert::get;
use crate::clock::millis;
use crate::error::StoreError;
use crate::records::Requests;
use crate::rows::{Received, RequestKey};

/// Whether a request came before, and its time is not over.
pub(super) async fn look(
    connection: &mut SqliteConnection,
    key: &RequestKey,
    now_ms: i64,
) -> Result<Received, StoreError> {
    let row = sqlx::query(
        "SELECT body, answer FROM requests WHERE space = ? AND key = ? AND until_ms > ?",
    )
    .bind(key.space())
    .bind(key.key())
    .bind(now_ms)
    .fetch_optional(connection)
    .await
    .map_err(StoreError::database("read a request"))?;
    let Some(row) = row else {
        return Ok(Received::New);
    };
    if get::<String>(&row, "body")? == key.body() {
        Ok(Received::Same(get(&row, "answer")?))
    } else {
        Ok(Received::Conflict)
    }
}

/// Keeps the answer to a request that is new.
pub(super) async fn keep(
    connection: &mut SqliteConnection,
    key: &RequestKey,
    answer: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO requests (space, key, body, answer, until_ms) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (space, key) DO UPDATE SET body = excluded.body, answer = excluded.answer,
         until_ms = excluded.until_ms",
    )
    .bind(key.space())
    .bind(key.key())
    .bind(key.body())
    .bind(answer)
    .bind(key.until_ms(now_ms))
    .execute(connection)
    .await
    .map_err(StoreError::database("keep a request"))?;
    Ok(())
}

/// How long events are kept for replays; what is still on its way stays longer.
const KEEP_EVENTS: Duration = Duration::from_hours(30 * 24);

#[async_trait]
impl Requests for SqliteRecords {
    async fn receive(&self, key: &RequestKey) -> Result<Received, StoreError> {
        let connection = self.reader.acquire().await;
        let mut connection = connection.map_err(StoreError::database("read a request"))?;
        look(&mut connection, key, self.now_ms()).await
    }

    async fn keep_answer(&self, key: &RequestKey, answer: &str) -> Result<Received, StoreError> {
        const WHAT: &str = "keep a request";
        let mut transaction = self.write(WHAT).await?;
        let now_ms = self.now_ms();
        let received = look(&mut transaction, key, now_ms).await?;
        if received == Received::New {
            keep(&mut transaction, key, answer, now_ms).await?;
            let committed = transaction.commit().await;
            committed.map_err(StoreError::database(WHAT))?;
        }
        Ok(received)
    }

    async fn prune(&self) -> Result<u64, StoreError> {
        const WHAT: &str = "remove what is kept long enough";
        let mut transaction = self.write(WHAT).await?;
        let mut removed = 0;
        let now_ms = self.now_ms();
        let events_before = now_ms.saturating_sub(millis(KEEP_EVENTS));
        for (sql, before) in [
            ("DELETE FROM requests WHERE until_ms <= ?", now_ms),
            (
                "DELETE FROM remembered_failures WHERE until_ms <= ?",
                now_ms,
            ),
            (
                "DELETE FROM deliveries WHERE state <> 'pending'
                 AND event_id IN (SELECT id FROM events WHERE created_ms <= ?)",
                events_before,
            ),
            (
                "DELETE FROM events WHERE created_ms <= ?
                 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event_id = id)",
                events_before,
            ),
            (
                "DELETE FROM build_callbacks WHERE build_id IN
                 (SELECT id FROM builds WHERE finished_ms <= ?)",
                events_before,
            ),
        ] {
            let done = sqlx::query(sql)
                .bind(before)
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::database(WHAT))?;
            removed += done.rows_affected();
        }
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(WHAT))?;
        Ok(removed)
    }
}
