//! Layers of packages.

use async_trait::async_trait;
use kiln_oci::Digest;
use sqlx::sqlite::SqliteRow;

use super::SqliteRecords;
use super::convert::get;
use crate::error::StoreError;
use crate::records::Layers;
use crate::rows::LayerRow;

const UNREADABLE: StoreError = StoreError::Row { what: "layer" };

fn digest(row: &SqliteRow, column: &'static str) -> Result<Digest, StoreError> {
    Digest::from_hex(&get::<String>(row, column)?).map_err(|_| UNREADABLE)
}

fn layer(row: &SqliteRow) -> Result<LayerRow, StoreError> {
    let number = |column| u64::try_from(get::<i64>(row, column)?).map_err(|_| UNREADABLE);
    let directories: String = get(row, "directories")?;
    Ok(LayerRow {
        key: get(row, "key")?,
        digest: digest(row, "digest")?,
        diff_id: digest(row, "diff_id")?,
        size_bytes: number("size_bytes")?,
        segment_offset: number("segment_offset")?,
        segment_bytes: number("segment_bytes")?,
        directories: serde_json::from_str(&directories).map_err(|_| UNREADABLE)?,
    })
}

/// Texts as a JSON array, for statements over many.
fn array(texts: &[String]) -> String {
    serde_json::to_string(texts).expect("texts are plain data")
}

fn hex(digests: &[Digest]) -> Vec<String> {
    digests.iter().map(Digest::to_hex).collect()
}

#[async_trait]
impl Layers for SqliteRecords {
    async fn layers(&self, keys: &[String]) -> Result<Vec<LayerRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM package_layers WHERE key IN (SELECT value FROM json_each(?)) ORDER BY key",
        )
        .bind(array(keys))
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::database("look for layers"))?;
        rows.iter().map(layer).collect()
    }

    async fn keep_layer(&self, row: &LayerRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT OR REPLACE INTO package_layers
             (key, digest, diff_id, size_bytes, segment_offset, segment_bytes, directories, created_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&row.key)
        .bind(row.digest.to_hex())
        .bind(row.diff_id.to_hex())
        .bind(row.size_bytes.cast_signed())
        .bind(row.segment_offset.cast_signed())
        .bind(row.segment_bytes.cast_signed())
        .bind(array(&row.directories))
        .bind(self.clock.wall_ms())
        .execute(&self.writer)
        .await
        .map_err(StoreError::database("keep a layer"))?;
        Ok(())
    }

    async fn drop_layer(&self, digest: &Digest) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM package_layers WHERE digest = ?")
            .bind(digest.to_hex())
            .execute(&self.writer)
            .await
            .map_err(StoreError::database("drop a layer"))?;
        Ok(())
    }

    async fn layer_places(
        &self,
        registry: &str,
        digests: &[Digest],
    ) -> Result<Vec<(Digest, String)>, StoreError> {
        let rows = sqlx::query(
            "SELECT digest, repository FROM layer_places
             WHERE registry = ? AND digest IN (SELECT value FROM json_each(?))",
        )
        .bind(registry)
        .bind(array(&hex(digests)))
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::database("look for layers in a registry"))?;
        let place = |row| Ok((digest(row, "digest")?, get(row, "repository")?));
        rows.iter().map(place).collect()
    }

    async fn note_layers(
        &self,
        registry: &str,
        repository: &str,
        digests: &[Digest],
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO layer_places (digest, registry, repository)
             SELECT value, ?2, ?3 FROM json_each(?1) WHERE true
             ON CONFLICT (digest, registry) DO UPDATE SET repository = excluded.repository",
        )
        .bind(array(&hex(digests)))
        .bind(registry)
        .bind(repository)
        .execute(&self.writer)
        .await
        .map_err(StoreError::database("note a registry's layers"))?;
        Ok(())
    }
}
