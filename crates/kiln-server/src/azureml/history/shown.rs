//! Experiments and runs as the SDK reads them.

use kiln_store::{ExperimentRow, RunRow};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The type of run of which the SDK makes a submitted run.
const RUN_TYPE: &str = "azureml.scriptrun";

fn date(ms: i64) -> Value {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .map_or(Value::Null, Value::String)
}

fn maybe(ms: Option<i64>) -> Value {
    ms.map_or(Value::Null, date)
}

pub(super) fn experiment(row: &ExperimentRow) -> Value {
    json!({
        "experimentId": row.id,
        "name": row.name.as_str(),
        "createdUtc": date(row.created_ms),
        "tags": {},
    })
}

/// The container of a run's files.
pub(super) fn container(row: &RunRow) -> String {
    format!("dcid.{}", row.run.id)
}

fn error(row: &RunRow) -> Value {
    row.error.as_ref().map_or(
        Value::Null,
        |error| json!({ "error": { "code": error.code, "message": error.message } }),
    )
}

/// A run, without what it is defined as.
pub(super) fn run(row: &RunRow) -> Value {
    let run = &row.run;
    json!({
        "runNumber": row.number,
        "rootRunId": run.parent.as_ref().unwrap_or(&run.id).as_str(),
        "runId": run.id.as_str(),
        "parentRunId": run.parent.as_ref().map(kiln_store::RunId::as_str),
        "experimentId": row.experiment_id,
        "createdUtc": date(row.created_ms),
        "status": run.status.as_str(),
        "runUuid": row.uuid,
        "rootRunUuid": row.uuid,
        "dataContainerId": container(row),
        "name": run.title,
        "displayName": run.title,
        "properties": run.properties,
        "tags": run.tags,
        "runType": RUN_TYPE,
        "target": run.target,
        "scriptName": run.script,
        "startTimeUtc": maybe(row.started_ms),
        "endTimeUtc": maybe(row.ended_ms),
        "error": error(row),
        "createdBy": {
            "userObjectId": run.actor,
            "userTenantId": run.actor,
            "userName": run.actor,
        },
    })
}

/// A run with what it is defined as, and its environment's name and version in it.
pub(super) fn details(row: &RunRow) -> Value {
    let run = &row.run;
    let definition = run.definition.as_deref();
    let mut definition: Value = definition
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or(Value::Null);
    if let Some(environment) = &run.environment {
        if !definition.is_object() {
            definition = json!({
                "script": run.script,
                "arguments": run.arguments,
                "target": run.target,
            });
        }
        let shown = &mut definition["environment"];
        if !shown.is_object() {
            *shown = json!({});
        }
        shown["name"] = environment.name.as_str().into();
        shown["version"] = environment.version.as_str().into();
    }
    json!({
        "runId": run.id.as_str(),
        "target": run.target,
        "status": run.status.as_str(),
        "startTimeUtc": maybe(row.started_ms),
        "endTimeUtc": maybe(row.ended_ms),
        "error": error(row),
        "warnings": [],
        "properties": run.properties,
        "inputDatasets": [],
        "outputDatasets": [],
        "runDefinition": definition,
        "logFiles": {},
    })
}
