//! Named environments: registered, found, labelled, archived.

use async_trait::async_trait;
use kiln_oci::Digest;
use kiln_spec::{EnvironmentName, EnvironmentVersion, Label, SpecHash, Which, next_version};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::SqliteRecords;
use super::builds::define;
use super::convert::{self, IMAGE_COLUMNS};
use super::environment_rows::{NEWEST, history, overrides_json, select, settle, tell, version};
use crate::error::StoreError;
use crate::records::Environments;
use crate::rows::{
    Done, EnvironmentRow, HistoryRow, ImageRow, NameFilter, NewEnvironment, Registered,
};
use crate::scope::Scope;

const REGISTER: &str = "register an environment";
const READ: &str = "read an environment";
const LIST: &str = "list environments";
const LABEL: &str = "label an environment";
const ARCHIVE: &str = "archive an environment";

async fn find(
    connection: &mut SqliteConnection,
    scope: &Scope,
    name: &EnvironmentName,
    which: &Which,
) -> Result<Option<EnvironmentRow>, StoreError> {
    let (condition, which) = match which {
        Which::Latest => (format!("v.number = {NEWEST} AND ?3 = ''"), ""),
        Which::Version(version) => ("v.version = ?3".to_owned(), version.as_str()),
        Which::Label(label) => (
            "v.version = (SELECT l.version FROM environment_labels l
              WHERE l.scope = ?1 AND l.name = ?2 AND l.label = ?3)"
                .to_owned(),
            label.as_str(),
        ),
    };
    let sql = format!(
        "{} WHERE v.scope = ?1 AND v.name = ?2 AND {condition}",
        select()
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(scope.as_str())
        .bind(name.as_str())
        .bind(which)
        .fetch_optional(connection)
        .await
        .map_err(StoreError::database(READ))?;
    row.as_ref().map(version).transpose()
}

/// The next automatic version of a name.
async fn next(
    connection: &mut SqliteConnection,
    scope: &Scope,
    name: &EnvironmentName,
) -> Result<EnvironmentVersion, StoreError> {
    let highest: Option<String> = sqlx::query_scalar(
        "SELECT version FROM environment_versions
         WHERE scope = ? AND name = ? AND version GLOB '[1-9]*' AND version NOT GLOB '*[^0-9]*'
           AND length(version) <= 18
         ORDER BY length(version) DESC, version DESC LIMIT 1",
    )
    .bind(scope.as_str())
    .bind(name.as_str())
    .fetch_optional(connection)
    .await
    .map_err(StoreError::database(REGISTER))?;
    let highest: Option<EnvironmentVersion> = highest.and_then(|version| version.parse().ok());
    Ok(next_version(&highest))
}

async fn insert(
    connection: &mut SqliteConnection,
    scope: &Scope,
    new: &NewEnvironment,
    version: &EnvironmentVersion,
    now_ms: i64,
) -> Result<(), StoreError> {
    let files = serde_json::to_string(&new.document.files).expect("texts are plain data");
    sqlx::query(
        "INSERT INTO environments (scope, name, created_ms) VALUES (?, ?, ?)
         ON CONFLICT (scope, name) DO UPDATE SET archived_ms = NULL",
    )
    .bind(scope.as_str())
    .bind(new.name.as_str())
    .bind(now_ms)
    .execute(&mut *connection)
    .await
    .map_err(StoreError::database(REGISTER))?;
    sqlx::query(
        "INSERT INTO environment_versions (scope, name, version, number, kind, document, files,
         overrides, digest, spec_hash, actor, via, created_ms)
         VALUES (?1, ?2, ?3, (SELECT coalesce(max(number), 0) + 1 FROM environment_versions
                              WHERE scope = ?1 AND name = ?2), ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )
    .bind(scope.as_str())
    .bind(new.name.as_str())
    .bind(version.as_str())
    .bind(new.document.kind.as_str())
    .bind(&new.document.text)
    .bind(files)
    .bind(overrides_json(&new.document.overrides))
    .bind(new.digest.to_string())
    .bind(new.spec_hash.to_hex())
    .bind(&new.done.actor)
    .bind(&new.done.via)
    .bind(now_ms)
    .execute(connection)
    .await
    .map_err(StoreError::database(REGISTER))?;
    Ok(())
}

