//! Generations: an image that a build made or that was found gets its number, or has it already.

use kiln_oci::Digest;
use kiln_spec::SpecHash;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::builds::ACTIVE;
use super::convert::{self, BUILD_COLUMNS, IMAGE_COLUMNS};
use super::finish::{Ending, end};
use super::{environment_rows, failures, locks};
use crate::error::StoreError;
use crate::rows::{BaseOrigin, BuildRow, ImageRow, NewImage};
use crate::scope::Scope;

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
    let known = same_image(connection, (&scope, &spec_hash), place, keys, now_ms).await?;
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
            verified_ms: now_ms,
            outdated: None,
        };
        let key = Some(image.image_key.as_str());
        insert(connection, (&scope, &spec_hash), &row, key, now_ms).await?;
        row
    };
    let base = locks::base(connection, &scope, &image.lock_hash).await?;
    if let Some(base) = base {
        set_base(connection, (&scope, &spec_hash), row.generation, &base).await?;
    }
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

/// A generation of this digest and repository that is there already; it is lost or outdated no more.
/// `keys` are its image key and lock hash, where they are known now.
pub(super) async fn same_image(
    connection: &mut SqliteConnection,
    (scope, spec_hash): (&Scope, &SpecHash),
    (digest, repository): (Digest, &str),
    keys: Option<(&str, &str)>,
    now_ms: i64,
) -> Result<Option<ImageRow>, StoreError> {
    let sql = format!(
        "UPDATE images SET lost = 0, outdated = NULL, verified_ms = ?, image_key = coalesce(image_key, ?), lock_hash = coalesce(lock_hash, ?)
         WHERE scope = ? AND spec_hash = ? AND digest = ? AND repository = ? RETURNING {IMAGE_COLUMNS}"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(now_ms)
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

pub(super) async fn is_taken(
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

pub(super) async fn next_generation(
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

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    (scope, spec_hash): (&Scope, &SpecHash),
    row: &ImageRow,
    image_key: Option<&str>,
    now_ms: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO images (scope, spec_hash, generation, repository, digest, image_key, lock_hash,
         backend, size_bytes, build_id, untagged, verified_ms, created_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
    .bind(row.verified_ms)
    .bind(now_ms)
    .execute(connection)
    .await
    .map_err(StoreError::database("keep an image"))?;
    Ok(())
}

pub(super) async fn set_current(
    connection: &mut SqliteConnection,
    scope: &Scope,
    spec_hash: &SpecHash,
    generation: u64,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE definitions SET current_generation = ? WHERE scope = ? AND spec_hash = ?")
        .bind(generation.cast_signed())
        .bind(scope.as_str())
        .bind(spec_hash.to_hex())
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("make an image current"))?;
    environment_rows::settle(connection, scope, spec_hash).await
}

/// Notes what an image was built on.
pub(super) async fn set_base(
    connection: &mut SqliteConnection,
    (scope, spec_hash): (&Scope, &SpecHash),
    generation: u64,
    base: &BaseOrigin,
) -> Result<(), StoreError> {
    let failed = || StoreError::database("keep an image's base");
    // The statement changes nothing where the row is there, and answers its id all the same.
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO bases (reference, index_digest, digest) VALUES (?, ?, ?)
         ON CONFLICT (digest, reference, index_digest) DO UPDATE SET digest = excluded.digest
         RETURNING id",
    )
    .bind(&base.reference)
    .bind(base.index.map(|digest| digest.to_hex()).unwrap_or_default())
    .bind(base.manifest.to_hex())
    .fetch_one(&mut *connection)
    .await
    .map_err(failed())?;
    sqlx::query("UPDATE images SET base = ? WHERE scope = ? AND spec_hash = ? AND generation = ?")
        .bind(id)
        .bind(scope.as_str())
        .bind(spec_hash.to_hex())
        .bind(generation.cast_signed())
        .execute(connection)
        .await
        .map_err(failed())?;
    Ok(())
}
