//! `/v1/runs`: what ran in which environment.

use axum::Json;
use axum::extract::{Path, Query, State};
use kiln_api::{EnvironmentId, Run, RunFailure, RunList};
use kiln_engine::Scope;
use kiln_store::{RunFilter, RunRow};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::access::{Caller, Right};
use crate::error::ApiError;
use crate::router::AppState;

/// Runs of a page at most.
const PAGE_LIMIT: u32 = 100;

fn date(ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_default()
}

fn shown(row: RunRow) -> Run {
    let run = row.run;
    Run {
        id: run.id.to_string(),
        experiment: run.experiment.to_string(),
        number: row.number,
        title: run.title,
        parent: run.parent.map(|parent| parent.to_string()),
        status: run.status.as_str().to_owned(),
        environment: run.environment.map(|environment| EnvironmentId {
            name: environment.name.to_string(),
            version: environment.version.to_string(),
        }),
        image: row.image,
        target: run.target,
        script: run.script,
        arguments: run.arguments,
        snapshot: run.snapshot,
        properties: run.properties,
        tags: run.tags,
        exit_code: row.exit_code,
        error: row.error.map(|error| RunFailure {
            code: error.code,
            message: error.message,
        }),
        actor: run.actor,
        via: run.via,
        created: date(row.created_ms),
        started: row.started_ms.map(date),
        ended: row.ended_ms.map(date),
    }
}

fn scope(caller: &Caller, workspace: Option<&str>) -> Result<Scope, ApiError> {
    let workspace = workspace.unwrap_or("default");
    caller.require(Right::Read, workspace)?;
    workspace
        .parse()
        .map_err(|_| ApiError::not_found(format!("there is no workspace `{workspace}`")))
}

/// Reads a part of the question, if it is there.
fn read<T: std::str::FromStr<Err: std::fmt::Display>>(
    what: &str,
    text: Option<&str>,
) -> Result<Option<T>, ApiError> {
    text.map(str::parse).transpose().map_err(|error| {
        ApiError::invalid(
            format!("`{what}` is wrong: {error}"),
            "send it as a list gave it",
        )
    })
}

/// Which runs.
#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    workspace: Option<String>,
    experiment: Option<String>,
    environment: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
}

/// Lists the runs of a workspace, newest first.
#[utoipa::path(get, path = "/v1/runs", params(
    ("workspace" = Option<String>, Query,),
    ("experiment" = Option<String>, Query, description = "only its runs"),
    ("environment" = Option<String>, Query, description = "only runs in a version of this name"),
    ("before" = Option<String>, Query, description = "the `next` of the page before"),
    ("limit" = Option<u32>, Query, description = "at most 100"),
), responses((status = 200, description = "A page", body = RunList)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<RunList>, ApiError> {
    let scope = scope(&caller, query.workspace.as_deref())?;
    let limit = query.limit.unwrap_or(50).clamp(1, PAGE_LIMIT);
    let filter = RunFilter {
        experiment: read("experiment", query.experiment.as_deref())?,
        environment: read("environment", query.environment.as_deref())?,
        before: read("before", query.before.as_deref())?,
        limit,
        ..RunFilter::default()
    };
    let rows = state.engine.runs(&scope, &filter).await?;
    let more = rows.len() >= limit as usize;
    let next = rows.last().filter(|_| more);
    Ok(Json(RunList {
        next: next.map(|row| row.run.id.to_string()),
        value: rows.into_iter().map(shown).collect(),
    }))
}

/// In which workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct ShowQuery {
    workspace: Option<String>,
}

/// Shows a run.
#[utoipa::path(get, path = "/v1/runs/{id}", params(
    ("id" = String, Path,),
    ("workspace" = Option<String>, Query,),
), responses(
    (status = 200, description = "The run", body = Run),
    (status = 404, description = "There is no such run"),
))]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<ShowQuery>,
) -> Result<Json<Run>, ApiError> {
    let scope = scope(&caller, query.workspace.as_deref())?;
    let id = id
        .parse()
        .map_err(|_| ApiError::not_found("there is no such run"))?;
    Ok(Json(shown(state.engine.run_of(&scope, &id).await?)))
}
