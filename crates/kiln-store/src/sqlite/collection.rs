//! Roots and references, and the removal of what none of them reaches.

use async_trait::async_trait;
use kiln_oci::Digest;
use kiln_spec::SpecHash;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::SqliteRecords;
use super::builds::ACTIVE;
use super::convert::get;
use crate::error::StoreError;
use crate::records::{Collection, TakeAway};
use crate::rows::{BlobRow, IdleLock};
use crate::scope::Scope;

const COLLECT: &str = "collect what is not needed";

/// What the holders start with that are builds; the texts that do lie between this and `build;`.
const BUILD_HOLDER: &str = "build:";

/// Whether the hold `h` counts: a build's does until it is over.
fn held_sql() -> String {
    format!(
        "(h.holder < 'build:' OR h.holder >= 'build;'
          OR EXISTS (SELECT 1 FROM builds b WHERE b.id = substr(h.holder, 7) AND b.{ACTIVE}))"
    )
}

/// The removal of what builds hold that are over.
pub(super) fn drop_holds_sql() -> String {
    format!(
        "DELETE FROM blob_holds WHERE holder >= 'build:' AND holder < 'build;' AND NOT EXISTS
         (SELECT 1 FROM builds b WHERE b.id = substr(blob_holds.holder, 7) AND b.{ACTIVE})"
    )
}

/// Whether the archive `a` is needed.
fn needed_sql() -> String {
    format!(
        "(EXISTS (SELECT 1 FROM blob_holds h WHERE h.digest = a.digest AND {})
          OR EXISTS (SELECT 1 FROM lock_archives r JOIN locks l ON l.id = r.lock
              WHERE r.archive = a.id AND (
                  EXISTS (SELECT 1 FROM images i INDEXED BY images_by_lock JOIN definitions d
                      ON d.scope = i.scope AND d.spec_hash = i.spec_hash
                         AND d.current_generation = i.generation
                      WHERE i.scope = l.scope AND i.lock_hash = l.lock_hash)
                  OR EXISTS (SELECT 1 FROM images i INDEXED BY images_by_lock JOIN pins p
                      ON p.scope = i.scope AND p.spec_hash = i.spec_hash
                         AND p.generation = i.generation
                      WHERE i.scope = l.scope AND i.lock_hash = l.lock_hash)
                  OR EXISTS (SELECT 1 FROM builds b
                      WHERE b.scope = l.scope AND b.lock_hash = l.lock_hash AND b.{ACTIVE}))))",
        held_sql()
    )
}

/// Whether the lock `l` is needed.
fn lock_needed_sql() -> String {
    format!(
        "(EXISTS (SELECT 1 FROM images i INDEXED BY images_by_lock
              WHERE i.scope = l.scope AND i.lock_hash = l.lock_hash)
          OR EXISTS (SELECT 1 FROM definitions d
              WHERE d.scope = l.scope AND d.lock_hash = l.lock_hash)
          OR EXISTS (SELECT 1 FROM builds b
              WHERE b.scope = l.scope AND b.lock_hash = l.lock_hash AND b.{ACTIVE}))"
    )
}

pub(super) fn may_go_sql() -> String {
    format!(
        "SELECT NOT EXISTS (SELECT 1 FROM blob_holds h WHERE h.digest = ?1 AND {})
            AND NOT EXISTS (SELECT 1 FROM archives a
                WHERE a.digest = ?1 AND (a.used_ms > ?2 OR {}))",
        held_sql(),
        needed_sql()
    )
}

/// Whether a blob may go; `false` too where a row says that it was used since.
async fn may_go(
    connection: &mut SqliteConnection,
    digest: &str,
    before_ms: i64,
) -> Result<bool, StoreError> {
    sqlx::query_scalar(AssertSqlSafe(may_go_sql()))
        .bind(digest)
        .bind(before_ms)
        .fetch_one(connection)
        .await
        .map_err(StoreError::database(COLLECT))
}

/// Digests as a JSON array, for statements over many.
fn array(blobs: &[Digest]) -> String {
    let digests: Vec<_> = blobs.iter().map(Digest::to_hex).collect();
    serde_json::to_string(&digests).expect("texts are plain data")
}

#[async_trait]
impl Collection for SqliteRecords {
    async fn pin_image(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        generation: u64,
        holder: &str,
    ) -> Result<bool, StoreError> {
        // The row is written again where it is there: the answer tells whether the image is.
        let done = sqlx::query(
            "INSERT INTO pins (holder, scope, spec_hash, generation)
             SELECT ?, scope, spec_hash, generation FROM images
             WHERE scope = ? AND spec_hash = ? AND generation = ?
             ON CONFLICT DO UPDATE SET holder = excluded.holder",
        )
        .bind(holder)
        .bind(scope.as_str())
        .bind(spec_hash.to_hex())
        .bind(generation.cast_signed())
        .execute(&self.writer)
        .await
        .map_err(StoreError::database("pin an image"))?;
        Ok(done.rows_affected() == 1)
    }

    async fn unpin_images(&self, holder: &str) -> Result<u64, StoreError> {
        let done = sqlx::query("DELETE FROM pins WHERE holder = ?")
            .bind(holder)
            .execute(&self.writer)
            .await
            .map_err(StoreError::database("unpin images"))?;
        Ok(done.rows_affected())
    }

