//! Remembered failures.

use async_trait::async_trait;
use kiln_spec::SpecHash;
use sqlx::{SqliteConnection, SqliteExecutor};

use super::SqliteRecords;
use super::convert::get;
use crate::clock::millis;
use crate::error::StoreError;
use crate::records::Failures;
use crate::rows::{Remember, RememberedFailure};
use crate::scope::Scope;

/// The settings of a failure that is remembered whatever the settings.
pub(super) const ANY_SETTINGS: &str = "*";

/// Remembers why a build failed, by the rows' own words for scope and hash.
pub(super) async fn remember(
    connection: &mut SqliteConnection,
    (scope, spec_hash, build_id): (&str, &str, &str),
    failure_json: &str,
    remember: &Remember,
    now_ms: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO remembered_failures
         (scope, spec_hash, settings, class, failure_json, build_id, until_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (scope, spec_hash, settings) DO UPDATE SET class = excluded.class,
         failure_json = excluded.failure_json, build_id = excluded.build_id, until_ms = excluded.until_ms",
    )
    .bind(scope)
    .bind(spec_hash)
    .bind(&remember.settings)
    .bind(&remember.class)
    .bind(failure_json)
    .bind(build_id)
    .bind(now_ms.saturating_add(millis(remember.lasts)))
    .execute(connection)
    .await
    .map_err(StoreError::database("remember a failure"))?;
    Ok(())
}

/// Forgets all of a definition's.
pub(super) async fn forget(
    executor: impl SqliteExecutor<'_>,
    scope: &Scope,
    spec_hash: &SpecHash,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM remembered_failures WHERE scope = ? AND spec_hash = ?")
        .bind(scope.as_str())
        .bind(spec_hash.to_hex())
        .execute(executor)
        .await
        .map_err(StoreError::database("forget a failure"))?;
    Ok(())
}

#[async_trait]
impl Failures for SqliteRecords {
    async fn remembered_failure(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        settings: &str,
    ) -> Result<Option<RememberedFailure>, StoreError> {
        let row = sqlx::query(
            "SELECT failure_json, class, build_id, until_ms FROM remembered_failures
             WHERE scope = ? AND spec_hash = ? AND settings IN (?, ?) AND until_ms > ?
             ORDER BY until_ms DESC LIMIT 1",
        )
        .bind(scope.as_str())
        .bind(spec_hash.to_hex())
        .bind(settings)
        .bind(ANY_SETTINGS)
        .bind(self.now_ms())
        .fetch_optional(&self.reader)
        .await
        .map_err(StoreError::database("read a remembered failure"))?;
        row.map(|row| {
            Ok(RememberedFailure {
                failure_json: get(&row, "failure_json")?,
                class: get(&row, "class")?,
                build_id: get(&row, "build_id")?,
                until_ms: get(&row, "until_ms")?,
            })
        })
        .transpose()
    }

    async fn forget_failure(&self, scope: &Scope, spec_hash: &SpecHash) -> Result<(), StoreError> {
        forget(&self.writer, scope, spec_hash).await
    }

    async fn forget_failures_of(&self, scope: &Scope, class: &str) -> Result<u64, StoreError> {
        let done = sqlx::query("DELETE FROM remembered_failures WHERE scope = ? AND class = ?")
            .bind(scope.as_str())
            .bind(class)
            .execute(&self.writer)
            .await
            .map_err(StoreError::database("forget failures"))?;
        Ok(done.rows_affected())
    }
}
