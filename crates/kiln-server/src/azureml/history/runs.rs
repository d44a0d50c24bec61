//! Runs: begun, read, changed, told of.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use kiln_store::{
    BegunRun, NewRun, RunChange, RunEnvironment, RunError, RunFilter, RunRow, RunStatus,
};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::shown;
use crate::access::Right;
use crate::azureml::error::AzureError;
use crate::azureml::execution::log_files;
use crate::azureml::place::Place;
use crate::body;
use crate::error::ApiError;
use crate::router::AppState;

/// Runs of a list at most.
const PAGE: u32 = 500;
/// What the names of events begin with.
const EVENTS: &str = "Microsoft.MachineLearning.Run.";

/// The run of a path, which must be of the path's experiment.
async fn found(state: &AppState, place: &Place, right: Right) -> Result<RunRow, AzureError> {
    let scope = place.scope(right)?;
    let row = state.engine.run_of(scope, &place.run()?).await?;
    if place.names_experiment() {
        let experiment = place.experiment_row(state, right).await?;
        if experiment.name != row.run.experiment {
            let what = format!("there is no run `{}` in the experiment", row.run.id);
            return Err(ApiError::not_found(what).into());
        }
    }
    Ok(row)
}

/// A run.
pub(super) async fn get(
    State(state): State<AppState>,
    place: Place,
) -> Result<Json<Value>, AzureError> {
    let row = found(&state, &place, Right::Read).await?;
    Ok(Json(shown::run(&row)))
}

/// A run with its definition and environment.
pub(super) async fn details(
    State(state): State<AppState>,
    place: Place,
) -> Result<Json<Value>, AzureError> {
    let row = found(&state, &place, Right::Read).await?;
    let scope = place.scope(Right::Read)?;
    let mut details = shown::details(&row);
    details["logFiles"] = log_files(&state, &place.server, scope, &row);
    if ended_just_now(&row) && !state.told.may_tell_run(row.run.id.as_str()) {
        // The SDK shows no log of a run whose end it hears of at first.
        details["status"] = RunStatus::Finalizing.as_str().into();
    }
    Ok(Json(details))
}

/// Whether a run is over since so short a time that who submitted it may not have asked yet.
fn ended_just_now(row: &RunRow) -> bool {
    let now_ms = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    row.ended_ms
        .is_some_and(|ended_ms| now_ms - i128::from(ended_ms) < 10_000)
}

/// What is sent of a run: to make it known, or to change it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sent {
    status: Option<String>,
    parent_run_id: Option<String>,
    name: Option<String>,
    display_name: Option<String>,
    script_name: Option<String>,
    target: Option<String>,
    properties: Option<BTreeMap<String, String>>,
    tags: Option<BTreeMap<String, Option<String>>>,
    run_definition: Option<Value>,
}

fn status(word: &str) -> Result<RunStatus, ApiError> {
    let remedy = "send one of the words that the SDK knows, for example `Running`";
    RunStatus::of_word(word)
        .ok_or_else(|| ApiError::invalid(format!("there is no status `{word}`"), remedy))
}

/// The definition as it is kept: its environment as it was registered, which has no credentials.
async fn defined(
    state: &AppState,
    place: &Place,
    definition: Option<Value>,
) -> Result<(Option<Value>, Option<RunEnvironment>), AzureError> {
    let Some(mut definition) = definition.filter(Value::is_object) else {
        return Ok((None, None));
    };
    let environment = definition["environment"].take();
    if !environment.is_object() {
        return Ok((Some(definition), None));
    }
    let scope = place.scope(Right::Build)?;
    let row = state
        .engine
        .environment_of_run(scope, &environment, &place.origin())
        .await?;
    let (name, version) = (row.name.as_str(), row.version.as_str());
    let kept = row.document.azureml_json(name, Some(version), None);
    definition["environment"] = serde_json::from_str(&kept).unwrap_or_default();
    let environment = RunEnvironment {
        name: row.name,
        version: row.version,
    };
    Ok((Some(definition), Some(environment)))
}

/// Texts of a definition's arguments, whatever types they had.
pub(in crate::azureml) fn arguments(definition: Option<&Value>) -> Vec<String> {
    let arguments = definition.and_then(|definition| definition["arguments"].as_array());
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    arguments.into_iter().flatten().map(text).collect()
}

/// Changes a run, or makes it known.
pub(super) async fn patch(
    State(state): State<AppState>,
    place: Place,
    bytes: Bytes,
) -> Result<Json<Value>, AzureError> {
    let scope = place.scope(Right::Build)?;
    let sent: Sent = body::read(&bytes)?;
    let id = place.run()?;
    let status = sent.status.as_deref().map(status).transpose()?;
    let title = sent.display_name.or(sent.name);
    let properties = sent.properties.unwrap_or_default();
    let tags = sent.tags.unwrap_or_default();
    let there = state.engine.store().records().run(scope, &id).await;
    if there.map_err(kiln_engine::EngineError::from)?.is_some() {
        found(&state, &place, Right::Build).await?;
        let change = RunChange {
            status,
            title,
            snapshot: properties.get("ContentSnapshotId").cloned(),
            properties,
            tags,
            ..RunChange::default()
        };
        let row = state.engine.change_run(scope, &id, &change).await?;
        return Ok(Json(shown::run(&row)));
    }
    let (definition, environment) = defined(&state, &place, sent.run_definition).await?;
    let parent = sent.parent_run_id.as_deref().map(str::parse).transpose();
    let origin = place.origin();
    let new = NewRun {
        id,
        experiment: place.experiment_name(&state, Right::Build).await?,
        parent: parent.map_err(|error| super::super::place::no_name("run", &error))?,
        title,
        status: status.unwrap_or(RunStatus::NotStarted),
        environment,
        target: sent.target.unwrap_or_else(|| "sdk".to_owned()),
        script: sent.script_name,
        arguments: arguments(definition.as_ref()),
        definition: definition.map(|definition| definition.to_string()),
        snapshot: properties.get("ContentSnapshotId").cloned(),
        properties,
        tags: tags
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect(),
        actor: origin.actor,
        via: origin.via,
    };
    let begun = state.engine.begin_run(scope, &new).await?;
    let (BegunRun::New(row) | BegunRun::There(row)) = begun;
    Ok(Json(shown::run(&row)))
}

