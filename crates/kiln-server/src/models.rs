//! `/v1/models`: models of a workspace.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::TryStreamExt as _;
use http::{StatusCode, header};
use kiln_api::{Model, ModelFileInfo, ModelList};
use kiln_engine::{ModelFilter, ModelName, ModelNotes, ModelRow, NewModel};
use serde::Deserialize;

use crate::access::{Caller, Right};
use crate::environments::{date, scope};
use crate::error::ApiError;
use crate::router::AppState;

/// Models of a page at most.
const PAGE_LIMIT: u32 = 100;

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/models", get(list))
        // The engine has its own limit of a model's bytes.
        .route(
            "/v1/models/{name}",
            post(register).layer(DefaultBodyLimit::disable()).get(show),
        )
        .route(
            "/v1/models/{name}/{version}",
            get(show_version).delete(delete),
        )
        .route("/v1/models/{name}/{version}/content", get(content))
}

fn name(text: &str) -> Result<ModelName, ApiError> {
    text.parse()
        .map_err(|error: kiln_engine::ParseModelNameError| {
            ApiError::invalid(
                format!("`{text}` is no name of a model"),
                format!("choose another name: {error}"),
            )
        })
}

/// A version, or `latest`.
fn version(text: &str) -> Result<Option<u32>, ApiError> {
    if text == "latest" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        ApiError::invalid(
            format!("`{text}` is no version of a model"),
            "give a number, or `latest`",
        )
    })
}

/// What is said of a new model.
#[derive(Debug, Deserialize)]
pub(crate) struct RegisterQuery {
    workspace: Option<String>,
    description: Option<String>,
    /// A JSON object of texts.
    tags: Option<String>,
    /// A JSON object of texts.
    properties: Option<String>,
    run: Option<String>,
    experiment: Option<String>,
}

fn texts(field: &str, json: Option<&str>) -> Result<BTreeMap<String, String>, ApiError> {
    json.map(serde_json::from_str)
        .transpose()
        .map(Option::unwrap_or_default)
        .map_err(|error| {
            ApiError::invalid(
                format!("`{field}` is not what it must be: {error}"),
                "send a JSON object of texts",
            )
        })
}

/// Makes the next version of a model from a tar of its files.
#[utoipa::path(post, path = "/v1/models/{name}", params(
    ("name" = String, Path,),
    ("workspace" = Option<String>, Query,),
    ("description" = Option<String>, Query,),
    ("tags" = Option<String>, Query, description = "a JSON object of texts"),
    ("properties" = Option<String>, Query, description = "a JSON object of texts"),
    ("run" = Option<String>, Query, description = "the run whose output it is"),
    ("experiment" = Option<String>, Query, description = "that run's experiment"),
), request_body(content = Vec<u8>, content_type = "application/x-tar"), responses(
    (status = 201, description = "The version", body = Model),
    (status = 400, description = "The tar has something that is no file or folder below its root, or too much"),
    (status = 503, description = "There is no room on the disk"),
))]
pub(crate) async fn register(
    State(state): State<AppState>,
    caller: Caller,
    Path(named): Path<String>,
    Query(query): Query<RegisterQuery>,
    body: Body,
) -> Response {
    let done = receive(&state, &caller, &named, query, body).await;
    done.unwrap_or_else(|error| {
        // What is left of the body is not read: the connection is of no use any more.
        let close = [(header::CONNECTION, "close")];
        (close, error).into_response()
    })
}

async fn receive(
    state: &AppState,
    caller: &Caller,
    named: &str,
    query: RegisterQuery,
    body: Body,
) -> Result<Response, ApiError> {
    let scope = scope(caller, Right::Build, query.workspace.as_deref())?;
    let name = name(named)?;
    let notes = ModelNotes {
        tags: texts("tags", query.tags.as_deref())?,
        properties: texts("properties", query.properties.as_deref())?,
        description: query.description,
    };
    let tar = body.into_data_stream().map_err(std::io::Error::other);
    let files = state.engine.receive_model_files(tar).await?;
    let new = NewModel {
        name,
        files,
        notes,
        run_id: query.run,
        experiment: query.experiment,
        details: "{}".into(),
        actor: caller.name.clone(),
        via: "http".into(),
    };
    let row = state.engine.register_model(&scope, new).await?;
    Ok((StatusCode::CREATED, Json(whole(&row))).into_response())
}

/// Which models.
#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    workspace: Option<String>,
    name: Option<String>,
    run: Option<String>,
    #[serde(default)]
    latest: bool,
    after: Option<String>,
    limit: Option<u32>,
}

