//! kiln's records, read and changed behind its back.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

/// The database of a data folder.
pub(super) async fn open(data: &Path) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(data.join("kiln.db"))
        .busy_timeout(Duration::from_secs(2));
    Ok(options.connect().await?)
}

/// What the records say of all builds.
#[derive(Debug)]
pub(super) struct Totals {
    /// Rows of builds.
    pub(super) builds: i64,
    /// Builds that are not over.
    pub(super) open: i64,
    /// Definitions with more than one image.
    pub(super) twice: i64,
    /// `ok`, or what is wrong with the file.
    pub(super) integrity: String,
}

/// Counts.
pub(super) async fn totals(data: &Path) -> Result<Totals> {
    let mut connection = open(data).await?;
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM builds),
                (SELECT count(*) FROM builds WHERE state NOT IN ('READY', 'FAILED', 'CANCELLED')),
                (SELECT count(*) FROM (SELECT 1 FROM images GROUP BY scope, spec_hash HAVING count(*) > 1))",
    )
    .fetch_one(&mut connection)
    .await?;
    let integrity = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(Totals {
        builds: row.try_get(0)?,
        open: row.try_get(1)?,
        twice: row.try_get(2)?,
        integrity,
    })
}

/// Holds the database's write lock as long as it lives.
pub(super) async fn lock(data: &Path) -> Result<SqliteConnection> {
    let mut connection = open(data).await?;
    sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut connection)
        .await?;
    Ok(connection)
}

/// Another worker claims every build that a worker has, for `lease`; gives the ids and new fences.
pub(super) async fn take_over(data: &Path, lease: Duration) -> Result<Vec<(String, i64)>> {
    let mut connection = open(data).await?;
    let rows = sqlx::query(
        "UPDATE builds SET state = 'QUEUED', fence = fence + 1, lease_owner = 'another worker',
             lease_until = lease_until + ?
         WHERE lease_owner IS NOT NULL AND state NOT IN ('READY', 'FAILED', 'CANCELLED')
         RETURNING id, fence",
    )
    .bind(i64::try_from(lease.as_millis())?)
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

/// Who has a build under which fence.
pub(super) async fn owner(data: &Path, id: &str) -> Result<(Option<String>, i64, String)> {
    let mut connection = open(data).await?;
    let row = sqlx::query("SELECT lease_owner, fence, state FROM builds WHERE id = ?")
        .bind(id)
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
}
