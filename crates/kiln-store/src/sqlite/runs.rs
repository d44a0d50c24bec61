//! Experiments and runs.

use async_trait::async_trait;
use kiln_spec::EnvironmentName;
use sqlx::{AssertSqlSafe, SqliteConnection};
use uuid::Uuid;

use super::SqliteRecords;
use super::builds::add_workspace;
use super::convert::get;
use super::run_rows::{SELECT, experiment, file, metric, run};
use crate::error::StoreError;
use crate::records::Runs;
use crate::rows::{
    BegunRun, ExperimentRow, NewRun, RunChange, RunFile, RunFilter, RunMetric, RunRow, RunStatus,
};
use crate::run_names::{ExperimentName, RunId};
use crate::scope::Scope;

const READ: &str = "read a run";
const LIST: &str = "list runs";
const BEGIN: &str = "begin a run";
const CHANGE: &str = "change a run";
const FILES: &str = "keep a run's files";
const METRICS: &str = "keep a run's metrics";

/// Who holds the blobs of a run.
fn holder(scope: &Scope, id: &RunId) -> String {
    format!("run {scope} {id}")
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("texts are plain data")
}

async fn find(
    connection: &mut SqliteConnection,
    scope: &Scope,
    id: &RunId,
) -> Result<Option<RunRow>, StoreError> {
    let sql = format!("{SELECT} WHERE r.scope = ? AND r.id = ?");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(scope.as_str())
        .bind(id.as_str())
        .fetch_optional(connection)
        .await
        .map_err(StoreError::database(READ))?;
    row.as_ref().map(run).transpose()
}

async fn put_experiment(
    connection: &mut SqliteConnection,
    scope: &Scope,
    name: &ExperimentName,
    actor: &str,
    now_ms: i64,
) -> Result<ExperimentRow, StoreError> {
    add_workspace(&mut *connection, scope, now_ms).await?;
    let row = sqlx::query(
        "INSERT INTO experiments (scope, name, id, actor, created_ms) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (scope, name) DO UPDATE SET name = excluded.name
         RETURNING name, id, actor, created_ms",
    )
    .bind(scope.as_str())
    .bind(name.as_str())
    .bind(Uuid::new_v4().to_string())
    .bind(actor)
    .bind(now_ms)
    .fetch_one(connection)
    .await
    .map_err(StoreError::database("make an experiment"))?;
    experiment(&row)
}

/// Writes all that may have changed of a run.
async fn update(
    connection: &mut SqliteConnection,
    scope: &Scope,
    row: &RunRow,
) -> Result<(), StoreError> {
    let environment = row.run.environment.as_ref();
    sqlx::query(
        "UPDATE runs SET status = ?3, environment = ?4, environment_version = ?5, image = ?6,
         snapshot = ?7, properties = ?8, tags = ?9, exit_code = ?10, error_code = ?11,
         error_message = ?12, title = ?13, changed_ms = ?14, started_ms = ?15, ended_ms = ?16
         WHERE scope = ?1 AND id = ?2",
    )
    .bind(scope.as_str())
    .bind(row.run.id.as_str())
    .bind(row.run.status.as_str())
    .bind(environment.map(|environment| environment.name.as_str()))
    .bind(environment.map(|environment| environment.version.as_str()))
    .bind(&row.image)
    .bind(&row.run.snapshot)
    .bind(json(&row.run.properties))
    .bind(json(&row.run.tags))
    .bind(row.exit_code)
    .bind(row.error.as_ref().map(|error| error.code.as_str()))
    .bind(row.error.as_ref().map(|error| error.message.as_str()))
    .bind(&row.run.title)
    .bind(row.changed_ms)
    .bind(row.started_ms)
    .bind(row.ended_ms)
    .execute(connection)
    .await
    .map_err(StoreError::database(CHANGE))?;
    Ok(())
}

/// A run with a change made.
fn changed(mut row: RunRow, change: &RunChange, now_ms: i64) -> RunRow {
    if !row.run.status.is_final() {
        if let Some(status) = change.status {
            enter(&mut row, status, now_ms);
        }
        row.exit_code = change.exit_code.or(row.exit_code);
        row.error = change.error.clone().or(row.error);
        row.image = change.image.clone().or(row.image);
    }
    row.run.environment = row.run.environment.or_else(|| change.environment.clone());
    row.run.snapshot = change.snapshot.clone().or(row.run.snapshot);
    row.run.title = change.title.clone().or(row.run.title);
    for (name, value) in &change.properties {
        let value = value.clone();
        row.run.properties.entry(name.clone()).or_insert(value);
    }
    for (name, value) in &change.tags {
        match value {
            Some(value) => row.run.tags.insert(name.clone(), value.clone()),
            None => row.run.tags.remove(name),
        };
    }
    row.changed_ms = now_ms;
    row
}

fn enter(row: &mut RunRow, status: RunStatus, now_ms: i64) {
    row.run.status = status;
    if status.is_begun() {
        row.started_ms = row.started_ms.or(Some(now_ms));
    }
    if status.is_final() {
        row.ended_ms = Some(now_ms);
    }
}

