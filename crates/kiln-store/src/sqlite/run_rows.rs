//! Rows of runs: how they are read.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;

use super::convert::get;
use crate::error::StoreError;
use crate::rows::{
    ExperimentRow, NewRun, RunEnvironment, RunError, RunFile, RunMetric, RunRow, RunStatus,
};

/// Selects runs `r` of experiments `e`.
pub(super) const SELECT: &str = "SELECT r.*, e.id AS experiment_id
     FROM runs r JOIN experiments e ON e.scope = r.scope AND e.name = r.experiment";

fn unreadable<E>(_: E) -> StoreError {
    StoreError::Row { what: "run" }
}

pub(super) fn experiment(row: &SqliteRow) -> Result<ExperimentRow, StoreError> {
    Ok(ExperimentRow {
        name: get::<String>(row, "name")?.parse().map_err(unreadable)?,
        id: get(row, "id")?,
        actor: get(row, "actor")?,
        created_ms: get(row, "created_ms")?,
    })
}

/// A row of [`SELECT`].
pub(super) fn run(row: &SqliteRow) -> Result<RunRow, StoreError> {
    let text = |column: &str| get::<String>(row, column);
    let maybe = |column: &str| get::<Option<String>>(row, column);
    let map = |column: &str| -> Result<BTreeMap<String, String>, StoreError> {
        serde_json::from_str(&text(column)?).map_err(unreadable)
    };
    let environment = match (maybe("environment")?, maybe("environment_version")?) {
        (Some(name), Some(version)) => Some(RunEnvironment {
            name: name.parse().map_err(unreadable)?,
            version: version.parse().map_err(unreadable)?,
        }),
        _ => None,
    };
    let error = maybe("error_code")?.zip(maybe("error_message")?);
    let parent = maybe("parent")?.map(|parent| parent.parse()).transpose();
    Ok(RunRow {
        run: NewRun {
            id: text("id")?.parse().map_err(unreadable)?,
            experiment: text("experiment")?.parse().map_err(unreadable)?,
            parent: parent.map_err(unreadable)?,
            title: maybe("title")?,
            status: RunStatus::parse(&text("status")?)?,
            environment,
            target: text("target")?,
            script: maybe("script")?,
            arguments: serde_json::from_str(&text("arguments")?).map_err(unreadable)?,
            definition: maybe("definition")?,
            snapshot: maybe("snapshot")?,
            properties: map("properties")?,
            tags: map("tags")?,
            actor: text("actor")?,
            via: text("via")?,
        },
        experiment_id: text("experiment_id")?,
        number: u64::try_from(get::<i64>(row, "number")?).map_err(unreadable)?,
        uuid: text("uuid")?,
        image: maybe("image")?,
        exit_code: get(row, "exit_code")?,
        error: error.map(|(code, message)| RunError { code, message }),
        created_ms: get(row, "created_ms")?,
        changed_ms: get(row, "changed_ms")?,
        started_ms: get(row, "started_ms")?,
        ended_ms: get(row, "ended_ms")?,
    })
}

pub(super) fn file(row: &SqliteRow) -> Result<RunFile, StoreError> {
    let digest: String = get(row, "digest")?;
    Ok(RunFile {
        path: get::<String>(row, "path")?.parse().map_err(unreadable)?,
        digest: kiln_oci::Digest::from_hex(&digest).map_err(unreadable)?,
        size_bytes: u64::try_from(get::<i64>(row, "size_bytes")?).map_err(unreadable)?,
    })
}

pub(super) fn metric(row: &SqliteRow) -> Result<RunMetric, StoreError> {
    Ok(RunMetric {
        id: get(row, "id")?,
        name: get(row, "name")?,
        columns: get(row, "columns")?,
        properties: get(row, "properties")?,
        data: get(row, "data")?,
        at: get(row, "at")?,
    })
}
