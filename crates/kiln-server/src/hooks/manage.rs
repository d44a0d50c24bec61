//! `/v1/hooks`: subscriptions to a workspace's events.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use kiln_api::{Hook, HookList, HookSecret, NewHookRequest, ReplayReport, ReplayRequest};
use kiln_engine::{EngineError, Scope, check_callback};
use kiln_events::SigningSecret;
use kiln_store::{EventType, HookRow, NewEvent, NewHook, Replay, StoreError};
use serde::Deserialize;

use crate::access::{Caller, Right};
use crate::body::read;
use crate::error::ApiError;
use crate::router::AppState;

/// Which workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct WorkspaceQuery {
    workspace: Option<String>,
}

/// Lists the hooks of a workspace.
#[utoipa::path(get, path = "/v1/hooks", params(("workspace" = Option<String>, Query,)), responses(
    (status = 200, description = "The hooks, oldest first, without their secrets", body = HookList),
))]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<WorkspaceQuery>,
) -> Result<Json<HookList>, ApiError> {
    let scope = workspace(query.workspace.as_deref())?;
    caller.require(Right::Read, scope.as_str())?;
    let rows = state.engine.store().records().hooks(&scope).await;
    let value = rows.map_err(fault)?.iter().map(shown).collect();
    Ok(Json(HookList { value }))
}

/// Adds a hook; its secret is told now and never again.
#[utoipa::path(post, path = "/v1/hooks", request_body = NewHookRequest, responses(
    (status = 201, description = "The hook and its secret", body = Hook),
    (status = 400, description = "The address or a type is not usable"),
))]
pub(crate) async fn add(
    State(state): State<AppState>,
    caller: Caller,
    body: Bytes,
) -> Result<(StatusCode, Json<Hook>), ApiError> {
    let request: NewHookRequest = read(&body)?;
    let scope = workspace(request.workspace.as_deref())?;
    caller.require(Right::Admin, scope.as_str())?;
    let url = check_callback(&request.url)?;
    let types = request
        .types
        .iter()
        .map(|name| name.parse::<EventType>())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| {
            ApiError::invalid(error.to_string(), "leave `types` out for all events")
        })?;
    let secret = SigningSecret::generate();
    let new = NewHook {
        url: url.to_string(),
        types,
        actor: caller.name,
        secret: kiln_spec::Secret::new(secret.expose()),
    };
    let row = state.engine.store().records().add_hook(&scope, &new).await;
    let hook = Hook {
        secret: Some(secret.expose().to_owned()),
        ..shown(&row.map_err(fault)?)
    };
    Ok((StatusCode::CREATED, Json(hook)))
}

/// Removes a hook.
#[utoipa::path(delete, path = "/v1/hooks/{id}", params(("id" = String, Path,)), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is no such hook"),
))]
pub(crate) async fn remove(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    find(&state, &caller, &id).await?;
    let removed = state.engine.store().records().remove_hook(&id).await;
    removed.map_err(fault)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends an event of the type `test` to a hook.
#[utoipa::path(post, path = "/v1/hooks/{id}/test", params(("id" = String, Path,)), responses(
    (status = 202, description = "The event is on its way"),
    (status = 404, description = "There is no such hook"),
))]
pub(crate) async fn test(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let hook = find(&state, &caller, &id).await?;
    let event = NewEvent {
        kind: EventType::Test,
        build_id: None,
        payload: serde_json::json!({ "workspace": hook.scope.as_str(), "hook": id }).to_string(),
    };
    let records = state.engine.store().records();
    let added = records.add_event(&hook.scope, &event, &[], Some(&id)).await;
    added.map_err(fault)?;
    state.engine.tell_events();
    Ok(StatusCode::ACCEPTED)
}

