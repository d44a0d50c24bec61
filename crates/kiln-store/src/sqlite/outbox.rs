//! Events, written with what they tell and with a delivery for everyone who is to have them.

use sqlx::SqliteConnection;

use crate::error::StoreError;
use crate::rows::{BuildRow, Callback, EventType};
use crate::scope::Scope;

const WHAT: &str = "write an event";

/// An event as it is written.
pub(super) struct Outgoing<'a> {
    pub(super) scope: &'a Scope,
    pub(super) kind: EventType,
    pub(super) build_id: Option<&'a str>,
    pub(super) payload: &'a str,
    /// The one hook it goes to; none is all that want it, and the build's callbacks.
    pub(super) only: Option<&'a str>,
}

/// The hook that does not exist.
pub(super) const NO_HOOK: &str = "";

/// A callback's columns.
pub(super) fn columns(callback: &Callback) -> (&'static str, &str) {
    match callback {
        Callback::Url(url) => ("url", url),
        Callback::Subject(subject) => ("subject", subject),
    }
}

/// Attaches receivers to a build; ones it has already stay.
pub(super) async fn attach(
    connection: &mut SqliteConnection,
    build_id: &str,
    callbacks: &[Callback],
) -> Result<(), StoreError> {
    for callback in callbacks {
        let (kind, target) = columns(callback);
        sqlx::query(
            "INSERT INTO build_callbacks (build_id, kind, target) VALUES (?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(build_id)
        .bind(kind)
        .bind(target)
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("keep a callback"))?;
    }
    Ok(())
}

/// Writes an event and its deliveries, due at once; answers its id.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    event: &Outgoing<'_>,
    now_ms: i64,
) -> Result<String, StoreError> {
    let id = uuid::Uuid::now_v7().to_string();
    sqlx::query(
        "INSERT INTO events (id, scope, type, build_id, payload, created_ms) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&id)
    .bind(event.scope.as_str())
    .bind(event.kind.as_str())
    .bind(event.build_id)
    .bind(event.payload)
    .bind(now_ms)
    .execute(&mut *connection)
    .await
    .map_err(StoreError::database(WHAT))?;
    sqlx::query(
        "INSERT INTO deliveries (event_id, kind, target, attempt, next_ms, state)
         SELECT ?1, 'hook', id, 0, ?2, 'pending' FROM hooks
         WHERE scope = ?3 AND disabled IS NULL
           AND CASE WHEN ?4 IS NOT NULL THEN id = ?4
                    ELSE ?5 <> 'test' AND (types = '' OR instr(types, ',' || ?5 || ',') > 0) END
         UNION ALL
         SELECT ?1, kind, target, 0, ?2, 'pending' FROM build_callbacks
         WHERE build_id = ?6 AND ?4 IS NULL",
    )
    .bind(&id)
    .bind(now_ms)
    .bind(event.scope.as_str())
    .bind(event.only)
    .bind(event.kind.as_str())
    .bind(event.build_id)
    .execute(connection)
    .await
    .map_err(StoreError::database(WHAT))?;
    Ok(id)
}

/// Makes an event due at these receivers, beside those it goes to anyway.
pub(super) async fn deliver_to(
    connection: &mut SqliteConnection,
    event_id: &str,
    callbacks: &[Callback],
    now_ms: i64,
) -> Result<(), StoreError> {
    for callback in callbacks {
        let (kind, target) = columns(callback);
        sqlx::query(
            "INSERT INTO deliveries (event_id, kind, target, attempt, next_ms, state)
             VALUES (?, ?, ?, 0, ?, 'pending') ON CONFLICT DO NOTHING",
        )
        .bind(event_id)
        .bind(kind)
        .bind(target)
        .bind(now_ms)
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database(WHAT))?;
    }
    Ok(())
}

/// Writes what happened to a build, as its row is now.
pub(super) async fn of_build(
    connection: &mut SqliteConnection,
    kind: EventType,
    build: &BuildRow,
    now_ms: i64,
) -> Result<(), StoreError> {
    let payload = payload(build);
    let event = Outgoing {
        scope: &build.scope,
        kind,
        build_id: Some(&build.id),
        payload: &payload,
        only: None,
    };
    write(connection, &event, now_ms).await.map(drop)
}

/// A build's row as events tell it.
pub(super) fn payload(build: &BuildRow) -> String {
    let image = build
        .digest
        .map(|digest| format!("{}@{digest}", build.repository));
    let error = build.failure_json.as_deref().filter(|_| build.is_over());
    let error: Option<serde_json::Value> = error.and_then(|json| serde_json::from_str(json).ok());
    let payload = serde_json::json!({
        "build_id": build.id,
        "workspace": build.scope.as_str(),
        "name": build.spec_hash.image_name(),
        "spec_hash": build.spec_hash.to_hex(),
        "state": build.state,
        "backend": build.backend,
        "attempt": build.attempt,
        "image": image,
        "generation": build.generation,
        "error": error,
    });
    payload.to_string()
}
