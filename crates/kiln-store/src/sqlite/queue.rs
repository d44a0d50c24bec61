//! Leases: who has which build.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::SqliteRecords;
use super::builds::ACTIVE;
use super::claim::{Taken, next};
use super::convert::{self, BUILD_COLUMNS};
use crate::error::StoreError;
use crate::records::Queue;
use crate::rows::{BuildRow, ClaimedBuild};

impl SqliteRecords {
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
