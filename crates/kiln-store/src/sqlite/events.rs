//! Deliveries of events.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;

use super::SqliteRecords;
use super::convert::get;
use super::outbox::{self, NO_HOOK, Outgoing, columns, deliver_to};
use crate::clock::millis;
use crate::error::StoreError;
use crate::records::Events;
use crate::rows::{
    Callback, Delivery, DeliveryRow, DeliveryState, EventRow, EventType, NewEvent, Replay, Target,
};
use crate::scope::Scope;

const EVENT_COLUMNS: &str = "e.id, e.scope, e.type, e.build_id, e.payload, e.created_ms";

pub(super) fn due_sql() -> String {
    format!(
        "SELECT d.kind, d.target, d.attempt, {EVENT_COLUMNS}
         FROM deliveries d JOIN events e ON e.id = d.event_id
         WHERE d.state = 'pending' AND d.next_ms <= ? ORDER BY d.next_ms, e.id LIMIT ?"
    )
}

fn event(row: &SqliteRow) -> Result<EventRow, StoreError> {
    let unreadable = || StoreError::Row { what: "event" };
    Ok(EventRow {
        id: get(row, "id")?,
        scope: get::<String>(row, "scope")?
            .parse()
            .map_err(|_| unreadable())?,
        kind: get::<String>(row, "type")?
            .parse()
            .map_err(|_| unreadable())?,
        build_id: get(row, "build_id")?,
        payload: get(row, "payload")?,
        created_ms: get(row, "created_ms")?,
    })
}

fn target(row: &SqliteRow) -> Result<Target, StoreError> {
    let target = get(row, "target")?;
    match get::<String>(row, "kind")?.as_str() {
        "hook" => Ok(Target::Hook(target)),
        "url" => Ok(Target::Callback(Callback::Url(target))),
        "subject" => Ok(Target::Callback(Callback::Subject(target))),
        _ => Err(StoreError::Row { what: "delivery" }),
    }
}

fn target_columns(target: &Target) -> (&'static str, &str) {
    match target {
        Target::Hook(id) => ("hook", id),
        Target::Callback(callback) => columns(callback),
    }
}

