//! Requests that may come more than once.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::convert::{self, BUILD_COLUMNS, get};
use super::outbox::{self, Outgoing};
use super::{SqliteRecords, collection};
use crate::clock::millis;
use crate::error::StoreError;
use crate::records::Requests;
use crate::rows::{Answer, NewEvent, Received, RequestKey, end_of};
use crate::scope::Scope;

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

/// Lets an answer's receivers hear the end: now, or with the others of the build that runs.
async fn tell(
    connection: &mut SqliteConnection,
    scope: &Scope,
    answer: &Answer,
    now_ms: i64,
) -> Result<(), StoreError> {
    let of_row;
    let event = if let Some(event) = &answer.known {
        event
    } else {
        let Some(id) = &answer.build_id else {
            return Ok(());
        };
        let sql = format!("SELECT {BUILD_COLUMNS} FROM builds WHERE id = ?");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(id)
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::database("read a build"))?;
        let build = convert::build(&row)?;
        let Some(kind) = end_of(&build.state) else {
            return outbox::attach(connection, id, &answer.callbacks).await;
        };
        of_row = NewEvent {
            kind,
            build_id: Some(build.id.clone()),
            payload: outbox::payload(&build),
        };
        &of_row
    };
    let outgoing = Outgoing {
        scope,
        kind: event.kind,
        build_id: event.build_id.as_deref(),
        payload: &event.payload,
        only: Some(outbox::NO_HOOK),
    };
    let id = outbox::write(connection, &outgoing, now_ms).await?;
    outbox::deliver_to(connection, &id, &answer.callbacks, now_ms).await
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

    async fn answer(&self, scope: &Scope, answer: &Answer) -> Result<Received, StoreError> {
        const WHAT: &str = "keep an answer";
        let mut transaction = self.write(WHAT).await?;
        let now_ms = self.now_ms();
        if let Some(key) = &answer.request {
            let received = look(&mut transaction, key, now_ms).await?;
            if received != Received::New {
                return Ok(received);
            }
            if let Some(id) = &answer.build_id {
                keep(&mut transaction, key, id, now_ms).await?;
            }
        }
        if !answer.callbacks.is_empty() {
            tell(&mut transaction, scope, answer, now_ms).await?;
        }
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(WHAT))?;
        Ok(Received::New)
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
        let done = sqlx::query(AssertSqlSafe(collection::drop_holds_sql()))
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::database(WHAT))?;
        removed += done.rows_affected();
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(WHAT))?;
        Ok(removed)
    }
}
