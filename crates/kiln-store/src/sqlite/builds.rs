//! Builds and their transitions: each is one conditional UPDATE on (id, fence, state).

use std::time::Duration;

use kiln_spec::SpecHash;
use sqlx::{AssertSqlSafe, SqliteConnection, SqliteExecutor};

use super::SqliteRecords;
use super::convert::{self, BUILD_COLUMNS, get as column, now_ms};
use crate::error::StoreError;
use crate::rows::{BuildRow, NewBuild, RememberedFailure, Started};
use crate::scope::Scope;

const ACTIVE: &str = "state NOT IN ('READY', 'FAILED', 'CANCELLED')";
/// The states of a build that is not over, in their order.
const PHASES: [&str; 4] = ["QUEUED", "RESOLVING", "BUILDING", "PUSHING"];

pub(super) async fn begin(
    records: &SqliteRecords,
    scope: &Scope,
    spec_hash: &SpecHash,
    new: &NewBuild,
) -> Result<Started, StoreError> {
    let failed = StoreError::database;
    let mut transaction = records
        .writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed("begin a build"))?;
    define(&mut transaction, scope, spec_hash, &new.canonical).await?;
    if let Some(active) = active(&mut transaction, scope, spec_hash).await? {
        return Ok(Started::Joined(active));
    }
    let id = uuid::Uuid::now_v7().to_string();
    sqlx::query(
        "INSERT INTO builds (id, scope, spec_hash, state, fence, attempt, repository, backend, refresh,
         actor, via, created_ms) VALUES (?, ?, ?, 'QUEUED', 1, 1, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&id)
    .bind(scope.as_str())
    .bind(spec_hash.to_hex())
    .bind(&new.repository)
    .bind(&new.backend)
    .bind(new.refresh)
    .bind(&new.actor)
    .bind(&new.via)
    .bind(now_ms())
    .execute(&mut *transaction)
    .await
    .map_err(failed("begin a build"))?;
    let row = active(&mut transaction, scope, spec_hash).await?;
    transaction
        .commit()
        .await
        .map_err(failed("begin a build"))?;
    row.map(Started::New)
        .ok_or(StoreError::Row { what: "build" })
}

