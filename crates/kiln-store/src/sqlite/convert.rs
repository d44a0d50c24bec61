//! Rows to types.

use kiln_oci::Digest;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::error::StoreError;
use crate::rows::{BuildRow, ImageRow};

/// The columns of [`build`].
pub(super) const BUILD_COLUMNS: &str = "id, scope, spec_hash, state, fence, attempt, crashes, repository, backend, refresh, lock_hash, digest, generation, failure_json, actor, via, created_ms";

/// The columns of [`image`].
pub(super) const IMAGE_COLUMNS: &str = "generation, repository, digest, lock_hash, backend, size_bytes, build_id, verified_ms, outdated";

pub(super) fn build(row: &SqliteRow) -> Result<BuildRow, StoreError> {
    let unreadable = || StoreError::Row { what: "build" };
    let digest: Option<String> = get(row, "digest")?;
    let generation: Option<i64> = get(row, "generation")?;
    Ok(BuildRow {
        id: get(row, "id")?,
        scope: get::<String>(row, "scope")?
            .parse()
            .map_err(|_| unreadable())?,
        spec_hash: get::<String>(row, "spec_hash")?
            .parse()
            .map_err(|_| unreadable())?,
        state: get(row, "state")?,
        fence: get(row, "fence")?,
        attempt: get(row, "attempt")?,
        crashes: get(row, "crashes")?,
        repository: get(row, "repository")?,
        backend: get(row, "backend")?,
        refresh: get(row, "refresh")?,
        lock_hash: get(row, "lock_hash")?,
        digest: digest
            .map(|hex| Digest::from_hex(&hex))
            .transpose()
            .map_err(|_| unreadable())?,
        generation: generation
            .map(u64::try_from)
            .transpose()
            .map_err(|_| unreadable())?,
        failure_json: get(row, "failure_json")?,
        actor: get(row, "actor")?,
        via: get(row, "via")?,
        created_ms: get(row, "created_ms")?,
    })
}

pub(super) fn image(row: &SqliteRow) -> Result<ImageRow, StoreError> {
    let unreadable = || StoreError::Row { what: "image" };
    let digest: String = get(row, "digest")?;
    Ok(ImageRow {
        generation: u64::try_from(get::<i64>(row, "generation")?).map_err(|_| unreadable())?,
        repository: get(row, "repository")?,
        digest: Digest::from_hex(&digest).map_err(|_| unreadable())?,
        lock_hash: get(row, "lock_hash")?,
        backend: get(row, "backend")?,
        size_bytes: u64::try_from(get::<i64>(row, "size_bytes")?).map_err(|_| unreadable())?,
        build_id: get(row, "build_id")?,
        verified_ms: get(row, "verified_ms")?,
        outdated: get(row, "outdated")?,
    })
}

pub(super) fn get<'r, T>(row: &'r SqliteRow, column: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column)
        .map_err(StoreError::database("read a row"))
}