/// Lists models by name, of each name the newest first.
#[utoipa::path(get, path = "/v1/models", params(
    ("workspace" = Option<String>, Query,),
    ("name" = Option<String>, Query, description = "of this name alone"),
    ("run" = Option<String>, Query, description = "outputs of this run alone"),
    ("latest" = Option<bool>, Query, description = "the newest version of each name alone"),
    ("after" = Option<String>, Query, description = "the `next` of the page before"),
    ("limit" = Option<u32>, Query, description = "at most 100"),
), responses((status = 200, description = "A page", body = ModelList)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<ModelList>, ApiError> {
    let scope = scope(&caller, Right::Read, query.workspace.as_deref())?;
    let after = query.after.as_deref().map(|text| {
        let (named, number) = text.split_once(':').unwrap_or((text, "0"));
        let number = version(number)?.unwrap_or_default();
        Ok::<_, ApiError>((name(named)?, number))
    });
    let limit = query.limit.unwrap_or(50).clamp(1, PAGE_LIMIT);
    let filter = ModelFilter {
        name: query.name.as_deref().map(name).transpose()?,
        run_id: query.run,
        latest: query.latest,
        after: after.transpose()?,
        // One more tells whether there is another page.
        limit: limit + 1,
    };
    let mut rows = state.engine.models(&scope, &filter).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| more);
    Ok(Json(ModelList {
        next: next.map(|row| format!("{}:{}", row.name, row.version)),
        value: rows.iter().map(summary).collect(),
    }))
}

/// Which workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct ScopeQuery {
    workspace: Option<String>,
}

/// Shows the newest version of a model.
pub(crate) async fn show(
    state: State<AppState>,
    caller: Caller,
    Path(named): Path<String>,
    query: Query<ScopeQuery>,
) -> Result<Json<Model>, ApiError> {
    show_version(state, caller, Path((named, "latest".into())), query).await
}

/// Shows a version of a model.
#[utoipa::path(get, path = "/v1/models/{name}/{version}", params(
    ("name" = String, Path,),
    ("version" = String, Path, description = "a number, or `latest`; without this part it is the latest too"),
    ("workspace" = Option<String>, Query,),
), operation_id = "show_model", responses(
    (status = 200, description = "The version", body = Model),
    (status = 404, description = "There is no such version"),
))]
pub(crate) async fn show_version(
    State(state): State<AppState>,
    caller: Caller,
    Path((named, number)): Path<(String, String)>,
    Query(query): Query<ScopeQuery>,
) -> Result<Json<Model>, ApiError> {
    let scope = scope(&caller, Right::Read, query.workspace.as_deref())?;
    let row = state
        .engine
        .model(&scope, &name(&named)?, version(&number)?)
        .await?;
    Ok(Json(whole(&row)))
}

/// Gives the files of a version as a tar.
#[utoipa::path(get, path = "/v1/models/{name}/{version}/content", params(
    ("name" = String, Path,),
    ("version" = String, Path, description = "a number, or `latest`"),
    ("workspace" = Option<String>, Query,),
), responses(
    (status = 200, description = "The tar", content_type = "application/x-tar"),
    (status = 404, description = "There is no such version"),
))]
pub(crate) async fn content(
    State(state): State<AppState>,
    caller: Caller,
    Path((named, number)): Path<(String, String)>,
    Query(query): Query<ScopeQuery>,
) -> Result<Response, ApiError> {
    let scope = scope(&caller, Right::Read, query.workspace.as_deref())?;
    let row = state
        .engine
        .model(&scope, &name(&named)?, version(&number)?)
        .await?;
    let tar = state.engine.model_tar(&row);
    let kind = [(header::CONTENT_TYPE, "application/x-tar")];
    Ok((kind, Body::from_stream(tar)).into_response())
}

/// Deletes a version of a model.
#[utoipa::path(delete, path = "/v1/models/{name}/{version}", params(
    ("name" = String, Path,),
    ("version" = u32, Path,),
    ("workspace" = Option<String>, Query,),
), operation_id = "delete_model", responses(
    (status = 204, description = "It is gone; its number is not used again"),
    (status = 404, description = "There is no such version"),
))]
pub(crate) async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Path((named, number)): Path<(String, u32)>,
    Query(query): Query<ScopeQuery>,
) -> Result<StatusCode, ApiError> {
    let scope = scope(&caller, Right::Build, query.workspace.as_deref())?;
    state
        .engine
        .delete_model(&scope, &name(&named)?, number)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn summary(row: &ModelRow) -> Model {
    Model {
        name: row.name.to_string(),
        version: row.version,
        description: row.notes.description.clone(),
        tags: row.notes.tags.clone(),
        properties: row.notes.properties.clone(),
        run: row.run_id.clone(),
        size_bytes: row.files.iter().map(|file| file.size_bytes).sum(),
        files: Vec::new(),
        actor: row.actor.clone(),
        via: row.via.clone(),
        created: date(row.created_ms),
    }
}

fn whole(row: &ModelRow) -> Model {
    let file = |file: &kiln_engine::ModelFile| ModelFileInfo {
        path: file.path.to_string(),
        digest: file.digest.to_string(),
        size_bytes: file.size_bytes,
    };
    Model {
        files: row.files.iter().map(file).collect(),
        ..summary(row)
    }
}
