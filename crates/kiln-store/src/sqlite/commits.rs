//! What is pushed and tagged.

use async_trait::async_trait;
use kiln_spec::SpecHash;
use sqlx::AssertSqlSafe;

use super::SqliteRecords;
use super::builds::ACTIVE;
use super::images::{known, known_sql};
use crate::error::StoreError;
use crate::records::Commits;
use crate::rows::{KnownImage, NewImage};
use crate::scope::Scope;

#[async_trait]
impl Commits for SqliteRecords {
    async fn note_pushed(
        &self,
        id: &str,
        fence: i64,
        image: &NewImage,
    ) -> Result<bool, StoreError> {
        let sql = format!("UPDATE builds SET pushed = ? WHERE id = ? AND fence = ? AND {ACTIVE}");
        let done = sqlx::query(AssertSqlSafe(sql))
            .bind(serde_json::to_string(image).expect("an image is plain data"))
            .bind(id)
            .bind(fence)
            .execute(&self.writer)
            .await
            .map_err(StoreError::database("note a push"))?;
        Ok(done.rows_affected() == 1)
    }

    async fn mark_tagged(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        generation: u64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE images SET untagged = 0 WHERE scope = ? AND spec_hash = ? AND generation = ?",
        )
        .bind(scope.as_str())
        .bind(spec_hash.to_hex())
        .bind(generation.cast_signed())
        .execute(&self.writer)
        .await
        .map_err(StoreError::database("note tags"))?;
        Ok(())
    }

    async fn untagged_images(&self, limit: u32) -> Result<Vec<KnownImage>, StoreError> {
        let sql = format!(
            "{} WHERE i.untagged AND NOT i.lost ORDER BY i.created_ms LIMIT ?",
            known_sql()
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(limit)
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::database("list untagged images"))?;
        rows.iter().map(known).collect()
    }
}
