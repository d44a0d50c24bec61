//! Private wheels.

use async_trait::async_trait;
use kiln_oci::Digest;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::SqliteRecords;
use super::convert::get;
use crate::error::StoreError;
use crate::records::Wheels;
use crate::rows::{KeptWheel, NewWheel, WheelRow};
use crate::scope::Scope;

const KEEP: &str = "keep a wheel";
const READ: &str = "read a wheel";

fn wheel(row: &SqliteRow) -> Result<WheelRow, StoreError> {
    let unreadable = || StoreError::Row { what: "wheel" };
    let digest: String = get(row, "digest")?;
    Ok(WheelRow {
        file_name: get(row, "file_name")?,
        digest: Digest::from_hex(&digest).map_err(|_| unreadable())?,
        size_bytes: u64::try_from(get::<i64>(row, "size_bytes")?).map_err(|_| unreadable())?,
        name: get(row, "name")?,
        version: get(row, "version")?,
        url: get(row, "url")?,
        actor: get(row, "actor")?,
        via: get(row, "via")?,
        created_ms: get(row, "created_ms")?,
    })
}

/// The wheel whose column has a value.
async fn find(
    connection: &mut SqliteConnection,
    scope: &Scope,
    column: &'static str,
    value: &str,
) -> Result<Option<WheelRow>, StoreError> {
    let sql =
        format!("SELECT * FROM wheels WHERE scope = ? AND {column} = ? ORDER BY file_name LIMIT 1");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(scope.as_str())
        .bind(value)
        .fetch_optional(connection)
        .await
        .map_err(StoreError::database(READ))?;
    row.as_ref().map(wheel).transpose()
}

impl SqliteRecords {
    async fn find_wheel(
        &self,
        scope: &Scope,
        column: &'static str,
        value: &str,
    ) -> Result<Option<WheelRow>, StoreError> {
        let connection = self.reader.acquire().await;
        let mut connection = connection.map_err(StoreError::database(READ))?;
        find(&mut connection, scope, column, value).await
    }
}

#[async_trait]
impl Wheels for SqliteRecords {
    async fn keep_wheel(&self, scope: &Scope, new: &NewWheel) -> Result<KeptWheel, StoreError> {
        let mut transaction = self.write(KEEP).await?;
        let known = find(&mut transaction, scope, "file_name", &new.file_name).await?;
        if let Some(known) = &known
            && known.digest != new.digest
        {
            return Ok(KeptWheel::Taken(known.clone()));
        }
        let row = sqlx::query(
            "INSERT INTO wheels (scope, file_name, digest, size_bytes, name, version, url, actor, via, created_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (scope, file_name) DO UPDATE SET url = coalesce(excluded.url, url)
             RETURNING *",
        )
        .bind(scope.as_str())
        .bind(&new.file_name)
        .bind(new.digest.to_hex())
        .bind(new.size_bytes.cast_signed())
        .bind(&new.name)
        .bind(&new.version)
        .bind(&new.url)
        .bind(&new.actor)
        .bind(&new.via)
        .bind(self.clock.wall_ms())
        .fetch_one(&mut *transaction)
        .await
        .map_err(StoreError::database(KEEP))?;
        let row = wheel(&row)?;
        sqlx::query("INSERT INTO blob_holds (digest, holder) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(row.digest.to_hex())
            .bind(format!("wheel:{scope}/{}", row.file_name))
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::database(KEEP))?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(KEEP))?;
        Ok(match known {
            Some(_) => KeptWheel::Same(row),
            None => KeptWheel::New(row),
        })
    }

    async fn wheel(&self, scope: &Scope, file_name: &str) -> Result<Option<WheelRow>, StoreError> {
        self.find_wheel(scope, "file_name", file_name).await
    }

    async fn wheel_by_digest(
        &self,
        scope: &Scope,
        digest: &Digest,
    ) -> Result<Option<WheelRow>, StoreError> {
        self.find_wheel(scope, "digest", &digest.to_hex()).await
    }

    async fn wheel_by_url(&self, scope: &Scope, url: &str) -> Result<Option<WheelRow>, StoreError> {
        self.find_wheel(scope, "url", url).await
    }

    async fn wheels(
        &self,
        scope: &Scope,
        after: &str,
        limit: u32,
    ) -> Result<Vec<WheelRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM wheels WHERE scope = ? AND file_name > ? ORDER BY file_name LIMIT ?",
        )
        .bind(scope.as_str())
        .bind(after)
        .bind(limit)
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::database("list wheels"))?;
        rows.iter().map(wheel).collect()
    }

    async fn has_wheel_of(&self, scope: &Scope, digests: &[Digest]) -> Result<bool, StoreError> {
        let digests: Vec<_> = digests.iter().map(Digest::to_hex).collect();
        let digests = serde_json::to_string(&digests).expect("texts are plain data");
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM wheels WHERE scope = ?
             AND digest IN (SELECT value FROM json_each(?)))",
        )
        .bind(scope.as_str())
        .bind(digests)
        .fetch_one(&self.reader)
        .await
        .map_err(StoreError::database(READ))
    }
}
