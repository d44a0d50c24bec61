//! Images: found, verified, lost, outdated.

use std::time::Duration;

use async_trait::async_trait;
use kiln_oci::Digest;
use kiln_spec::SpecHash;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::SqliteRecords;
use super::builds::define;
use super::convert::{self, IMAGE_COLUMNS, get};
use super::generations::{insert, is_taken, next_generation, same_image, set_base, set_current};
use super::outbox::{self, Outgoing};
use crate::clock::millis;
use crate::error::StoreError;
use crate::records::Images;
use crate::rows::{BaseName, BaseOrigin, EventType, FoundImage, ImageRow, KnownImage};
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

/// Selects images with their place and base.
pub(super) fn known_sql() -> String {
    let columns: Vec<_> = IMAGE_COLUMNS
        .split(", ")
        .map(|column| format!("i.{column}"))
        .collect();
    format!(
        "SELECT {}, i.scope, i.spec_hash, b.reference, b.index_digest, b.digest AS base_digest
         FROM images i LEFT JOIN bases b ON b.id = i.base",
        columns.join(", ")
    )
}

/// Leaves the current images of those that [`known_sql`] selects.
const CURRENT: &str = "JOIN definitions d ON d.scope = i.scope AND d.spec_hash = i.spec_hash
                       AND d.current_generation = i.generation";

pub(super) fn verify_sql() -> String {
    format!(
        "{} {CURRENT}
         WHERE i.lost = 0 AND i.verified_ms <= ?1 AND (i.verified_ms, i.scope, i.spec_hash) > (?2, ?3, ?4)
         ORDER BY i.verified_ms, i.scope, i.spec_hash LIMIT ?5",
        known_sql()
    )
}

pub(super) fn known(row: &SqliteRow) -> Result<KnownImage, StoreError> {
    let unreadable = || StoreError::Row { what: "image" };
    let digest = |hex: String| Digest::from_hex(&hex).map_err(|_| unreadable());
    let reference: Option<String> = get(row, "reference")?;
    let base = reference.map(|reference| {
        let index: String = get(row, "index_digest")?;
        Ok::<_, StoreError>(BaseOrigin {
            reference,
            index: (!index.is_empty()).then(|| digest(index)).transpose()?,
            manifest: digest(get(row, "base_digest")?)?,
        })
    });
    Ok(KnownImage {
        scope: get::<String>(row, "scope")?
            .parse()
            .map_err(|_| unreadable())?,
        spec_hash: get::<String>(row, "spec_hash")?
            .parse()
            .map_err(|_| unreadable())?,
        image: convert::image(row)?,
        base: base.transpose()?,
    })
}