/// Something that happened to a run.
#[derive(Debug, Deserialize)]
struct Event {
    name: String,
    #[serde(default)]
    data: Value,
}

/// What an event changes; none is one that changes nothing.
fn change_of(event: &Event) -> RunChange {
    let status = match event.name.strip_prefix(EVENTS).unwrap_or_default() {
        "Start" => Some(RunStatus::Running),
        "Completed" => Some(RunStatus::Completed),
        "Failed" => Some(RunStatus::Failed),
        "Canceled" => Some(RunStatus::Canceled),
        "CancelRequested" => Some(RunStatus::CancelRequested),
        _ => None,
    };
    let told = &event.data["ErrorResponse"]["error"];
    let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    let error = told.is_object().then(|| RunError {
        code: text("code"),
        message: text("message"),
    });
    RunChange {
        status,
        error,
        ..RunChange::default()
    }
}

/// Notes an event.
pub(super) async fn event(
    State(state): State<AppState>,
    place: Place,
    bytes: Bytes,
) -> Result<Json<Value>, AzureError> {
    let row = found(&state, &place, Right::Build).await?;
    let event: Event = body::read(&bytes)?;
    let scope = place.scope(Right::Build)?;
    let change = change_of(&event);
    state.engine.change_run(scope, &row.run.id, &change).await?;
    Ok(Json(json!({})))
}

/// What is asked of an experiment's runs.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Query {
    filter: Option<String>,
    continuation_token: Option<String>,
    top: Option<u32>,
}

/// The runs of an experiment, newest first; of filters, the one for runs that no other began is known.
pub(super) async fn list(
    State(state): State<AppState>,
    place: Place,
    bytes: Bytes,
) -> Result<Json<Value>, AzureError> {
    let scope = place.scope(Right::Read)?;
    let query: Query = if bytes.is_empty() {
        Query::default()
    } else {
        body::read(&bytes)?
    };
    let before = query.continuation_token.as_deref().map(str::parse);
    let before = before.transpose();
    let limit = query.top.unwrap_or(PAGE).clamp(1, PAGE);
    let filter = RunFilter {
        experiment: Some(place.experiment_row(&state, Right::Read).await?.name),
        roots: query
            .filter
            .is_some_and(|filter| filter.contains("ParentRunId eq null")),
        before: before.map_err(|error| super::super::place::no_name("run", &error))?,
        limit,
        ..RunFilter::default()
    };
    let rows = state.engine.runs(scope, &filter).await?;
    let more = rows.len() >= limit as usize;
    let last = rows.last().filter(|_| more).map(|row| row.run.id.as_str());
    Ok(Json(json!({
        "value": rows.iter().map(shown::run).collect::<Vec<_>>(),
        "continuationToken": last,
    })))
}

/// The files of a run below a path.
pub(super) async fn files(
    State(state): State<AppState>,
    place: Place,
) -> Result<Json<Value>, AzureError> {
    let scope = place.scope(Right::Read)?;
    let (container, prefix) = place.artifacts();
    let id = container.strip_prefix("dcid.").unwrap_or(container);
    let id = id
        .parse()
        .map_err(|error| super::super::place::no_name("run", &error))?;
    state.engine.run_of(scope, &id).await?;
    let files = state.engine.run_files(scope, &id, prefix).await?;
    let value: Vec<_> = files
        .iter()
        .map(|file| {
            json!({
                "origin": "ExperimentRun",
                "container": container,
                "path": file.path.as_str(),
                "artifactId": format!("ExperimentRun/{container}/{}", file.path),
            })
        })
        .collect();
    Ok(Json(json!({ "value": value, "continuationToken": null })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event_of(name: &str, data: Value) -> Event {
        Event {
            name: format!("{EVENTS}{name}"),
            data,
        }
    }

    #[test]
    fn events_move_a_run_and_a_heartbeat_moves_nothing() {
        for (name, status) in [
            ("Start", Some(RunStatus::Running)),
            ("Completed", Some(RunStatus::Completed)),
            ("Canceled", Some(RunStatus::Canceled)),
            ("Heartbeat", None),
        ] {
            let change = change_of(&event_of(name, Value::Null));
            assert_eq!((change.status, change.error), (status, None), "{name}");
        }
        let data = json!({ "ErrorResponse": { "error": { "code": "UserError", "message": "m" } } });
        let change = change_of(&event_of("Error", data));
        let error = RunError {
            code: "UserError".into(),
            message: "m".into(),
        };
        assert_eq!((change.status, change.error), (None, Some(error)));
    }

    #[test]
    fn arguments_of_any_type_are_texts() {
        let definition = json!({ "arguments": ["--x", 1, 0.5, true] });
        assert_eq!(arguments(Some(&definition)), ["--x", "1", "0.5", "true"]);
        assert_eq!(arguments(None), Vec::<String>::new());
    }
}