/// Keeps a definition and its workspace; another text under the same hash is a fault that must not
/// pass.
pub(super) async fn define(
    connection: &mut SqliteConnection,
    scope: &Scope,
    spec_hash: &SpecHash,
    canonical: &str,
) -> Result<(), StoreError> {
    add_workspace(&mut *connection, scope).await?;
    sqlx::query(
        "INSERT INTO definitions (scope, spec_hash, canonical, created_ms) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(scope.as_str())
    .bind(spec_hash.to_hex())
    .bind(canonical)
    .bind(now_ms())
    .execute(&mut *connection)
    .await
    .map_err(StoreError::database("keep a definition"))?;
    let stored: String =
        sqlx::query_scalar("SELECT canonical FROM definitions WHERE scope = ? AND spec_hash = ?")
            .bind(scope.as_str())
            .bind(spec_hash.to_hex())
            .fetch_one(connection)
            .await
            .map_err(StoreError::database("read a definition"))?;
    if stored == canonical {
        return Ok(());
    }
    Err(StoreError::Integrity(format!(
        "two definitions have the hash {spec_hash}"
    )))
}

/// Makes a workspace known; one that is known already stays as it is.
pub(super) async fn add_workspace(
    connection: impl SqliteExecutor<'_>,
    scope: &Scope,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO workspaces (scope, created_ms) VALUES (?, ?) ON CONFLICT DO NOTHING")
        .bind(scope.as_str())
        .bind(now_ms())
        .execute(connection)
        .await
        .map_err(StoreError::database("add a workspace"))?;
    Ok(())
}

async fn active(
    connection: &mut SqliteConnection,
    scope: &Scope,
    spec_hash: &SpecHash,
) -> Result<Option<BuildRow>, StoreError> {
    let sql = format!(
        "SELECT {BUILD_COLUMNS} FROM builds WHERE scope = ? AND spec_hash = ? AND {ACTIVE}"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(scope.as_str())
        .bind(spec_hash.to_hex())
        .fetch_optional(connection)
        .await
        .map_err(StoreError::database("read a build"))?;
    row.as_ref().map(convert::build).transpose()
}

pub(super) async fn get(records: &SqliteRecords, id: &str) -> Result<Option<BuildRow>, StoreError> {
    let sql = format!("SELECT {BUILD_COLUMNS} FROM builds WHERE id = ?");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(id)
        .fetch_optional(&records.reader)
        .await
        .map_err(StoreError::database("read a build"))?;
    row.as_ref().map(convert::build).transpose()
}

pub(super) async fn list(
    records: &SqliteRecords,
    scope: &Scope,
    limit: u32,
    before: Option<&str>,
) -> Result<Vec<BuildRow>, StoreError> {
    let sql = format!(
        "SELECT {BUILD_COLUMNS} FROM builds WHERE scope = ?1 AND (?2 IS NULL OR id < ?2)
         ORDER BY id DESC LIMIT ?3"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(scope.as_str())
        .bind(before)
        .bind(limit)
        .fetch_all(&records.reader)
        .await
        .map_err(StoreError::database("list builds"))?;
    rows.iter().map(convert::build).collect()
}

pub(super) async fn unfinished(
    records: &SqliteRecords,
) -> Result<Vec<(BuildRow, String)>, StoreError> {
    let columns = BUILD_COLUMNS
        .split(", ")
        .map(|c| format!("b.{c}"))
        .collect::<Vec<_>>()
        .join(", ");
    let sql = format!(
        "SELECT {columns}, d.canonical FROM builds b
         JOIN definitions d ON d.scope = b.scope AND d.spec_hash = b.spec_hash
         WHERE b.{ACTIVE} ORDER BY b.id"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .fetch_all(&records.reader)
        .await
        .map_err(StoreError::database("list unfinished builds"))?;
    rows.iter()
        .map(|row| Ok((convert::build(row)?, column(row, "canonical")?)))
        .collect()
}

pub(super) async fn take_over(
    records: &SqliteRecords,
    id: &str,
) -> Result<Option<BuildRow>, StoreError> {
    let sql = format!(
        "UPDATE builds SET state = 'QUEUED', fence = fence + 1, attempt = attempt + 1
         WHERE id = ? AND {ACTIVE} RETURNING {BUILD_COLUMNS}"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(id)
        .fetch_optional(&records.writer)
        .await
        .map_err(StoreError::database("take a build over"))?;
    row.as_ref().map(convert::build).transpose()
}

pub(super) async fn advance(
    records: &SqliteRecords,
    id: &str,
    fence: i64,
    state: &str,
) -> Result<bool, StoreError> {
    let position = PHASES.iter().position(|phase| *phase == state);
    let position = position.ok_or_else(|| StoreError::State(state.to_owned()))?;
    let before = PHASES[..=position].join("', '");
    let sql =
        format!("UPDATE builds SET state = ? WHERE id = ? AND fence = ? AND state IN ('{before}')");
    let done = sqlx::query(AssertSqlSafe(sql))
        .bind(state)
        .bind(id)
        .bind(fence)
        .execute(&records.writer)
        .await
        .map_err(StoreError::database("move a build on"))?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn finish_failed(
    records: &SqliteRecords,
    id: &str,
    fence: i64,
    state: &str,
    failure_json: &str,
    remember: Option<(String, Duration)>,
) -> Result<bool, StoreError> {
    if !["FAILED", "CANCELLED"].contains(&state) {
        return Err(StoreError::State(state.to_owned()));
    }
    let failed = StoreError::database;
    let mut transaction = records
        .writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed("end a build"))?;
    let sql = format!(
        "UPDATE builds SET state = ?, failure_json = ?, finished_ms = ?
         WHERE id = ? AND fence = ? AND {ACTIVE} RETURNING scope, spec_hash"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(state)
        .bind(failure_json)
        .bind(now_ms())
        .bind(id)
        .bind(fence)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed("end a build"))?;
    let Some(row) = row else { return Ok(false) };
    if let Some((settings, duration)) = remember {
        let until =
            now_ms().saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX));
        sqlx::query(
            "INSERT INTO remembered_failures (scope, spec_hash, settings, failure_json, build_id, until_ms)
             VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (scope, spec_hash) DO UPDATE SET settings = excluded.settings,
             failure_json = excluded.failure_json, build_id = excluded.build_id, until_ms = excluded.until_ms",
        )
        .bind(column::<String>(&row, "scope")?)
        .bind(column::<String>(&row, "spec_hash")?)
        .bind(settings)
        .bind(failure_json)
        .bind(id)
        .bind(until)
        .execute(&mut *transaction)
        .await
        .map_err(failed("remember a failure"))?;
    }
    transaction.commit().await.map_err(failed("end a build"))?;
    Ok(true)
}

pub(super) async fn remembered_failure(
    records: &SqliteRecords,
    scope: &Scope,
    spec_hash: &SpecHash,
    settings: &str,
) -> Result<Option<RememberedFailure>, StoreError> {
    let row = sqlx::query(
        "SELECT failure_json, build_id FROM remembered_failures
         WHERE scope = ? AND spec_hash = ? AND settings = ? AND until_ms > ?",
    )
    .bind(scope.as_str())
    .bind(spec_hash.to_hex())
    .bind(settings)
    .bind(now_ms())
    .fetch_optional(&records.reader)
    .await
    .map_err(StoreError::database("read a remembered failure"))?;
    row.map(|row| {
        Ok(RememberedFailure {
            failure_json: column(&row, "failure_json")?,
            build_id: column(&row, "build_id")?,
        })
    })
    .transpose()
}

pub(super) async fn forget_failure(
    records: &SqliteRecords,
    scope: &Scope,
    spec_hash: &SpecHash,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM remembered_failures WHERE scope = ? AND spec_hash = ?")
        .bind(scope.as_str())
        .bind(spec_hash.to_hex())
        .execute(&records.writer)
        .await
        .map_err(StoreError::database("forget a failure"))?;
    Ok(())
}