/// Tells a workspace's hooks that asking for a definition would make another image now.
async fn tell_outdated(
    connection: &mut SqliteConnection,
    (scope, spec_hash, image): (&Scope, &SpecHash, &ImageRow),
    reason: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let payload = serde_json::json!({
        "workspace": scope.as_str(),
        "name": spec_hash.image_name(),
        "spec_hash": spec_hash.to_hex(),
        "image": format!("{}@{}", image.repository, image.digest),
        "generation": image.generation,
        "reason": reason,
    });
    let event = Outgoing {
        scope,
        kind: EventType::Outdated,
        build_id: image.build_id.as_deref(),
        payload: &payload.to_string(),
        only: None,
    };
    outbox::write(connection, &event, now_ms).await.map(drop)
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
        let known = same_image(&mut transaction, (scope, spec_hash), place, None, now_ms).await?;
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
                verified_ms: now_ms,
                outdated: None,
            };
            insert(&mut transaction, (scope, spec_hash), &row, None, now_ms).await?;
            row
        };
        if let Some(base) = &found.base {
            set_base(&mut transaction, (scope, spec_hash), row.generation, base).await?;
        }
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
    ) -> Result<bool, StoreError> {
        const WHAT: &str = "mark an image as lost";
        let mut transaction = self.write(WHAT).await?;
        let current = sqlx::query(AssertSqlSafe(current_sql()))
            .bind(scope.as_str())
            .bind(spec_hash.to_hex())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(StoreError::database(WHAT))?;
        let done = sqlx::query(
            "UPDATE images SET lost = 1
             WHERE scope = ? AND spec_hash = ? AND generation = ? AND lost = 0",
        )
        .bind(scope.as_str())
        .bind(spec_hash.to_hex())
        .bind(generation.cast_signed())
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::database(WHAT))?;
        let current = current.as_ref().map(convert::image).transpose()?;
        if let Some(image) = current.filter(|image| image.generation == generation) {
            let of = (scope, spec_hash, &image);
            let reason = "the registry has lost it";
            tell_outdated(&mut transaction, of, reason, self.now_ms()).await?;
        }
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(WHAT))?;
        Ok(done.rows_affected() == 1)
    }

    async fn mark_image_verified(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        generation: u64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE images SET verified_ms = ? WHERE scope = ? AND spec_hash = ? AND generation = ?",
        )
        .bind(self.now_ms())
        .bind(scope.as_str())
        .bind(spec_hash.to_hex())
        .bind(generation.cast_signed())
        .execute(&self.writer)
        .await
        .map_err(StoreError::database("mark an image as verified"))?;
        Ok(())
    }

    async fn mark_image_outdated(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        generation: u64,
        reason: &str,
    ) -> Result<bool, StoreError> {
        const WHAT: &str = "mark an image as outdated";
        let mut transaction = self.write(WHAT).await?;
        let sql = format!(
            "UPDATE images SET outdated = ? WHERE scope = ? AND spec_hash = ? AND generation = ?
             AND outdated IS NULL RETURNING {IMAGE_COLUMNS}"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(reason)
            .bind(scope.as_str())
            .bind(spec_hash.to_hex())
            .bind(generation.cast_signed())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(StoreError::database(WHAT))?;
        let Some(row) = row else { return Ok(false) };
        let image = convert::image(&row)?;
        let of = (scope, spec_hash, &image);
        tell_outdated(&mut transaction, of, reason, self.now_ms()).await?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(WHAT))?;
        Ok(true)
    }

    async fn images_on_base(
        &self,
        base: &BaseName,
        limit: u32,
        after: Option<&KnownImage>,
    ) -> Result<Vec<KnownImage>, StoreError> {
        let (condition, name) = match base {
            BaseName::Reference(reference) => ("b.reference = ?1", reference.clone()),
            BaseName::Digest(digest) => ("(b.digest = ?1 OR b.index_digest = ?1)", digest.to_hex()),
        };
        let sql = format!(
            "{} {CURRENT}
             WHERE {condition} AND i.lost = 0 AND (i.scope, i.spec_hash) > (?2, ?3)
             ORDER BY i.scope, i.spec_hash LIMIT ?4",
            known_sql()
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(name)
            .bind(after.map_or("", |after| after.scope.as_str()))
            .bind(
                after
                    .map(|after| after.spec_hash.to_hex())
                    .unwrap_or_default(),
            )
            .bind(limit)
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::database("list images on a base"))?;
        rows.iter().map(known).collect()
    }

    async fn images_at(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Vec<KnownImage>, StoreError> {
        let sql = format!(
            "{} WHERE i.digest = ? AND i.repository = ? AND i.lost = 0",
            known_sql()
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(digest.to_hex())
            .bind(repository)
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::database("list images of a digest"))?;
        rows.iter().map(known).collect()
    }

    async fn canonical(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
    ) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT canonical FROM definitions WHERE scope = ? AND spec_hash = ?")
            .bind(scope.as_str())
            .bind(spec_hash.to_hex())
            .fetch_optional(&self.reader)
            .await
            .map_err(StoreError::database("read a definition"))
    }

    async fn images_to_verify(
        &self,
        ago: Duration,
        limit: u32,
        after: Option<&KnownImage>,
    ) -> Result<Vec<KnownImage>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(verify_sql()))
            .bind(self.now_ms().saturating_sub(millis(ago)))
            .bind(after.map_or(i64::MIN, |after| after.image.verified_ms))
            .bind(after.map_or("", |after| after.scope.as_str()))
            .bind(
                after
                    .map(|after| after.spec_hash.to_hex())
                    .unwrap_or_default(),
            )
            .bind(limit)
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::database("list images to verify"))?;
        rows.iter().map(known).collect()
    }
}
