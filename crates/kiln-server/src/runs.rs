//! `/v1/runs`: what ran in which environment.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::TryStreamExt as _;
use http::{StatusCode, header};
use kiln_api::{
    ChangeRunRequest, EnvironmentId, NewRunRequest, Run, RunFailure, RunFileInfo, RunFileList,
    RunList,
};
use kiln_spec::NameError;
use kiln_store::{
    BegunRun, ExperimentName, FilePath, NewRun, ParseFilePathError, RunChange, RunEnvironment,
    RunError, RunFile, RunFilter, RunId, RunRow, RunStatus,
};
use serde::Deserialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::access::{Caller, Right};
use crate::body;
use crate::environments::{date, scope};
use crate::error::ApiError;
use crate::router::AppState;

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/runs", get(list).post(begin))
        .route("/v1/runs/{id}", get(show).patch(change))
        .route(
            "/v1/runs/{id}/files",
            // The engine has its own limit of bytes.
            post(add_files)
                .layer(DefaultBodyLimit::disable())
                .get(files),
        )
        .route("/v1/runs/{id}/content", get(content))
}

/// Runs of a page at most.
const PAGE_LIMIT: u32 = 100;

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
    let scope = scope(&caller, Right::Read, query.workspace.as_deref())?;
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
    let scope = scope(&caller, Right::Read, query.workspace.as_deref())?;
    Ok(Json(shown(state.engine.run_of(&scope, &run(&id)?).await?)))
}

fn run(id: &str) -> Result<RunId, ApiError> {
    id.parse()
        .map_err(|_| ApiError::not_found("there is no such run"))
}

/// Makes a run known that the caller itself executes.
#[utoipa::path(post, path = "/v1/runs", request_body = NewRunRequest, responses(
    (status = 201, description = "The run", body = Run),
    (status = 404, description = "There is no such environment"),
))]
pub(crate) async fn begin(
    State(state): State<AppState>,
    caller: Caller,
    bytes: Bytes,
) -> Result<(StatusCode, Json<Run>), ApiError> {
    let request: NewRunRequest = body::read(&bytes)?;
    let scope = scope(&caller, Right::Build, request.workspace.as_deref())?;
    let experiment: ExperimentName = read("experiment", Some(&request.experiment))?
        .ok_or_else(|| ApiError::not_found("there is no experiment"))?;
    let named = &request.environment;
    let invalid = |error: NameError| ApiError::invalid(error.to_string(), error.rule());
    let environment = RunEnvironment {
        name: named.name.parse().map_err(invalid)?,
        version: named.version.parse().map_err(invalid)?,
    };
    let unique = Uuid::new_v4().simple().to_string();
    let seconds = OffsetDateTime::now_utc().unix_timestamp();
    // As the SDK makes its own; a long name leaves room for the rest.
    let name: String = experiment.as_str().chars().take(200).collect();
    let new = NewRun {
        id: run(&format!("{name}_{seconds}_{}", &unique[..8]))?,
        experiment,
        parent: None,
        title: None,
        status: RunStatus::Preparing,
        environment: Some(environment),
        target: request.target.unwrap_or_else(|| "local".to_owned()),
        script: None,
        arguments: request.command,
        definition: None,
        snapshot: None,
        properties: BTreeMap::new(),
        tags: BTreeMap::new(),
        actor: caller.name.clone(),
        via: "http".to_owned(),
    };
    let begun = state.engine.begin_run(&scope, &new).await?;
    let (BegunRun::New(mut row) | BegunRun::There(mut row)) = begun;
    if request.image.is_some() {
        let change = RunChange {
            image: request.image,
            ..RunChange::default()
        };
        row = state
            .engine
            .change_run(&scope, &row.run.id, &change)
            .await?;
    }
    Ok((StatusCode::CREATED, Json(shown(row))))
}

