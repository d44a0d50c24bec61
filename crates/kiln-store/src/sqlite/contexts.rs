//! Build contexts.

use async_trait::async_trait;
use kiln_oci::Digest;
use sqlx::sqlite::SqliteRow;

use super::SqliteRecords;
use super::convert::get;
use crate::error::StoreError;
use crate::records::Contexts;
use crate::rows::{ContextRow, NewContext};
use crate::scope::Scope;

const KEEP: &str = "keep a build context";
const READ: &str = "read a build context";

fn context(row: &SqliteRow) -> Result<ContextRow, StoreError> {
    let unreadable = || StoreError::Row { what: "context" };
    let digest: String = get(row, "digest")?;
    let number = |name| u64::try_from(get::<i64>(row, name)?).map_err(|_| unreadable());
    Ok(ContextRow {
        digest: Digest::from_hex(&digest).map_err(|_| unreadable())?,
        size_bytes: number("size_bytes")?,
        files: number("files")?,
        actor: get(row, "actor")?,
        via: get(row, "via")?,
        created_ms: get(row, "created_ms")?,
    })
}

#[async_trait]
impl Contexts for SqliteRecords {
    async fn keep_context(
        &self,
        scope: &Scope,
        new: &NewContext,
    ) -> Result<(ContextRow, bool), StoreError> {
        let mut transaction = self.write(KEEP).await?;
        let kept = sqlx::query(
            "INSERT INTO contexts (scope, digest, size_bytes, files, actor, via, created_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(scope.as_str())
        .bind(new.digest.to_hex())
        .bind(new.size_bytes.cast_signed())
        .bind(new.files.cast_signed())
        .bind(&new.actor)
        .bind(&new.via)
        .bind(self.clock.wall_ms())
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::database(KEEP))?;
        sqlx::query("INSERT INTO blob_holds (digest, holder) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(new.digest.to_hex())
            .bind(format!("context:{scope}"))
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::database(KEEP))?;
        let row = sqlx::query("SELECT * FROM contexts WHERE scope = ? AND digest = ?")
            .bind(scope.as_str())
            .bind(new.digest.to_hex())
            .fetch_one(&mut *transaction)
            .await
            .map_err(StoreError::database(KEEP))?;
        let row = context(&row)?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(KEEP))?;
        Ok((row, kept.rows_affected() == 1))
    }

    async fn context(
        &self,
        scope: &Scope,
        digest: &Digest,
    ) -> Result<Option<ContextRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM contexts WHERE scope = ? AND digest = ?")
            .bind(scope.as_str())
            .bind(digest.to_hex())
            .fetch_optional(&self.reader)
            .await
            .map_err(StoreError::database(READ))?;
        row.as_ref().map(context).transpose()
    }
}
