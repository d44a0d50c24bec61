//! Images, their generations, and the locks they are made from.

use async_trait::async_trait;
use kiln_oci::Digest;
use kiln_spec::SpecHash;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::SqliteRecords;
use super::builds::{ACTIVE, define};
use super::convert::{self, BUILD_COLUMNS, IMAGE_COLUMNS};
use super::failures;
use super::finish::{Ending, end};
use crate::error::StoreError;
use crate::records::Images;
use crate::rows::{BuildRow, FoundImage, ImageRow, NewImage};
use crate::scope::Scope;

/// The greatest generation that is believed of a tag: counting goes on after it.
const HIGHEST_ADOPTED: u64 = 1 << 32;

pub(super) fn current_sql() -> String {
    format!(
        "SELECT {IMAGE_COLUMNS} FROM images i WHERE scope = ?1 AND spec_hash = ?2 AND lost = 0
         AND generation = (SELECT current_generation FROM definitions d
                           WHERE d.scope = ?1 AND d.spec_hash = ?2)"
    )
}

/// Makes a build READY with its image; none when the fence is stale or it is over already.
pub(super) async fn make_ready(
    connection: &mut SqliteConnection,
    id: &str,
    fence: i64,
    image: &NewImage,
    now_ms: i64,
) -> Result<Option<ImageRow>, StoreError> {
    let sql = format!("SELECT {BUILD_COLUMNS} FROM builds WHERE id = ? AND fence = ? AND {ACTIVE}");
    let build = sqlx::query(AssertSqlSafe(sql))
        .bind(id)
        .bind(fence)
        .fetch_optional(&mut *connection)
        .await
        .map_err(StoreError::database("end a build"))?;
    let Some(build) = build else { return Ok(None) };
    let BuildRow {
        scope, spec_hash, ..
    } = convert::build(&build)?;
    let place = (image.digest, image.repository.as_str());
    let keys = Some((image.image_key.as_str(), image.lock_hash.as_str()));
    let known = same_image(connection, &scope, &spec_hash, place, keys).await?;
    let row = if let Some(row) = known {
        row
    } else {
        let row = ImageRow {
            generation: next_generation(connection, &scope, &spec_hash).await?,
            repository: image.repository.clone(),
            digest: image.digest,
            lock_hash: Some(image.lock_hash.clone()),
            backend: image.backend.clone(),
            size_bytes: image.size_bytes,
            build_id: Some(id.to_owned()),
        };
        let key = Some(image.image_key.as_str());
        insert(connection, &scope, &spec_hash, &row, key, now_ms).await?;
        row
    };
    set_current(connection, &scope, &spec_hash, row.generation).await?;
    let ending = Ending {
        state: "READY",
        failure_json: None,
        image: Some((image.digest, row.generation)),
    };
    end(connection, id, fence, &ending, now_ms).await?;
    failures::forget(connection, &scope, &spec_hash).await?;
    Ok(Some(row))
}

/// A generation of this digest and repository that is there already; it is lost no more. `keys` are
/// its image key and lock hash, where they are known now.
async fn same_image(
    connection: &mut SqliteConnection,
    scope: &Scope,
    spec_hash: &SpecHash,
    (digest, repository): (Digest, &str),
    keys: Option<(&str, &str)>,
) -> Result<Option<ImageRow>, StoreError> {
    let sql = format!(
        "UPDATE images SET lost = 0, image_key = coalesce(image_key, ?), lock_hash = coalesce(lock_hash, ?)
         WHERE scope = ? AND spec_hash = ? AND digest = ? AND repository = ? RETURNING {IMAGE_COLUMNS}"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(keys.map(|keys| keys.0))
        .bind(keys.map(|keys| keys.1))
        .bind(scope.as_str())
        .bind(spec_hash.to_hex())
        .bind(digest.to_hex())
        .bind(repository)
        .fetch_optional(connection)
        .await
        .map_err(StoreError::database("read an image"))?;
    row.as_ref().map(convert::image).transpose()
}

async fn is_taken(
    connection: &mut SqliteConnection,
    scope: &Scope,
    spec_hash: &SpecHash,
    generation: u64,
) -> Result<bool, StoreError> {
    let taken: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM images WHERE scope = ? AND spec_hash = ? AND generation = ?",
    )
    .bind(scope.as_str())
    .bind(spec_hash.to_hex())
    .bind(generation.cast_signed())
    .fetch_one(connection)
    .await
    .map_err(StoreError::database("number an image"))?;
    Ok(taken > 0)
}