    async fn hold_blobs(&self, holder: &str, blobs: &[Digest]) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO blob_holds (digest, holder) SELECT value, ?2 FROM json_each(?1) WHERE true
             ON CONFLICT DO NOTHING",
        )
        .bind(array(blobs))
        .bind(holder)
        .execute(&self.writer)
        .await
        .map_err(StoreError::database("hold blobs"))?;
        Ok(())
    }

    async fn hold_for_build(&self, build_id: &str, blobs: &[Digest]) -> Result<(), StoreError> {
        let holder = format!("{BUILD_HOLDER}{build_id}");
        self.hold_blobs(&holder, blobs).await
    }

    async fn release_blobs(&self, holder: &str) -> Result<u64, StoreError> {
        let done = sqlx::query("DELETE FROM blob_holds WHERE holder = ?")
            .bind(holder)
            .execute(&self.writer)
            .await
            .map_err(StoreError::database("release blobs"))?;
        Ok(done.rows_affected())
    }

    async fn use_blobs(&self, blobs: &[Digest]) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO archives (digest, used_ms) SELECT value, ?2 FROM json_each(?1) WHERE true
             ON CONFLICT (digest) DO UPDATE SET used_ms = excluded.used_ms",
        )
        .bind(array(blobs))
        .bind(self.now_ms())
        .execute(&self.writer)
        .await
        .map_err(StoreError::database("note that blobs are used"))?;
        Ok(())
    }

    async fn blob_rows(&self) -> Result<Vec<BlobRow>, StoreError> {
        let sql = format!(
            "SELECT a.digest, a.used_ms, {} AS needed FROM archives a
             UNION ALL SELECT h.digest, 0, 1 FROM blob_holds h
             WHERE h.digest NOT IN (SELECT digest FROM archives) AND {} GROUP BY h.digest",
            needed_sql(),
            held_sql()
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::database(COLLECT))?;
        let row = |row| {
            let digest = Digest::from_hex(&get::<String>(row, "digest")?);
            Ok(BlobRow {
                digest: digest.map_err(|_| StoreError::Row { what: "blob" })?,
                used_ms: get(row, "used_ms")?,
                needed: get(row, "needed")?,
            })
        };
        rows.iter().map(row).collect()
    }

    async fn idle_locks(&self, before_ms: i64) -> Result<Vec<IdleLock>, StoreError> {
        let sql = format!(
            "SELECT l.scope, l.lock_hash, length(l.json) AS size FROM locks l
             WHERE l.created_ms <= ? AND NOT {} ORDER BY l.id",
            lock_needed_sql()
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(before_ms)
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::database(COLLECT))?;
        let row = |row| {
            let scope = get::<String>(row, "scope")?.parse();
            Ok(IdleLock {
                scope: scope.map_err(|_| StoreError::Row { what: "lock" })?,
                lock_hash: get(row, "lock_hash")?,
                size_bytes: u64::try_from(get::<i64>(row, "size")?).unwrap_or(0),
            })
        };
        rows.iter().map(row).collect()
    }

    async fn drop_blobs(
        &self,
        blobs: &[Digest],
        before_ms: i64,
        take_away: TakeAway<'_>,
    ) -> Result<Vec<Digest>, StoreError> {
        let mut transaction = self.write(COLLECT).await?;
        let mut gone = Vec::new();
        for blob in blobs {
            let digest = blob.to_hex();
            if !may_go(&mut transaction, &digest, before_ms).await? {
                continue;
            }
            // A row that a lock names stays: the lock may become current again.
            sqlx::query(
                "DELETE FROM archives WHERE digest = ?
                 AND NOT EXISTS (SELECT 1 FROM lock_archives WHERE archive = archives.id)",
            )
            .bind(&digest)
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::database(COLLECT))?;
            if take_away(blob)? {
                gone.push(*blob);
            }
        }
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(COLLECT))?;
        Ok(gone)
    }

    async fn drop_locks(&self, locks: &[IdleLock], before_ms: i64) -> Result<u64, StoreError> {
        let of = "SELECT l.id FROM locks l WHERE l.scope = ? AND l.lock_hash = ?
                  AND l.created_ms <= ?";
        let of = format!("{of} AND NOT {}", lock_needed_sql());
        let mut transaction = self.write(COLLECT).await?;
        let mut dropped = 0;
        for lock in locks {
            let id: Option<i64> = sqlx::query_scalar(AssertSqlSafe(of.clone()))
                .bind(lock.scope.as_str())
                .bind(&lock.lock_hash)
                .bind(before_ms)
                .fetch_optional(&mut *transaction)
                .await
                .map_err(StoreError::database(COLLECT))?;
            let Some(id) = id else { continue };
            for sql in [
                "DELETE FROM lock_archives WHERE lock = ?",
                "DELETE FROM locks WHERE id = ?",
            ] {
                let done = sqlx::query(sql).bind(id).execute(&mut *transaction).await;
                done.map_err(StoreError::database(COLLECT))?;
            }
            dropped += 1;
        }
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(COLLECT))?;
        Ok(dropped)
    }

    fn now_ms(&self) -> i64 {
        self.clock.wall_ms()
    }
}
