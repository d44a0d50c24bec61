//! Models.

use async_trait::async_trait;
use kiln_oci::Digest;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;

use super::SqliteRecords;
use super::convert::get;
use crate::error::StoreError;
use crate::model_names::ModelName;
use crate::records::Models;
use crate::rows::{ModelFile, ModelFilter, ModelNotes, ModelRow, NewModel};
use crate::scope::Scope;

const REGISTER: &str = "register a model";
const READ: &str = "read a model";
const DELETE: &str = "delete a model";

/// A file as its row has it.
#[derive(Serialize, Deserialize)]
struct FileRow {
    path: String,
    sha256: String,
    size: u64,
}

fn files_json(files: &[ModelFile]) -> String {
    let rows: Vec<_> = files
        .iter()
        .map(|file| FileRow {
            path: file.path.to_string(),
            sha256: file.digest.to_hex(),
            size: file.size_bytes,
        })
        .collect();
    json(&rows)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers are plain data")
}

fn unreadable() -> StoreError {
    StoreError::Row { what: "model" }
}

fn read<T: serde::de::DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T, StoreError> {
    serde_json::from_str(&get::<String>(row, column)?).map_err(|_| unreadable())
}

fn file(row: &FileRow) -> Result<ModelFile, StoreError> {
    Ok(ModelFile {
        path: row.path.parse().map_err(|_| unreadable())?,
        digest: Digest::from_hex(&row.sha256).map_err(|_| unreadable())?,
        size_bytes: row.size,
    })
}

fn model(row: &SqliteRow) -> Result<ModelRow, StoreError> {
    let files: Vec<FileRow> = read(row, "files")?;
    Ok(ModelRow {
        name: get::<String>(row, "name")?
            .parse()
            .map_err(|_| unreadable())?,
        version: get(row, "version")?,
        files: files.iter().map(file).collect::<Result<_, _>>()?,
        notes: ModelNotes {
            description: get(row, "description")?,
            tags: read(row, "tags")?,
            properties: read(row, "properties")?,
        },
        run_id: get(row, "run_id")?,
        experiment: get(row, "experiment")?,
        details: get(row, "details")?,
        actor: get(row, "actor")?,
        via: get(row, "via")?,
        created_ms: get(row, "created_ms")?,
        changed_ms: get(row, "changed_ms")?,
    })
}

/// Who holds a version's blobs.
fn holder(scope: &Scope, name: &ModelName, version: u32) -> String {
    format!("model:{scope}/{name}:{version}")
}

#[async_trait]
impl Models for SqliteRecords {
    async fn register_model(&self, scope: &Scope, new: &NewModel) -> Result<ModelRow, StoreError> {
        let mut transaction = self.write(REGISTER).await?;
        let now_ms = self.clock.wall_ms();
        let row = sqlx::query(
            "INSERT INTO models (scope, name, version, files, description, tags, properties, run_id,
             experiment, details, actor, via, created_ms, changed_ms)
             VALUES (?1, ?2, (SELECT coalesce(max(version), 0) + 1 FROM models
                              WHERE scope = ?1 AND name = ?2), ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12)
             RETURNING *",
        )
        .bind(scope.as_str())
        .bind(new.name.as_str())
        .bind(files_json(&new.files))
        .bind(&new.notes.description)
        .bind(json(&new.notes.tags))
        .bind(json(&new.notes.properties))
        .bind(&new.run_id)
        .bind(&new.experiment)
        .bind(&new.details)
        .bind(&new.actor)
        .bind(&new.via)
        .bind(now_ms)
        .fetch_one(&mut *transaction)
        .await
        .map_err(StoreError::database(REGISTER))?;
        let made = model(&row)?;
        let digests: Vec<_> = made.files.iter().map(|file| file.digest.to_hex()).collect();
        sqlx::query(
            "INSERT INTO blob_holds (digest, holder) SELECT value, ?2 FROM json_each(?1) WHERE true
             ON CONFLICT DO NOTHING",
        )
        .bind(json(&digests))
        .bind(holder(scope, &made.name, made.version))
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::database(REGISTER))?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(REGISTER))?;
        Ok(made)
    }

    async fn model(
        &self,
        scope: &Scope,
        name: &ModelName,
        version: Option<u32>,
    ) -> Result<Option<ModelRow>, StoreError> {
        let row = sqlx::query(
            "SELECT * FROM models WHERE scope = ? AND name = ? AND deleted_ms IS NULL
             AND version = coalesce(?, version) ORDER BY version DESC LIMIT 1",
        )
        .bind(scope.as_str())
        .bind(name.as_str())
        .bind(version)
        .fetch_optional(&self.reader)
        .await
        .map_err(StoreError::database(READ))?;
        row.as_ref().map(model).transpose()
    }

    async fn models(
        &self,
        scope: &Scope,
        filter: &ModelFilter,
    ) -> Result<Vec<ModelRow>, StoreError> {
        let (name, version) = filter
            .after
            .as_ref()
            .map_or(("", u32::MAX), |(name, version)| (name.as_str(), *version));
        let rows = sqlx::query(
            "SELECT * FROM models m WHERE scope = ?1 AND deleted_ms IS NULL
             AND (?2 IS NULL OR name = ?2) AND (?3 IS NULL OR run_id = ?3)
             AND (NOT ?4 OR version = (SELECT max(n.version) FROM models n
                  WHERE n.scope = ?1 AND n.name = m.name AND n.deleted_ms IS NULL))
             AND (name > ?5 OR (name = ?5 AND version < ?6))
             ORDER BY name, version DESC LIMIT ?7",
        )
        .bind(scope.as_str())
        .bind(filter.name.as_ref().map(ModelName::as_str))
        .bind(&filter.run_id)
        .bind(filter.latest)
        .bind(name)
        .bind(version)
        .bind(filter.limit)
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::database("list models"))?;
        rows.iter().map(model).collect()
    }

    async fn note_model(
        &self,
        scope: &Scope,
        name: &ModelName,
        version: u32,
        notes: &ModelNotes,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE models SET description = ?, tags = ?, properties = ?, changed_ms = ?
             WHERE scope = ? AND name = ? AND version = ? AND deleted_ms IS NULL",
        )
        .bind(&notes.description)
        .bind(json(&notes.tags))
        .bind(json(&notes.properties))
        .bind(self.clock.wall_ms())
        .bind(scope.as_str())
        .bind(name.as_str())
        .bind(version)
        .execute(&self.writer)
        .await
        .map_err(StoreError::database("change what is said of a model"))?;
        Ok(done.rows_affected() == 1)
    }

    async fn delete_model(
        &self,
        scope: &Scope,
        name: &ModelName,
        version: u32,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.write(DELETE).await?;
        // The row stays: its number is not used again.
        let done = sqlx::query(
            "UPDATE models SET deleted_ms = ?, files = '[]'
             WHERE scope = ? AND name = ? AND version = ? AND deleted_ms IS NULL",
        )
        .bind(self.clock.wall_ms())
        .bind(scope.as_str())
        .bind(name.as_str())
        .bind(version)
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::database(DELETE))?;
        sqlx::query("DELETE FROM blob_holds WHERE holder = ?")
            .bind(holder(scope, name, version))
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::database(DELETE))?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(DELETE))?;
        Ok(done.rows_affected() == 1)
    }
}
