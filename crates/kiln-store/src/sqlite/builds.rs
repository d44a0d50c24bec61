//! Builds and their transitions: each is one conditional UPDATE on (id, fence, state).

use async_trait::async_trait;
use kiln_spec::SpecHash;
use sqlx::{AssertSqlSafe, SqliteConnection, SqliteExecutor};

use super::SqliteRecords;
use super::convert::{self, BUILD_COLUMNS, get};
use super::finish::{Ending, end};
use super::{failures, generations, outbox, queue, requests};
use crate::error::StoreError;
use crate::records::Builds;
use crate::rows::{BuildRow, EventType, Finish, NewBuild, NewImage, Received, Remember, Started};
use crate::scope::Scope;

/// The condition of a build that is not over.
pub(super) const ACTIVE: &str = "state NOT IN ('READY', 'FAILED', 'CANCELLED')";
/// The states of a build that is not over, in their order.
const PHASES: [&str; 4] = ["QUEUED", "RESOLVING", "BUILDING", "PUSHING"];

const BEGIN: &str = "begin a build";
const MOVE: &str = "move a build on";
const END: &str = "end a build";

/// Keeps a definition and its workspace; another text under the same hash is a fault that must not
/// pass.
pub(super) async fn define(
    connection: &mut SqliteConnection,
    scope: &Scope,
    spec_hash: &SpecHash,
    canonical: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    add_workspace(&mut *connection, scope, now_ms).await?;
    sqlx::query(
        "INSERT INTO definitions (scope, spec_hash, canonical, created_ms) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(scope.as_str())
    .bind(spec_hash.to_hex())
    .bind(canonical)
    .bind(now_ms)
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
    now_ms: i64,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO workspaces (scope, created_ms) VALUES (?, ?) ON CONFLICT DO NOTHING")
        .bind(scope.as_str())
        .bind(now_ms)
        .execute(connection)
        .await
        .map_err(StoreError::database("add a workspace"))?;
    Ok(())
}

pub(super) fn active_sql() -> String {
    format!("SELECT {BUILD_COLUMNS} FROM builds WHERE scope = ? AND spec_hash = ? AND {ACTIVE}")
}

async fn active(
    connection: &mut SqliteConnection,
    scope: &Scope,
    spec_hash: &SpecHash,
) -> Result<Option<BuildRow>, StoreError> {
    let row = sqlx::query(AssertSqlSafe(active_sql()))
        .bind(scope.as_str())
        .bind(spec_hash.to_hex())
        .fetch_optional(connection)
        .await
        .map_err(StoreError::database("read a build"))?;
    row.as_ref().map(convert::build).transpose()
}

/// Whether too many builds wait for one more to be accepted.
async fn full(
    connection: &mut SqliteConnection,
    scope: &Scope,
    new: &NewBuild,
) -> Result<Option<Started>, StoreError> {
    let bounds = [
        (new.terms.scope_bound, Some(scope.as_str())),
        (new.terms.queue_bound, None),
    ];
    for (bound, scope) in bounds {
        let Some(bound) = bound else { continue };
        let queued = queue::waiting(connection, scope).await?;
        if queued >= bound {
            let in_scope = scope.is_some();
            return Ok(Some(Started::Full { queued, in_scope }));
        }
    }
    Ok(None)
}

async fn insert(
    connection: &mut SqliteConnection,
    scope: &Scope,
    spec_hash: &SpecHash,
    new: &NewBuild,
    now_ms: i64,
) -> Result<BuildRow, StoreError> {
    let sql = format!(
        "INSERT INTO builds (id, scope, spec_hash, state, fence, attempt, repository, backend, refresh,
         actor, via, created_ms) VALUES (?, ?, ?, 'QUEUED', 1, 1, ?, ?, ?, ?, ?, ?)
         RETURNING {BUILD_COLUMNS}"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(uuid::Uuid::now_v7().to_string())
        .bind(scope.as_str())
        .bind(spec_hash.to_hex())
        .bind(&new.repository)
        .bind(&new.backend)
        .bind(new.refresh)
        .bind(&new.actor)
        .bind(&new.via)
        .bind(now_ms)
        .fetch_one(connection)
        .await
        .map_err(StoreError::database(BEGIN))?;
    convert::build(&row)
}

/// Notes that a worker began with a build; false when one had before.
async fn mark_started(
    connection: &mut SqliteConnection,
    id: &str,
    now_ms: i64,
) -> Result<bool, StoreError> {
    let done = sqlx::query("UPDATE builds SET started_ms = ? WHERE id = ? AND started_ms IS NULL")
        .bind(now_ms)
        .bind(id)
        .execute(connection)
        .await
        .map_err(StoreError::database(MOVE))?;
    Ok(done.rows_affected() == 1)
}

#[async_trait]
impl Builds for SqliteRecords {
    async fn begin_build(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        new: &NewBuild,
    ) -> Result<Started, StoreError> {
        let mut transaction = self.write(BEGIN).await?;
        let now_ms = self.now_ms();
        if let Some(key) = &new.terms.request {
            match requests::look(&mut transaction, key, now_ms).await? {
                Received::New => {}
                Received::Same(answer) => return Ok(Started::Repeated(answer)),
                Received::Conflict => return Ok(Started::Conflict),
            }
        }
        define(&mut transaction, scope, spec_hash, &new.canonical, now_ms).await?;
        let started = if let Some(row) = active(&mut transaction, scope, spec_hash).await? {
            Started::Joined(row)
        } else {
            if let Some(full) = full(&mut transaction, scope, new).await? {
                return Ok(full);
            }
            Started::New(insert(&mut transaction, scope, spec_hash, new, now_ms).await?)
        };
        if let Started::New(row) | Started::Joined(row) = &started {
            outbox::attach(&mut transaction, &row.id, &new.terms.callbacks).await?;
            if let Some(key) = &new.terms.request {
                requests::keep(&mut transaction, key, &row.id, now_ms).await?;
            }
        }
        if let Started::New(row) = &started {
            outbox::of_build(&mut transaction, EventType::Queued, row, now_ms).await?;
        }
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(BEGIN))?;
        Ok(started)
    }

    async fn build(&self, id: &str) -> Result<Option<BuildRow>, StoreError> {
        let sql = format!("SELECT {BUILD_COLUMNS} FROM builds WHERE id = ?");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(id)
            .fetch_optional(&self.reader)
            .await
            .map_err(StoreError::database("read a build"))?;
        row.as_ref().map(convert::build).transpose()
    }

    async fn list_builds(
        &self,
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
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::database("list builds"))?;
        rows.iter().map(convert::build).collect()
    }

    async fn unfinished_builds(&self) -> Result<Vec<(BuildRow, String)>, StoreError> {
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
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::database("list unfinished builds"))?;
        rows.iter()
            .map(|row| Ok((convert::build(row)?, get(row, "canonical")?)))
            .collect()
    }

    async fn advance(&self, id: &str, fence: i64, state: &str) -> Result<bool, StoreError> {
        let position = PHASES.iter().position(|phase| *phase == state);
        let position = position.ok_or_else(|| StoreError::State(state.to_owned()))?;
        let before = PHASES[..=position].join("', '");
        let sql = format!(
            "UPDATE builds SET state = ? WHERE id = ? AND fence = ? AND state IN ('{before}')
             RETURNING {BUILD_COLUMNS}"
        );
        let mut transaction = self.write(MOVE).await?;
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(state)
            .bind(id)
            .bind(fence)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(StoreError::database(MOVE))?;
        let Some(row) = row else { return Ok(false) };
        let now_ms = self.now_ms();
        if position > 0 && mark_started(&mut transaction, id, now_ms).await? {
            let build = convert::build(&row)?;
            outbox::of_build(&mut transaction, EventType::Started, &build, now_ms).await?;
        }
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(MOVE))?;
        Ok(true)
    }

    async fn finish_ready(
        &self,
        id: &str,
        fence: i64,
        image: &NewImage,
    ) -> Result<Finish, StoreError> {
        let mut transaction = self.write(END).await?;
        let now_ms = self.now_ms();
        let Some(row) = generations::make_ready(&mut transaction, id, fence, image, now_ms).await?
        else {
            return Ok(Finish::Stale);
        };
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(END))?;
        Ok(Finish::Done(row))
    }

    async fn finish_failed(
        &self,
        id: &str,
        fence: i64,
        state: &str,
        failure_json: &str,
        remember: Option<Remember>,
    ) -> Result<bool, StoreError> {
        if !["FAILED", "CANCELLED"].contains(&state) {
            return Err(StoreError::State(state.to_owned()));
        }
        let ending = Ending {
            state,
            failure_json: Some(failure_json),
            image: None,
        };
        let mut transaction = self.write(END).await?;
        let now_ms = self.now_ms();
        let Some(row) = end(&mut transaction, id, fence, &ending, now_ms).await? else {
            return Ok(false);
        };
        if let Some(remember) = remember {
            let hash = row.spec_hash.to_hex();
            let place = (row.scope.as_str(), hash.as_str(), id);
            failures::remember(&mut transaction, place, failure_json, &remember, now_ms).await?;
        }
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(END))?;
        Ok(true)
    }
}