#[async_trait]
impl Events for SqliteRecords {
    async fn add_event(
        &self,
        scope: &Scope,
        new: &NewEvent,
        callbacks: &[Callback],
        only: Option<&str>,
    ) -> Result<EventRow, StoreError> {
        const WHAT: &str = "write an event";
        self.add_workspace(scope).await?;
        let mut transaction = self.write(WHAT).await?;
        let created_ms = self.now_ms();
        // The callbacks of the build itself had their events when they happened.
        let outgoing = Outgoing {
            scope,
            kind: new.kind,
            build_id: None,
            payload: &new.payload,
            only: only.or((new.kind == EventType::Test).then_some(NO_HOOK)),
        };
        let id = outbox::write(&mut transaction, &outgoing, created_ms).await?;
        sqlx::query("UPDATE events SET build_id = ? WHERE id = ?")
            .bind(&new.build_id)
            .bind(&id)
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::database(WHAT))?;
        deliver_to(&mut transaction, &id, callbacks, created_ms).await?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(WHAT))?;
        Ok(EventRow {
            id,
            scope: scope.clone(),
            kind: new.kind,
            build_id: new.build_id.clone(),
            payload: new.payload.clone(),
            created_ms,
        })
    }

    async fn events(
        &self,
        scope: &Scope,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Vec<EventRow>, StoreError> {
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM events e WHERE scope = ? AND id > ? ORDER BY id LIMIT ?"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(scope.as_str())
            .bind(after.unwrap_or_default())
            .bind(limit)
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::database("list events"))?;
        rows.iter().map(event).collect()
    }

    async fn due_deliveries(
        &self,
        limit: u32,
        hold: Duration,
    ) -> Result<Vec<Delivery>, StoreError> {
        const WHAT: &str = "take deliveries";
        let mut transaction = self.write(WHAT).await?;
        let now_ms = self.now_ms();
        let rows = sqlx::query(AssertSqlSafe(due_sql()))
            .bind(now_ms)
            .bind(limit)
            .fetch_all(&mut *transaction)
            .await
            .map_err(StoreError::database(WHAT))?;
        let mut taken = Vec::with_capacity(rows.len());
        for row in &rows {
            let delivery = Delivery {
                event: event(row)?,
                target: target(row)?,
                attempt: get::<i64>(row, "attempt")? + 1,
            };
            let (kind, target) = target_columns(&delivery.target);
            sqlx::query(
                "UPDATE deliveries SET attempt = ?, next_ms = ?
                 WHERE event_id = ? AND kind = ? AND target = ?",
            )
            .bind(delivery.attempt)
            .bind(now_ms.saturating_add(millis(hold)))
            .bind(&delivery.event.id)
            .bind(kind)
            .bind(target)
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::database(WHAT))?;
            taken.push(delivery);
        }
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(WHAT))?;
        Ok(taken)
    }

    async fn next_delivery(&self) -> Result<Option<Duration>, StoreError> {
        let next: Option<i64> =
            sqlx::query_scalar("SELECT min(next_ms) FROM deliveries WHERE state = 'pending'")
                .fetch_one(&self.reader)
                .await
                .map_err(StoreError::database("read deliveries"))?;
        let until = |next: i64| u64::try_from(next.saturating_sub(self.now_ms())).unwrap_or(0);
        Ok(next.map(|next| Duration::from_millis(until(next))))
    }

    async fn delivery_done(&self, event_id: &str, target: &Target) -> Result<(), StoreError> {
        let (kind, target) = target_columns(target);
        sqlx::query(
            "UPDATE deliveries SET state = 'done', last_error = NULL
             WHERE event_id = ? AND kind = ? AND target = ?",
        )
        .bind(event_id)
        .bind(kind)
        .bind(target)
        .execute(&self.writer)
        .await
        .map_err(StoreError::database("end a delivery"))?;
        Ok(())
    }

    async fn delivery_failed(
        &self,
        delivery: &Delivery,
        again: Option<Duration>,
        error: &str,
    ) -> Result<bool, StoreError> {
        let (kind, target) = target_columns(&delivery.target);
        let state = again.map_or(DeliveryState::Dead, |_| DeliveryState::Pending);
        let next_ms = again.map(|delay| self.now_ms().saturating_add(millis(delay)));
        let done = sqlx::query(
            "UPDATE deliveries SET state = ?, next_ms = coalesce(?, next_ms), last_error = ?
             WHERE event_id = ? AND kind = ? AND target = ? AND attempt = ? AND state = 'pending'",
        )
        .bind(state.as_str())
        .bind(next_ms)
        .bind(error)
        .bind(&delivery.event.id)
        .bind(kind)
        .bind(target)
        .bind(delivery.attempt)
        .execute(&self.writer)
        .await
        .map_err(StoreError::database("put a delivery off"))?;
        Ok(done.rows_affected() == 1)
    }

    async fn deliveries(&self, event_id: &str) -> Result<Vec<DeliveryRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT kind, target, state, attempt, next_ms, last_error FROM deliveries
             WHERE event_id = ? ORDER BY kind, target",
        )
        .bind(event_id)
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::database("read deliveries"))?;
        let row = |row| {
            Ok(DeliveryRow {
                event_id: event_id.to_owned(),
                target: target(row)?,
                state: DeliveryState::parse(&get::<String>(row, "state")?)?,
                attempt: get(row, "attempt")?,
                next_ms: get(row, "next_ms")?,
                last_error: get(row, "last_error")?,
            })
        };
        rows.iter().map(row).collect()
    }

    async fn replay(
        &self,
        scope: &Scope,
        what: &Replay,
        hook: Option<&str>,
    ) -> Result<u64, StoreError> {
        const WHAT: &str = "replay events";
        let (condition, id, since) = match what {
            Replay::Event(id) => ("e.id = ?2", id.as_str(), 0),
            Replay::Since(ms) => ("e.created_ms >= ?3", "", *ms),
        };
        let new = format!(
            "INSERT INTO deliveries (event_id, kind, target, attempt, next_ms, state)
             SELECT e.id, 'hook', h.id, 0, ?4, 'pending' FROM events e JOIN hooks h ON h.scope = e.scope
             WHERE e.scope = ?1 AND {condition} AND h.disabled IS NULL
               AND (h.id = ?5 OR ?5 IS NULL AND e.type <> 'test'
                    AND (h.types = '' OR instr(h.types, ',' || e.type || ',') > 0))
             ON CONFLICT (event_id, kind, target)
             DO UPDATE SET state = 'pending', attempt = 0, next_ms = excluded.next_ms"
        );
        let callbacks = format!(
            "UPDATE deliveries SET state = 'pending', attempt = 0, next_ms = ?4
             WHERE kind <> 'hook' AND ?5 IS NULL AND event_id IN
                 (SELECT e.id FROM events e WHERE e.scope = ?1 AND {condition})"
        );
        let mut transaction = self.write(WHAT).await?;
        let mut due = 0;
        for sql in [new, callbacks] {
            let done = sqlx::query(AssertSqlSafe(sql))
                .bind(scope.as_str())
                .bind(id)
                .bind(since)
                .bind(self.now_ms())
                .bind(hook)
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::database(WHAT))?;
            due += done.rows_affected();
        }
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(WHAT))?;
        Ok(due)
    }
}
