//! Which build is claimed next, and what a claim changes.

use std::time::Duration;

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::SqliteRecords;
use super::builds::ACTIVE;
use super::convert::{self, BUILD_COLUMNS, get};
use super::failures::{self, ANY_SETTINGS};
use super::finish::{Ending, end};
use crate::clock::Moment;
use crate::error::StoreError;
use crate::rows::{BuildRow, ClaimedBuild, Remember};

/// The crash at which a build is claimed no more.
const CRASHES: i64 = 3;

/// The condition of a build whose lease is over: `?1` is this boot, `?2` the moment.
const LAPSED: &str = "(lease_boot IS NOT ?1 OR lease_until <= ?2)";
/// The condition of a build that need not wait: `?1` is this boot, `?2` the moment.
const DUE: &str = "(due_boot IS NULL OR due_boot <> ?1 OR due_at <= ?2)";

/// The next build to claim.
pub(super) fn next_sql() -> [String; 2] {
    let lapsed = format!(
        "SELECT id FROM builds WHERE lease_owner IS NOT NULL AND {LAPSED} ORDER BY id LIMIT 1"
    );
    let waiting = format!(
        "SELECT next FROM (
             SELECT w.served,
                 (SELECT count(*) FROM builds b
                  WHERE b.scope = w.scope AND b.lease_owner IS NOT NULL) AS held,
                 (SELECT b.id FROM builds b INDEXED BY builds_waiting
                  WHERE b.scope = w.scope AND b.lease_owner IS NULL AND b.{ACTIVE} AND {DUE}
                  ORDER BY b.id LIMIT 1) AS next
             FROM workspaces w)
         WHERE next IS NOT NULL ORDER BY held, served, next LIMIT 1"
    );
    [lapsed, waiting]
}

pub(super) async fn next(
    connection: &mut SqliteConnection,
    now: &Moment,
) -> Result<Option<String>, StoreError> {
    for sql in next_sql() {
        let id: Option<String> = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(&now.boot)
            .bind(now.ms)
            .fetch_optional(&mut *connection)
            .await
            .map_err(StoreError::database("find a build to claim"))?;
        if id.is_some() {
            return Ok(id);
        }
    }
    Ok(None)
}

/// The failure of a build that crashed kiln too often, in the form of the API's failures.
fn quarantine(build: &BuildRow) -> String {
    let message = format!(
        "quarantined: kiln crashed {} times while it worked on the build {}",
        build.crashes, build.id
    );
    serde_json::json!({
        "class": "internal",
        "message": message,
        "remedy": "see kiln's own log for what ended it, then ask again with `retry`",
        "retryable": false,
    })
    .to_string()
}

impl SqliteRecords {
    /// Claims one build in a transaction, or ends it where it crashed too often.
    pub(super) async fn take(
        &self,
        connection: &mut SqliteConnection,
        id: &str,
        worker: &str,
        lease: Duration,
    ) -> Result<Taken, StoreError> {
        let failed = StoreError::database("claim a build");
        let now = self.moment();
        let sql = format!(
            "UPDATE builds SET state = 'QUEUED', fence = fence + 1,
                 attempt = attempt + (lease_owner IS NOT NULL AND state <> 'QUEUED'),
                 crashes = crashes + (lease_owner IS NOT NULL AND state <> 'QUEUED'),
                 lease_owner = ?4, lease_boot = ?1, lease_until = ?5, due_boot = NULL, due_at = NULL,
                 began_at = CASE WHEN began_boot = ?1 THEN began_at ELSE ?2 END, began_boot = ?1
             WHERE id = ?3 AND {ACTIVE} AND (lease_owner IS NULL OR {LAPSED}) AND {DUE}
             RETURNING {BUILD_COLUMNS}, began_at, pushed"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(&now.boot)
            .bind(now.ms)
            .bind(id)
            .bind(worker)
            .bind(now.ms_after(lease))
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed)?;
        let Some(row) = row else {
            return Ok(Taken::No);
        };
        let build = convert::build(&row)?;
        if build.crashes >= CRASHES {
            self.quarantine(connection, &build).await?;
            return Ok(Taken::Quarantined);
        }
        let spent = now.ms.saturating_sub(get::<i64>(&row, "began_at")?);
        let pushed: Option<String> = get(&row, "pushed")?;
        let scope = build.scope.as_str();
        sqlx::query(
            "UPDATE workspaces SET served = (SELECT max(served) + 1 FROM workspaces) WHERE scope = ?",
        )
        .bind(scope)
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("claim a build"))?;
        let canonical = sqlx::query_scalar(
            "SELECT canonical FROM definitions WHERE scope = ? AND spec_hash = ?",
        )
        .bind(scope)
        .bind(build.spec_hash.to_hex())
        .fetch_one(&mut *connection)
        .await
        .map_err(StoreError::database("claim a build"))?;
        Ok(Taken::Yes(Box::new(ClaimedBuild {
            build,
            canonical,
            spent: Duration::from_millis(u64::try_from(spent).unwrap_or(0)),
            // One of an older form is built once more.
            pushed: pushed.and_then(|json| serde_json::from_str(&json).ok()),
        })))
    }

    async fn quarantine(
        &self,
        connection: &mut SqliteConnection,
        build: &BuildRow,
    ) -> Result<(), StoreError> {
        tracing::error!(
            build.id = %build.id,
            scope = %build.scope,
            spec_hash = %build.spec_hash.to_hex(),
            "a build is quarantined: kiln crashed {} times while it worked on it",
            build.crashes
        );
        let failure_json = quarantine(build);
        let ending = Ending {
            state: "FAILED",
            failure_json: Some(&failure_json),
            image: None,
        };
        end(connection, &build.id, build.fence, &ending, self.now_ms()).await?;
        let remember = Remember {
            settings: ANY_SETTINGS.to_owned(),
            class: "internal".to_owned(),
            lasts: Duration::MAX,
        };
        let hash = build.spec_hash.to_hex();
        let place = (build.scope.as_str(), hash.as_str(), build.id.as_str());
        failures::remember(connection, place, &failure_json, &remember, self.now_ms()).await
    }
}

/// What came of a build to claim.
pub(super) enum Taken {
    Yes(Box<ClaimedBuild>),
    /// Another worker has it, it is not due or over.
    No,
    /// It ended instead.
    Quarantined,
}