/// Lets a hook that was disabled have events again, from now on.
#[utoipa::path(post, path = "/v1/hooks/{id}/enable", params(("id" = String, Path,)), responses(
    (status = 204, description = "It is active"),
    (status = 404, description = "There is no such hook"),
))]
pub(crate) async fn enable(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    find(&state, &caller, &id).await?;
    let enabled = state.engine.store().records().enable_hook(&id).await;
    enabled.map_err(fault)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds a secret beside those that live: messages are signed with each.
#[utoipa::path(post, path = "/v1/hooks/{id}/secrets", params(("id" = String, Path,)), responses(
    (status = 201, description = "The secret, told now and never again", body = HookSecret),
    (status = 404, description = "There is no such hook"),
))]
pub(crate) async fn add_secret(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<HookSecret>), ApiError> {
    find(&state, &caller, &id).await?;
    let secret = SigningSecret::generate();
    let records = state.engine.store().records();
    let added = records
        .add_hook_secret(&id, &kiln_spec::Secret::new(secret.expose()))
        .await;
    let number = added.map_err(fault)?.ok_or_else(|| missing(&id))?;
    let secret = secret.expose().to_owned();
    Ok((StatusCode::CREATED, Json(HookSecret { number, secret })))
}

/// Removes a secret; a hook keeps at least one.
#[utoipa::path(delete, path = "/v1/hooks/{id}/secrets/{number}", params(
    ("id" = String, Path,),
    ("number" = i64, Path,),
), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is no such secret, or it is the last"),
))]
pub(crate) async fn remove_secret(
    State(state): State<AppState>,
    caller: Caller,
    Path((id, number)): Path<(String, i64)>,
) -> Result<StatusCode, ApiError> {
    find(&state, &caller, &id).await?;
    let records = state.engine.store().records();
    let removed = records.remove_hook_secret(&id, number).await;
    if removed.map_err(fault)? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(ApiError::not_found(format!(
        "the hook has no secret {number}, or no other"
    )))
}

/// Sends events to a hook again: one, or all since a time.
#[utoipa::path(post, path = "/v1/hooks/{id}/replay", params(("id" = String, Path,)),
    request_body = ReplayRequest, responses(
    (status = 200, description = "How many are on their way", body = ReplayReport),
    (status = 404, description = "There is no such hook"),
))]
pub(crate) async fn replay(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<ReplayReport>, ApiError> {
    let hook = find(&state, &caller, &id).await?;
    let what = match read::<ReplayRequest>(&body)? {
        ReplayRequest {
            event: Some(event),
            since: None,
        } => Replay::Event(event),
        ReplayRequest {
            event: None,
            since: Some(seconds),
        } => Replay::Since(seconds.saturating_mul(1000)),
        _ => {
            return Err(ApiError::invalid(
                "the request names no events, or names them twice",
                "give either `event`, an id, or `since`, seconds since the Unix epoch",
            ));
        }
    };
    let records = state.engine.store().records();
    let events = records.replay(&hook.scope, &what, Some(&id)).await;
    let events = events.map_err(fault)?;
    state.engine.tell_events();
    Ok(Json(ReplayReport { events }))
}

/// The hook, if the caller may change it.
async fn find(state: &AppState, caller: &Caller, id: &str) -> Result<HookRow, ApiError> {
    let hook = state.engine.store().records().hook(id).await;
    let hook = hook.map_err(fault)?.ok_or_else(|| missing(id))?;
    caller
        .require(Right::Read, hook.scope.as_str())
        .map_err(|_| missing(id))?;
    caller.require(Right::Admin, hook.scope.as_str())?;
    Ok(hook)
}

fn missing(id: &str) -> ApiError {
    let id: String = id.chars().take(64).collect();
    ApiError::not_found(format!("there is no hook `{id}`"))
}

fn workspace(name: Option<&str>) -> Result<Scope, ApiError> {
    let name = name.unwrap_or("default");
    name.parse()
        .map_err(|_| ApiError::not_found(format!("there is no workspace `{name}`")))
}

fn fault(error: StoreError) -> ApiError {
    EngineError::from(error).into()
}

fn shown(row: &HookRow) -> Hook {
    Hook {
        id: row.id.clone(),
        workspace: row.scope.to_string(),
        url: row.url.clone(),
        types: row.types.iter().map(ToString::to_string).collect(),
        disabled: row.disabled.clone(),
        secrets: row.secrets.clone(),
        secret: None,
    }
}
