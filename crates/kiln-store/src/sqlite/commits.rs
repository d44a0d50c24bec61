//! What is pushed and tagged.

use async_trait::async_trait;
use kiln_spec::SpecHash;
use sqlx::AssertSqlSafe;

use super::SqliteRecords;
use super::builds::ACTIVE;
use super::convert::{self, IMAGE_COLUMNS, get};
use crate::error::StoreError;
use crate::records::Commits;
use crate::rows::{NewImage, UntaggedImage};
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

    async fn untagged_images(&self, limit: u32) -> Result<Vec<UntaggedImage>, StoreError> {
        let sql = format!(
            "SELECT scope, spec_hash, {IMAGE_COLUMNS} FROM images
             WHERE untagged AND NOT lost ORDER BY created_ms LIMIT ?"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(limit)
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::database("list untagged images"))?;
        let unreadable = || StoreError::Row { what: "image" };
        rows.iter()
            .map(|row| {
                Ok(UntaggedImage {
                    scope: get::<String>(row, "scope")?
                        .parse()
                        .map_err(|_| unreadable())?,
                    spec_hash: get::<String>(row, "spec_hash")?
                        .parse()
                        .map_err(|_| unreadable())?,
                    image: convert::image(row)?,
                })
            })
            .collect()
    }
}
