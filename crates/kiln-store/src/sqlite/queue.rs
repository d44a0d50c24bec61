//! Leases: who has which build.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::SqliteRecords;
use super::builds::ACTIVE;
use super::convert::{self, BUILD_COLUMNS, get};
use super::failures::{self, ANY_SETTINGS};
use super::finish::{Ending, end};
use crate::clock::Moment;
use crate::error::StoreError;
use crate::records::Queue;
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

async fn next(
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
    async fn take(
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

    /// Gives a build back, for at once or after a failure for later.
    async fn give_back(
        &self,
        id: &str,
        fence: i64,
        retry: Option<(Duration, &str)>,
    ) -> Result<bool, StoreError> {
        let extra = match retry {
            Some(_) => ", attempt = attempt + 1, due_boot = ?3, due_at = ?4, failure_json = ?5",
            None => "",
        };
        let sql = format!(
            "UPDATE builds SET state = 'QUEUED', fence = fence + 1, lease_owner = NULL,
             lease_boot = NULL, lease_until = NULL{extra} WHERE id = ?1 AND fence = ?2 AND {ACTIVE}"
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(id).bind(fence);
        if let Some((delay, failure_json)) = retry {
            let now = self.moment();
            let due = now.ms_after(delay);
            query = query.bind(now.boot).bind(due).bind(failure_json);
        }
        let done = query.execute(&self.writer).await;
        let done = done.map_err(StoreError::database("give a build back"))?;
        Ok(done.rows_affected() == 1)
    }

    async fn reset(&self, condition: &'static str, worker: &str) -> Result<u64, StoreError> {
        let sql = format!(
            "UPDATE builds SET fence = fence + 1, lease_boot = NULL
             WHERE lease_owner IS NOT NULL AND {condition}"
        );
        let done = sqlx::query(AssertSqlSafe(sql))
            .bind(worker)
            .execute(&self.writer)
            .await
            .map_err(StoreError::database("reset a worker"))?;
        Ok(done.rows_affected())
    }
}

/// What came of a build to claim.
enum Taken {
    Yes(Box<ClaimedBuild>),
    /// Another worker has it, it is not due or over.
    No,
    /// It ended instead.
    Quarantined,
}

const CLAIM: &str = "claim a build";

#[async_trait]
impl Queue for SqliteRecords {
    async fn claim(
        &self,
        worker: &str,
        lease: Duration,
    ) -> Result<Option<ClaimedBuild>, StoreError> {
        let mut transaction = self.write(CLAIM).await?;
        let mut claimed = None;
        while let Some(id) = next(&mut transaction, &self.moment()).await? {
            match self.take(&mut transaction, &id, worker, lease).await? {
                Taken::Yes(build) => {
                    claimed = Some(*build);
                    break;
                }
                Taken::Quarantined => {}
                Taken::No => {
                    return Err(StoreError::Integrity(format!(
                        "the build {id} is to be claimed and can't be"
                    )));
                }
            }
        }
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(CLAIM))?;
        Ok(claimed)
    }

    async fn claim_build(
        &self,
        id: &str,
        worker: &str,
        lease: Duration,
    ) -> Result<Option<ClaimedBuild>, StoreError> {
        let mut transaction = self.write(CLAIM).await?;
        let taken = self.take(&mut transaction, id, worker, lease).await?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(CLAIM))?;
        Ok(match taken {
            Taken::Yes(claimed) => Some(*claimed),
            Taken::No | Taken::Quarantined => None,
        })
    }

    async fn heartbeat(&self, id: &str, fence: i64, lease: Duration) -> Result<bool, StoreError> {
        let now = self.moment();
        let sql = format!(
            "UPDATE builds SET lease_boot = ?, lease_until = ?
             WHERE id = ? AND fence = ? AND lease_owner IS NOT NULL AND {ACTIVE}"
        );
        let done = sqlx::query(AssertSqlSafe(sql))
            .bind(&now.boot)
            .bind(now.ms_after(lease))
            .bind(id)
            .bind(fence)
            .execute(&self.writer)
            .await
            .map_err(StoreError::database("renew a lease"))?;
        Ok(done.rows_affected() == 1)
    }

    async fn release(&self, id: &str, fence: i64) -> Result<bool, StoreError> {
        self.give_back(id, fence, None).await
    }

    async fn retry_at(
        &self,
        id: &str,
        fence: i64,
        delay: Duration,
        failure_json: &str,
    ) -> Result<bool, StoreError> {
        self.give_back(id, fence, Some((delay, failure_json))).await
    }

    async fn reset_worker(&self, worker: &str) -> Result<u64, StoreError> {
        self.reset("lease_owner = ?", worker).await
    }

    async fn reset_other_workers(&self, worker: &str) -> Result<u64, StoreError> {
        self.reset("lease_owner <> ?", worker).await
    }

    async fn next_due(&self) -> Result<Option<Duration>, StoreError> {
        let now = self.moment();
        let sql = format!(
            "SELECT min(at) FROM (
                 SELECT CASE WHEN lease_boot = ?1 THEN lease_until ELSE ?2 END AS at
                 FROM builds WHERE lease_owner IS NOT NULL
                 UNION ALL
                 SELECT CASE WHEN due_boot = ?1 THEN due_at ELSE ?2 END AS at
                 FROM builds WHERE lease_owner IS NULL AND {ACTIVE})"
        );
        let at: Option<i64> = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(&now.boot)
            .bind(now.ms)
            .fetch_one(&self.reader)
            .await
            .map_err(StoreError::database("find a build to claim"))?;
        Ok(at.map(|at| Duration::from_millis(u64::try_from(at - now.ms).unwrap_or(0))))
    }

    async fn waiting_builds(&self) -> Result<u64, StoreError> {
        let connection = self.reader.acquire().await;
        let mut connection = connection.map_err(StoreError::database("count builds"))?;
        waiting(&mut connection, None).await
    }

    async fn take_over(&self, id: &str) -> Result<Option<BuildRow>, StoreError> {
        let sql = format!(
            "UPDATE builds SET state = 'QUEUED', fence = fence + 1, attempt = attempt + 1,
             lease_owner = NULL, lease_boot = NULL, lease_until = NULL
             WHERE id = ? AND {ACTIVE} RETURNING {BUILD_COLUMNS}"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(id)
            .fetch_optional(&self.writer)
            .await
            .map_err(StoreError::database("take a build over"))?;
        row.as_ref().map(convert::build).transpose()
    }
}

/// How many builds wait, of one workspace or of all.
pub(super) async fn waiting(
    connection: &mut SqliteConnection,
    scope: Option<&str>,
) -> Result<u64, StoreError> {
    let mut query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(waiting_sql(scope)));
    if let Some(scope) = scope {
        query = query.bind(scope);
    }
    let count = query.fetch_one(connection).await;
    let count = count.map_err(StoreError::database("count builds"))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

pub(super) fn waiting_sql(scope: Option<&str>) -> String {
    let of = scope.map_or("", |_| "scope = ? AND");
    format!(
        "SELECT count(*) FROM builds INDEXED BY builds_waiting
         WHERE {of} lease_owner IS NULL AND {ACTIVE}"
    )
}