#[async_trait]
impl Runs for SqliteRecords {
    async fn put_experiment(
        &self,
        scope: &Scope,
        name: &ExperimentName,
        actor: &str,
    ) -> Result<ExperimentRow, StoreError> {
        let mut transaction = self.write("make an experiment").await?;
        let now_ms = self.now_ms();
        let row = put_experiment(&mut transaction, scope, name, actor, now_ms).await?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database("make an experiment"))?;
        Ok(row)
    }

    async fn experiment(
        &self,
        scope: &Scope,
        name: &ExperimentName,
    ) -> Result<Option<ExperimentRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM experiments WHERE scope = ? AND name = ?")
            .bind(scope.as_str())
            .bind(name.as_str())
            .fetch_optional(&self.reader)
            .await
            .map_err(StoreError::database(READ))?;
        row.as_ref().map(experiment).transpose()
    }

    async fn experiment_by_id(
        &self,
        scope: &Scope,
        id: &str,
    ) -> Result<Option<ExperimentRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM experiments WHERE scope = ? AND id = ?")
            .bind(scope.as_str())
            .bind(id)
            .fetch_optional(&self.reader)
            .await
            .map_err(StoreError::database(READ))?;
        row.as_ref().map(experiment).transpose()
    }

    async fn experiments(
        &self,
        scope: &Scope,
        limit: u32,
        after: Option<&ExperimentName>,
    ) -> Result<Vec<ExperimentRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM experiments WHERE scope = ? AND name > ? ORDER BY name LIMIT ?",
        )
        .bind(scope.as_str())
        .bind(after.map_or("", ExperimentName::as_str))
        .bind(limit)
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::database(LIST))?;
        rows.iter().map(experiment).collect()
    }

    async fn begin_run(&self, scope: &Scope, new: &NewRun) -> Result<BegunRun, StoreError> {
        let mut transaction = self.write(BEGIN).await?;
        if let Some(row) = find(&mut transaction, scope, &new.id).await? {
            return Ok(BegunRun::There(row));
        }
        let now_ms = self.now_ms();
        put_experiment(&mut transaction, scope, &new.experiment, &new.actor, now_ms).await?;
        sqlx::query(
            "INSERT INTO runs (scope, id, experiment, number, uuid, parent, title, status, target,
             script, arguments, definition, properties, tags, actor, via, created_ms, changed_ms)
             VALUES (?1, ?2, ?3, (SELECT coalesce(max(number), 0) + 1 FROM runs
                                  WHERE scope = ?1 AND experiment = ?3),
                     ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, '{}', '{}', ?12, ?13, ?14, ?14)",
        )
        .bind(scope.as_str())
        .bind(new.id.as_str())
        .bind(new.experiment.as_str())
        .bind(Uuid::new_v4().to_string())
        .bind(new.parent.as_ref().map(RunId::as_str))
        .bind(&new.title)
        .bind(RunStatus::NotStarted.as_str())
        .bind(&new.target)
        .bind(&new.script)
        .bind(json(&new.arguments))
        .bind(&new.definition)
        .bind(&new.actor)
        .bind(&new.via)
        .bind(now_ms)
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::database(BEGIN))?;
        let unreadable = || StoreError::Row { what: "run" };
        let row = find(&mut transaction, scope, &new.id).await?;
        let first = RunChange {
            status: Some(new.status),
            environment: new.environment.clone(),
            snapshot: new.snapshot.clone(),
            properties: new.properties.clone(),
            tags: new
                .tags
                .iter()
                .map(|(name, value)| (name.clone(), Some(value.clone())))
                .collect(),
            ..RunChange::default()
        };
        let row = changed(row.ok_or_else(unreadable)?, &first, now_ms);
        update(&mut transaction, scope, &row).await?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(BEGIN))?;
        Ok(BegunRun::New(row))
    }

    async fn run(&self, scope: &Scope, id: &RunId) -> Result<Option<RunRow>, StoreError> {
        let connection = self.reader.acquire().await;
        let mut connection = connection.map_err(StoreError::database(READ))?;
        find(&mut connection, scope, id).await
    }

    async fn runs(&self, scope: &Scope, filter: &RunFilter) -> Result<Vec<RunRow>, StoreError> {
        let sql = format!(
            "{SELECT} WHERE r.scope = ?1
             AND (?2 IS NULL OR r.experiment = ?2) AND (?3 IS NULL OR r.environment = ?3)
             AND (?4 IS NULL OR (r.created_ms, r.id) <
                  (SELECT b.created_ms, b.id FROM runs b WHERE b.scope = ?1 AND b.id = ?4))
             AND (NOT ?5 OR r.parent IS NULL)
             ORDER BY r.created_ms DESC, r.id DESC LIMIT ?6"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(scope.as_str())
            .bind(filter.experiment.as_ref().map(ExperimentName::as_str))
            .bind(filter.environment.as_ref().map(EnvironmentName::as_str))
            .bind(filter.before.as_ref().map(RunId::as_str))
            .bind(filter.roots)
            .bind(filter.limit)
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::database(LIST))?;
        rows.iter().map(run).collect()
    }

    async fn silent_runs(
        &self,
        before_ms: i64,
        limit: u32,
    ) -> Result<Vec<(Scope, RunId)>, StoreError> {
        let rows = sqlx::query(
            "SELECT scope, id FROM runs WHERE ended_ms IS NULL AND changed_ms < ?
             ORDER BY created_ms LIMIT ?",
        )
        .bind(before_ms)
        .bind(limit)
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::database(LIST))?;
        let unreadable = || StoreError::Row { what: "run" };
        let read = |row| {
            let scope = get::<String>(row, "scope")?;
            let id = get::<String>(row, "id")?;
            let scope = scope.parse().map_err(|_| unreadable())?;
            Ok((scope, id.parse().map_err(|_| unreadable())?))
        };
        rows.iter().map(read).collect()
    }

    async fn change_run(
        &self,
        scope: &Scope,
        id: &RunId,
        change: &RunChange,
    ) -> Result<Option<RunRow>, StoreError> {
        let mut transaction = self.write(CHANGE).await?;
        let Some(row) = find(&mut transaction, scope, id).await? else {
            return Ok(None);
        };
        let row = changed(row, change, self.now_ms());
        update(&mut transaction, scope, &row).await?;
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(CHANGE))?;
        Ok(Some(row))
    }

    async fn put_run_files(
        &self,
        scope: &Scope,
        id: &RunId,
        files: &[RunFile],
    ) -> Result<bool, StoreError> {
        let mut transaction = self.write(FILES).await?;
        if find(&mut transaction, scope, id).await?.is_none() {
            return Ok(false);
        }
        for file in files {
            sqlx::query(
                "INSERT INTO run_files (scope, run, path, digest, size_bytes, created_ms)
                 VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (scope, run, path) DO UPDATE
                 SET digest = excluded.digest, size_bytes = excluded.size_bytes,
                     created_ms = excluded.created_ms",
            )
            .bind(scope.as_str())
            .bind(id.as_str())
            .bind(file.path.as_str())
            .bind(file.digest.to_hex())
            .bind(file.size_bytes.cast_signed())
            .bind(self.now_ms())
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::database(FILES))?;
        }
        // What the run holds is what its rows name, and nothing that they named before.
        for sql in [
            "DELETE FROM blob_holds WHERE holder = ?1 AND digest NOT IN
             (SELECT digest FROM run_files WHERE scope = ?2 AND run = ?3)",
            "INSERT INTO blob_holds (digest, holder)
             SELECT DISTINCT digest, ?1 FROM run_files WHERE scope = ?2 AND run = ?3
             ON CONFLICT DO NOTHING",
        ] {
            sqlx::query(sql)
                .bind(holder(scope, id))
                .bind(scope.as_str())
                .bind(id.as_str())
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::database(FILES))?;
        }
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(FILES))?;
        Ok(true)
    }

    async fn run_files(
        &self,
        scope: &Scope,
        id: &RunId,
        prefix: &str,
    ) -> Result<Vec<RunFile>, StoreError> {
        let rows = sqlx::query(
            "SELECT path, digest, size_bytes FROM run_files
             WHERE scope = ?1 AND run = ?2 AND substr(path, 1, length(?3)) = ?3 ORDER BY path",
        )
        .bind(scope.as_str())
        .bind(id.as_str())
        .bind(prefix)
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::database("read a run's files"))?;
        rows.iter().map(file).collect()
    }

    async fn add_run_metrics(
        &self,
        scope: &Scope,
        id: &RunId,
        metrics: &[RunMetric],
    ) -> Result<bool, StoreError> {
        let mut transaction = self.write(METRICS).await?;
        if find(&mut transaction, scope, id).await?.is_none() {
            return Ok(false);
        }
        for metric in metrics {
            sqlx::query(
                "INSERT INTO run_metrics (scope, run, id, name, columns, properties, data, at)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (scope, run, id) DO NOTHING",
            )
            .bind(scope.as_str())
            .bind(id.as_str())
            .bind(&metric.id)
            .bind(&metric.name)
            .bind(&metric.columns)
            .bind(&metric.properties)
            .bind(&metric.data)
            .bind(&metric.at)
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::database(METRICS))?;
        }
        let committed = transaction.commit().await;
        committed.map_err(StoreError::database(METRICS))?;
        Ok(true)
    }

    async fn run_metrics(
        &self,
        scope: &Scope,
        id: &RunId,
        name: Option<&str>,
    ) -> Result<Vec<RunMetric>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, name, columns, properties, data, at FROM run_metrics
             WHERE scope = ?1 AND run = ?2 AND (?3 IS NULL OR name = ?3) ORDER BY seq",
        )
        .bind(scope.as_str())
        .bind(id.as_str())
        .bind(name)
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::database("read a run's metrics"))?;
        rows.iter().map(metric).collect()
    }
}