impl SqliteRecords {
    /// Versions of a workspace that meet a condition on `v`, `?2` and `?3`.
    async fn versions_where(
        &self,
        scope: &Scope,
        condition: &str,
        value: &str,
        limit: u32,
    ) -> Result<Vec<EnvironmentRow>, StoreError> {
        let sql = format!(
            "{} WHERE v.scope = ?1 AND {condition} ORDER BY v.name, v.number LIMIT ?3",
            select()
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(scope.as_str())
            .bind(value)
            .bind(limit)
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::database(LIST))?;
        rows.iter().map(version).collect()
    }
}

#[async_trait]
impl Environments for SqliteRecords {
    async fn register_environment(
        &self,
        scope: &Scope,
        new: &NewEnvironment,
    ) -> Result<Registered, StoreError> {
        let mut transaction = self.write(REGISTER).await?;
        let now_ms = self.now_ms();
        let wanted = new.version.clone().map_or(Which::Latest, Which::Version);
        let there = find(&mut transaction, scope, &new.name, &wanted).await?;
        if let Some(row) = there {
            if new.digest.equals(&row.digest) {
                return Ok(Registered::Same(row));
            }
            if new.version.is_some() {
                return Ok(Registered::Conflict);
            }
        }
        let version = match &new.version {
            Some(version) => version.clone(),
            None => next(&mut transaction, scope, &new.name).await?,
        };
        define(
            &mut transaction,
            scope,
            &new.spec_hash,
            &new.canonical,
            now_ms,
        )
        .await?;
        insert(&mut transaction, scope, new, &version, now_ms).await?;
        settle(&mut transaction, scope, &new.spec_hash).await?;
        let told = Some(&version);
        tell(&mut transaction, scope, &new.name, told, &new.done, now_ms).await?;
        let which = Which::Version(version);
        let row = find(&mut transaction, scope, &new.name, &which).await?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(REGISTER))?;
        row.map(Registered::New).ok_or(StoreError::Row {
            what: "environment",
        })
    }

    async fn environment(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        which: &Which,
    ) -> Result<Option<EnvironmentRow>, StoreError> {
        let connection = self.reader.acquire().await;
        let mut connection = connection.map_err(StoreError::database(READ))?;
        find(&mut connection, scope, name, which).await
    }

    async fn environments(
        &self,
        scope: &Scope,
        filter: &NameFilter,
    ) -> Result<Vec<EnvironmentRow>, StoreError> {
        let sql = format!(
            "{} WHERE v.scope = ?1 AND v.name > ?2 AND substr(v.name, 1, length(?3)) = ?3
             AND (?4 OR e.archived_ms IS NULL)
             AND v.number = coalesce({NEWEST}, iif(?4, (SELECT max(w.number)
                 FROM environment_versions w WHERE w.scope = v.scope AND w.name = v.name), NULL))
             ORDER BY v.name LIMIT ?5",
            select()
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(scope.as_str())
            .bind(filter.after.as_ref().map_or("", EnvironmentName::as_str))
            .bind(filter.prefix.as_deref().unwrap_or_default())
            .bind(filter.archived)
            .bind(filter.limit)
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::database(LIST))?;
        rows.iter().map(version).collect()
    }

    async fn environment_versions(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        limit: u32,
        before: Option<&EnvironmentVersion>,
    ) -> Result<Vec<EnvironmentRow>, StoreError> {
        let sql = format!(
            "{} WHERE v.scope = ?1 AND v.name = ?2
             AND (?3 IS NULL OR v.number < (SELECT w.number FROM environment_versions w
                  WHERE w.scope = ?1 AND w.name = ?2 AND w.version = ?3))
             ORDER BY v.number DESC LIMIT ?4",
            select()
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(scope.as_str())
            .bind(name.as_str())
            .bind(before.map(EnvironmentVersion::as_str))
            .bind(limit)
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::database(LIST))?;
        rows.iter().map(version).collect()
    }

    async fn environment_history(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        limit: u32,
        before: Option<i64>,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, version, action, detail, actor, via, at_ms FROM environment_history
             WHERE scope = ?1 AND name = ?2 AND (?3 IS NULL OR id < ?3) ORDER BY id DESC LIMIT ?4",
        )
        .bind(scope.as_str())
        .bind(name.as_str())
        .bind(before)
        .bind(limit)
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::database("read an environment's history"))?;
        rows.iter().map(history).collect()
    }

    async fn label_environment(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        version: &EnvironmentVersion,
        labels: &[Label],
        done: &Done,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.write(LABEL).await?;
        let which = Which::Version(version.clone());
        if find(&mut transaction, scope, name, &which).await?.is_none() {
            return Ok(false);
        }
        for label in labels {
            sqlx::query(
                "INSERT INTO environment_labels (scope, name, label, version) VALUES (?, ?, ?, ?)
                 ON CONFLICT (scope, name, label) DO UPDATE SET version = excluded.version",
            )
            .bind(scope.as_str())
            .bind(name.as_str())
            .bind(label.as_str())
            .bind(version.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::database(LABEL))?;
        }
        tell(
            &mut transaction,
            scope,
            name,
            Some(version),
            done,
            self.now_ms(),
        )
        .await?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(LABEL))?;
        Ok(true)
    }

    async fn unlabel_environment(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        label: &Label,
        done: &Done,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.write(LABEL).await?;
        let version: Option<String> = sqlx::query_scalar(
            "DELETE FROM environment_labels WHERE scope = ? AND name = ? AND label = ?
             RETURNING version",
        )
        .bind(scope.as_str())
        .bind(name.as_str())
        .bind(label.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(StoreError::database(LABEL))?;
        let Some(version) = version else {
            return Ok(false);
        };
        let version = version.parse().map_err(|_| StoreError::Row {
            what: "environment",
        })?;
        tell(
            &mut transaction,
            scope,
            name,
            Some(&version),
            done,
            self.now_ms(),
        )
        .await?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(LABEL))?;
        Ok(true)
    }

    async fn archive_environment(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        version: Option<&EnvironmentVersion>,
        archived: bool,
        done: &Done,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.write(ARCHIVE).await?;
        let now_ms = self.now_ms();
        let table = match version {
            Some(_) => "environment_versions",
            None => "environments",
        };
        let condition = version.map_or("?4 IS NULL", |_| "version = ?4");
        let sql = format!(
            "UPDATE {table} SET archived_ms = ?3 WHERE scope = ?1 AND name = ?2 AND {condition}
             AND (archived_ms IS NULL) = (?3 IS NOT NULL)"
        );
        let changed = sqlx::query(AssertSqlSafe(sql))
            .bind(scope.as_str())
            .bind(name.as_str())
            .bind(archived.then_some(now_ms))
            .bind(version.map(EnvironmentVersion::as_str))
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::database(ARCHIVE))?;
        if changed.rows_affected() == 0 {
            return Ok(false);
        }
        if let Some(version) = version {
            let which = Which::Version(version.clone());
            if let Some(row) = find(&mut transaction, scope, name, &which).await? {
                settle(&mut transaction, scope, &row.spec_hash).await?;
            }
        }
        tell(&mut transaction, scope, name, version, done, now_ms).await?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(ARCHIVE))?;
        Ok(true)
    }

    async fn environments_of(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        limit: u32,
    ) -> Result<Vec<EnvironmentRow>, StoreError> {
        self.versions_where(scope, "v.spec_hash = ?2", &spec_hash.to_hex(), limit)
            .await
    }

    async fn environments_on(
        &self,
        scope: &Scope,
        digest: &Digest,
        limit: u32,
    ) -> Result<Vec<EnvironmentRow>, StoreError> {
        let condition = "(v.spec_hash, v.generation) IN (SELECT i.spec_hash, i.generation
                         FROM images i WHERE i.scope = ?1 AND i.digest = ?2)";
        self.versions_where(scope, condition, &digest.to_hex(), limit)
            .await
    }

    async fn image_of_generation(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        generation: u64,
    ) -> Result<Option<ImageRow>, StoreError> {
        let sql = format!(
            "SELECT {IMAGE_COLUMNS} FROM images
             WHERE scope = ? AND spec_hash = ? AND generation = ?"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(scope.as_str())
            .bind(spec_hash.to_hex())
            .bind(generation.cast_signed())
            .fetch_optional(&self.reader)
            .await
            .map_err(StoreError::database("read an image"))?;
        row.as_ref().map(convert::image).transpose()
    }

    async fn lock(&self, scope: &Scope, lock_hash: &str) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT json FROM locks WHERE scope = ? AND lock_hash = ?")
            .bind(scope.as_str())
            .bind(lock_hash)
            .fetch_optional(&self.reader)
            .await
            .map_err(StoreError::database("read a lock"))
    }
}
