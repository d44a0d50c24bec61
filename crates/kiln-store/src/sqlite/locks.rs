//! Locks, the archives they name, and facts about bases.

use async_trait::async_trait;
use kiln_lock::Lock;
use kiln_spec::SpecHash;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::SqliteRecords;
use super::builds::{ACTIVE, define};
use crate::error::StoreError;
use crate::records::Locks;
use crate::rows::BaseOrigin;
use crate::scope::Scope;

/// Keeps which archives a lock names, and that they are used now.
async fn keep_archives(
    connection: &mut SqliteConnection,
    lock: i64,
    json: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    // A lock of another version of the form builds nothing, so it needs no archives.
    let Ok(parsed) = Lock::from_json(json) else {
        return Ok(());
    };
    let conda = parsed.conda.iter().map(|one| (one.sha256, one.size_bytes));
    let wheels = parsed.pip.iter().map(|one| (one.sha256, one.size_bytes));
    let archives: Vec<_> = conda
        .chain(wheels)
        .map(|(digest, size)| (digest.to_hex(), size))
        .collect();
    let archives = serde_json::to_string(&archives).expect("texts and numbers are plain data");
    sqlx::query(
        "INSERT INTO archives (digest, size_bytes, used_ms)
         SELECT value ->> 0, value ->> 1, ?2 FROM json_each(?1) WHERE true
         ON CONFLICT (digest) DO UPDATE SET used_ms = excluded.used_ms",
    )
    .bind(&archives)
    .bind(now_ms)
    .execute(&mut *connection)
    .await
    .map_err(StoreError::database("keep a lock's archives"))?;
    sqlx::query(
        "INSERT INTO lock_archives (archive, lock)
         SELECT a.id, ?2 FROM json_each(?1) j JOIN archives a ON a.digest = j.value ->> 0 WHERE true
         ON CONFLICT DO NOTHING",
    )
    .bind(&archives)
    .bind(lock)
    .execute(connection)
    .await
    .map_err(StoreError::database("keep a lock's archives"))?;
    Ok(())
}

/// The base that a lock names.
pub(super) async fn base(
    connection: &mut SqliteConnection,
    scope: &Scope,
    lock_hash: &str,
) -> Result<Option<BaseOrigin>, StoreError> {
    let json: Option<String> =
        sqlx::query_scalar("SELECT json FROM locks WHERE scope = ? AND lock_hash = ?")
            .bind(scope.as_str())
            .bind(lock_hash)
            .fetch_optional(connection)
            .await
            .map_err(StoreError::database("read a lock"))?;
    let lock = json.and_then(|json| Lock::from_json(&json).ok());
    Ok(lock.and_then(|lock| lock.base).map(|base| BaseOrigin {
        reference: base.reference,
        index: base.index_digest,
        manifest: base.digest,
    }))
}

#[async_trait]
impl Locks for SqliteRecords {
    async fn put_lock(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        canonical: &str,
        build: Option<(&str, i64)>,
        lock_hash: &str,
        json: &str,
    ) -> Result<bool, StoreError> {
        let failed = StoreError::database;
        let mut transaction = self.write("keep a lock").await?;
        let now_ms = self.now_ms();
        if let Some((id, fence)) = build {
            let sql =
                format!("UPDATE builds SET lock_hash = ? WHERE id = ? AND fence = ? AND {ACTIVE}");
            let done = sqlx::query(AssertSqlSafe(sql))
                .bind(lock_hash)
                .bind(id)
                .bind(fence)
                .execute(&mut *transaction)
                .await
                .map_err(failed("keep a lock"))?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
        }
        define(&mut transaction, scope, spec_hash, canonical, now_ms).await?;
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO locks (scope, lock_hash, json, created_ms) VALUES (?, ?, ?, ?)
             ON CONFLICT (scope, lock_hash) DO UPDATE SET created_ms = excluded.created_ms
             RETURNING id",
        )
        .bind(scope.as_str())
        .bind(lock_hash)
        .bind(json)
        .bind(now_ms)
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed("keep a lock"))?;
        keep_archives(&mut transaction, id, json, now_ms).await?;
        sqlx::query("UPDATE definitions SET lock_hash = ? WHERE scope = ? AND spec_hash = ?")
            .bind(lock_hash)
            .bind(scope.as_str())
            .bind(spec_hash.to_hex())
            .execute(&mut *transaction)
            .await
            .map_err(failed("keep a lock"))?;
        transaction.commit().await.map_err(failed("keep a lock"))?;
        Ok(true)
    }

    async fn lock_of(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
    ) -> Result<Option<String>, StoreError> {
        // The current generation's lock, lost or not; else the definition's latest.
        sqlx::query_scalar(
            "SELECT l.json FROM definitions d
             LEFT JOIN images i ON i.scope = d.scope AND i.spec_hash = d.spec_hash
                  AND i.generation = d.current_generation
             JOIN locks l ON l.scope = d.scope AND l.lock_hash = coalesce(i.lock_hash, d.lock_hash)
             WHERE d.scope = ? AND d.spec_hash = ?",
        )
        .bind(scope.as_str())
        .bind(spec_hash.to_hex())
        .fetch_optional(&self.reader)
        .await
        .map_err(StoreError::database("read a lock"))
    }

    async fn base_facts(&self, digest: &str) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT json FROM base_facts WHERE digest = ?")
            .bind(digest)
            .fetch_optional(&self.reader)
            .await
            .map_err(StoreError::database("read base facts"))
    }

    async fn put_base_facts(&self, digest: &str, json: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO base_facts (digest, json, created_ms) VALUES (?, ?, ?)
             ON CONFLICT (digest) DO UPDATE SET json = excluded.json",
        )
        .bind(digest)
        .bind(json)
        .bind(self.now_ms())
        .execute(&self.writer)
        .await
        .map_err(StoreError::database("keep base facts"))?;
        Ok(())
    }
}