async fn next_generation(
    connection: &mut SqliteConnection,
    scope: &Scope,
    spec_hash: &SpecHash,
) -> Result<u64, StoreError> {
    let highest: i64 = sqlx::query_scalar(
        "SELECT coalesce(max(generation), 0) FROM images WHERE scope = ? AND spec_hash = ?",
    )
    .bind(scope.as_str())
    .bind(spec_hash.to_hex())
    .fetch_one(connection)
    .await
    .map_err(StoreError::database("number an image"))?;
    Ok(highest.cast_unsigned() + 1)
}

async fn insert(
    connection: &mut SqliteConnection,
    scope: &Scope,
    spec_hash: &SpecHash,
    row: &ImageRow,
    image_key: Option<&str>,
    now_ms: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO images (scope, spec_hash, generation, repository, digest, image_key, lock_hash,
         backend, size_bytes, build_id, untagged, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(scope.as_str())
    .bind(spec_hash.to_hex())
    .bind(row.generation.cast_signed())
    .bind(&row.repository)
    .bind(row.digest.to_hex())
    .bind(image_key)
    .bind(&row.lock_hash)
    .bind(&row.backend)
    .bind(row.size_bytes.cast_signed())
    .bind(&row.build_id)
    .bind(row.build_id.is_some())
    .bind(now_ms)
    .execute(connection)
    .await
    .map_err(StoreError::database("keep an image"))?;
    Ok(())
}

async fn set_current(
    connection: &mut SqliteConnection,
    scope: &Scope,
    spec_hash: &SpecHash,
    generation: u64,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE definitions SET current_generation = ? WHERE scope = ? AND spec_hash = ?")
        .bind(generation.cast_signed())
        .bind(scope.as_str())
        .bind(spec_hash.to_hex())
        .execute(connection)
        .await
        .map_err(StoreError::database("make an image current"))?;
    Ok(())
}

#[async_trait]
impl Images for SqliteRecords {
    async fn current_image(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
    ) -> Result<Option<ImageRow>, StoreError> {
        let row = sqlx::query(AssertSqlSafe(current_sql()))
            .bind(scope.as_str())
            .bind(spec_hash.to_hex())
            .fetch_optional(&self.reader)
            .await
            .map_err(StoreError::database("read an image"))?;
        row.as_ref().map(convert::image).transpose()
    }

    async fn image_by_key(
        &self,
        scope: &Scope,
        image_key: &str,
    ) -> Result<Option<ImageRow>, StoreError> {
        let sql = format!(
            "SELECT {IMAGE_COLUMNS} FROM images WHERE scope = ? AND image_key = ? AND lost = 0
         ORDER BY generation DESC LIMIT 1"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(scope.as_str())
            .bind(image_key)
            .fetch_optional(&self.reader)
            .await
            .map_err(StoreError::database("read an image"))?;
        row.as_ref().map(convert::image).transpose()
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
        sqlx::query(
            "INSERT INTO locks (scope, lock_hash, json, created_ms) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
        )
        .bind(scope.as_str())
        .bind(lock_hash)
        .bind(json)
        .bind(now_ms)
        .execute(&mut *transaction)
        .await
        .map_err(failed("keep a lock"))?;
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

    async fn adopt_image(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        canonical: &str,
        found: &FoundImage,
    ) -> Result<ImageRow, StoreError> {
        let failed = StoreError::database;
        let mut transaction = self.write("adopt an image").await?;
        let now_ms = self.now_ms();
        define(&mut transaction, scope, spec_hash, canonical, now_ms).await?;
        let place = (found.digest, found.repository.as_str());
        let known = same_image(&mut transaction, scope, spec_hash, place, None).await?;
        let row = if let Some(row) = known {
            row
        } else {
            let taken = is_taken(&mut transaction, scope, spec_hash, found.generation).await?;
            let generation = match found.generation {
                generation @ 1..=HIGHEST_ADOPTED if !taken => generation,
                _ => next_generation(&mut transaction, scope, spec_hash).await?,
            };
            let row = ImageRow {
                generation,
                repository: found.repository.clone(),
                digest: found.digest,
                lock_hash: None,
                backend: found.backend.clone(),
                size_bytes: found.size_bytes,
                build_id: None,
            };
            insert(&mut transaction, scope, spec_hash, &row, None, now_ms).await?;
            row
        };
        set_current(&mut transaction, scope, spec_hash, row.generation).await?;
        transaction
            .commit()
            .await
            .map_err(failed("adopt an image"))?;
        Ok(row)
    }

    async fn mark_image_lost(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        generation: u64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE images SET lost = 1 WHERE scope = ? AND spec_hash = ? AND generation = ?",
        )
        .bind(scope.as_str())
        .bind(spec_hash.to_hex())
        .bind(generation.cast_signed())
        .execute(&self.writer)
        .await
        .map_err(StoreError::database("mark an image as lost"))?;
        Ok(())
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