/// Changes a run; of one that is over, its end stays.
#[utoipa::path(patch, path = "/v1/runs/{id}", params(("id" = String, Path,)),
    request_body = ChangeRunRequest, responses(
    (status = 200, description = "The run", body = Run),
    (status = 404, description = "There is no such run"),
))]
pub(crate) async fn change(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Result<Json<Run>, ApiError> {
    let request: ChangeRunRequest = body::read(&bytes)?;
    let scope = scope(&caller, Right::Build, request.workspace.as_deref())?;
    let status = request.status.as_deref().map(|word| {
        RunStatus::of_word(word).ok_or_else(|| {
            ApiError::invalid(
                format!("there is no status `{word}`"),
                "send one that a run is shown with",
            )
        })
    });
    let change = RunChange {
        status: status.transpose()?,
        exit_code: request.exit_code,
        error: request.error.map(|error| RunError {
            code: error.code,
            message: error.message,
        }),
        ..RunChange::default()
    };
    let row = state.engine.change_run(&scope, &run(&id)?, &change).await?;
    Ok(Json(shown(row)))
}

/// Which files, and what becomes of their paths.
#[derive(Debug, Deserialize)]
pub(crate) struct FilesQuery {
    workspace: Option<String>,
    #[serde(default)]
    prefix: String,
    root: Option<String>,
}

/// Keeps the files of a tar as files of a run.
#[utoipa::path(post, path = "/v1/runs/{id}/files", params(
    ("id" = String, Path,),
    ("workspace" = Option<String>, Query,),
    ("root" = Option<String>, Query, description = "stands in place of the first part of each path; `source` is the source folder"),
), request_body(content = Vec<u8>, content_type = "application/x-tar"), responses(
    (status = 200, description = "The files of the tar", body = RunFileList),
    (status = 400, description = "The tar has something that is no file or folder below its root, or too much"),
    (status = 404, description = "There is no such run"),
))]
pub(crate) async fn add_files(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<FilesQuery>,
    body: Body,
) -> Result<Json<RunFileList>, ApiError> {
    let scope = scope(&caller, Right::Build, query.workspace.as_deref())?;
    let id = run(&id)?;
    state.engine.run_of(&scope, &id).await?;
    let tar = body.into_data_stream().map_err(std::io::Error::other);
    let received = state.engine.receive_model_files(tar).await?;
    let mut files = Vec::with_capacity(received.len());
    for file in received {
        let path = match &query.root {
            None => file.path,
            Some(root) => under(root, file.path.as_str())?,
        };
        files.push(RunFile {
            path,
            digest: file.digest,
            size_bytes: file.size_bytes,
        });
    }
    state.engine.keep_run_files(&scope, &id, &files).await?;
    Ok(Json(listed(&files)))
}

fn under(root: &str, path: &str) -> Result<FilePath, ApiError> {
    let rest = path.split_once('/').map_or(path, |(_, rest)| rest);
    let path = format!("{root}/{rest}").parse();
    path.map_err(|error: ParseFilePathError| {
        ApiError::invalid(
            format!("`root` is wrong: {error}"),
            "send the name of a folder",
        )
    })
}

fn listed(files: &[RunFile]) -> RunFileList {
    let value = files.iter().map(|file| RunFileInfo {
        path: file.path.to_string(),
        digest: file.digest.to_string(),
        size_bytes: file.size_bytes,
    });
    RunFileList {
        value: value.collect(),
    }
}

/// Lists the files of a run.
#[utoipa::path(get, path = "/v1/runs/{id}/files", params(
    ("id" = String, Path,),
    ("workspace" = Option<String>, Query,),
    ("prefix" = Option<String>, Query, description = "only paths that begin so"),
), responses((status = 200, description = "The files", body = RunFileList)))]
pub(crate) async fn files(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<FilesQuery>,
) -> Result<Json<RunFileList>, ApiError> {
    let scope = scope(&caller, Right::Read, query.workspace.as_deref())?;
    let id = run(&id)?;
    state.engine.run_of(&scope, &id).await?;
    let files = state.engine.run_files(&scope, &id, &query.prefix).await?;
    Ok(Json(listed(&files)))
}

/// Gives files of a run as a tar.
#[utoipa::path(get, path = "/v1/runs/{id}/content", params(
    ("id" = String, Path,),
    ("workspace" = Option<String>, Query,),
    ("prefix" = Option<String>, Query, description = "only paths that begin so"),
), responses((status = 200, description = "A tar", body = Vec<u8>, content_type = "application/x-tar")))]
pub(crate) async fn content(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<FilesQuery>,
) -> Result<Response, ApiError> {
    let scope = scope(&caller, Right::Read, query.workspace.as_deref())?;
    let id = run(&id)?;
    state.engine.run_of(&scope, &id).await?;
    let files = state.engine.run_files(&scope, &id, &query.prefix).await?;
    let tar = Body::from_stream(state.engine.run_tar(files));
    Ok(([(header::CONTENT_TYPE, "application/x-tar")], tar).into_response())
}
