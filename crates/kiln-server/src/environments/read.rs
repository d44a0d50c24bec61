//! What is registered.

use axum::Json;
use axum::extract::{Path, Query, State};
use kiln_api::{Environment, EnvironmentDiff, EnvironmentList, HistoryList};
use kiln_engine::NameFilter;
use kiln_spec::Which;
use serde::Deserialize;

use super::{name, scope, shown, version, which};
use crate::access::{Caller, Right};
use crate::error::ApiError;
use crate::router::AppState;

/// Versions of a page at most.
const PAGE_LIMIT: u32 = 100;

fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(50).clamp(1, PAGE_LIMIT)
}

/// Which names.
#[derive(Debug, Deserialize)]
pub(crate) struct NamesQuery {
    workspace: Option<String>,
    prefix: Option<String>,
    #[serde(default)]
    archived: bool,
    after: Option<String>,
    limit: Option<u32>,
}

/// Lists the environments of a workspace by name, the newest version of each; curated ones are among
/// them.
#[utoipa::path(get, path = "/v1/environments", params(
    ("workspace" = Option<String>, Query,),
    ("prefix" = Option<String>, Query, description = "only names that begin so"),
    ("archived" = Option<bool>, Query, description = "archived ones too"),
    ("after" = Option<String>, Query, description = "the `next` of the page before"),
    ("limit" = Option<u32>, Query, description = "at most 100"),
), responses((status = 200, description = "A page", body = EnvironmentList)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<NamesQuery>,
) -> Result<Json<EnvironmentList>, ApiError> {
    let scope = scope(&caller, Right::Read, query.workspace.as_deref())?;
    let filter = NameFilter {
        prefix: query.prefix,
        archived: query.archived,
        after: query.after.as_deref().map(name).transpose()?,
        limit: limit(query.limit),
    };
    let page = state.engine.environments(&scope, &filter).await?;
    let next = page.rows.last().filter(|_| page.more);
    Ok(Json(EnvironmentList {
        next: next.map(|row| row.name.to_string()),
        value: page.rows.iter().map(shown::summary).collect(),
    }))
}

/// Which version of a name.
#[derive(Debug, Deserialize)]
pub(crate) struct VersionQuery {
    workspace: Option<String>,
    version: Option<String>,
    label: Option<String>,
}

impl VersionQuery {
    fn which(&self) -> Result<Which, ApiError> {
        match (self.version.as_deref(), self.label.as_deref()) {
            (Some(_), Some(_)) => Err(ApiError::invalid(
                "the request has a version and a label",
                "send one of them",
            )),
            (version, None | Some(kiln_spec::LATEST)) => which(version),
            (None, Some(label)) => {
                let label = label.parse();
                Ok(Which::Label(label.map_err(|e| super::invalid(&e))?))
            }
        }
    }
}

/// Shows one version with its document, without credentials.
#[utoipa::path(get, path = "/v1/environments/{name}", params(
    ("name" = String, Path,),
    ("workspace" = Option<String>, Query,),
    ("version" = Option<String>, Query, description = "`latest` when absent"),
    ("label" = Option<String>, Query, description = "in place of the version"),
), responses(
    (status = 200, description = "The version", body = Environment),
    (status = 404, description = "There is no such environment"),
))]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Path(named): Path<String>,
    Query(query): Query<VersionQuery>,
) -> Result<Json<Environment>, ApiError> {
    let scope = scope(&caller, Right::Read, query.workspace.as_deref())?;
    let which = query.which()?;
    let named = name(&named)?;
    let row = state.engine.environment(&scope, &named, &which);
    Ok(Json(shown::whole(&row.await?)))
}

/// Which page of a name's versions.
#[derive(Debug, Deserialize)]
pub(crate) struct PageQuery {
    workspace: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
}

/// Lists the versions of a name, newest first; archived ones are among them.
#[utoipa::path(get, path = "/v1/environments/{name}/versions", params(
    ("name" = String, Path,),
    ("workspace" = Option<String>, Query,),
    ("before" = Option<String>, Query, description = "the `next` of the page before"),
    ("limit" = Option<u32>, Query, description = "at most 100"),
), responses(
    (status = 200, description = "A page", body = EnvironmentList),
    (status = 404, description = "There is no such environment"),
))]
pub(crate) async fn versions(
    State(state): State<AppState>,
    caller: Caller,
    Path(named): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<EnvironmentList>, ApiError> {
    let scope = scope(&caller, Right::Read, query.workspace.as_deref())?;
    let before = query.before.as_deref().map(version).transpose()?;
    let page = state
        .engine
        .environment_versions(&scope, &name(&named)?, limit(query.limit), before.as_ref())
        .await?;
    let next = page.rows.last().filter(|_| page.more);
    Ok(Json(EnvironmentList {
        next: next.map(|row| row.version.to_string()),
        value: page.rows.iter().map(shown::summary).collect(),
    }))
}

/// Tells what was done to a name, newest first.
#[utoipa::path(get, path = "/v1/environments/{name}/history", params(
    ("name" = String, Path,),
    ("workspace" = Option<String>, Query,),
    ("before" = Option<String>, Query, description = "the `next` of the page before"),
    ("limit" = Option<u32>, Query, description = "at most 100"),
), responses(
    (status = 200, description = "A page", body = HistoryList),
    (status = 404, description = "There is no such environment"),
))]
pub(crate) async fn history(
    State(state): State<AppState>,
    caller: Caller,
    Path(named): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<HistoryList>, ApiError> {
    let scope = scope(&caller, Right::Read, query.workspace.as_deref())?;
    let limit = limit(query.limit);
    let before = query.before.as_deref().map(str::parse::<i64>).transpose();
    let before = before.map_err(|_| {
        ApiError::invalid(
            "`before` is no number",
            "send the `next` of the page before",
        )
    })?;
    let rows = state
        .engine
        .environment_history(&scope, &name(&named)?, limit, before)
        .await?;
    let more = rows.len() >= limit as usize;
    Ok(Json(HistoryList {
        next: rows.last().filter(|_| more).map(|row| row.id),
        value: rows.iter().map(shown::history).collect(),
    }))
}

/// Lists the versions of the workspace that share the image of this one, itself among them.
#[utoipa::path(get, path = "/v1/environments/{name}/sharing", params(
    ("name" = String, Path,),
    ("workspace" = Option<String>, Query,),
    ("version" = Option<String>, Query, description = "`latest` when absent"),
    ("label" = Option<String>, Query, description = "in place of the version"),
), responses(
    (status = 200, description = "At most 100 versions", body = EnvironmentList),
    (status = 404, description = "There is no such environment"),
))]
pub(crate) async fn sharing(
    State(state): State<AppState>,
    caller: Caller,
    Path(named): Path<String>,
    Query(query): Query<VersionQuery>,
) -> Result<Json<EnvironmentList>, ApiError> {
    let scope = scope(&caller, Right::Read, query.workspace.as_deref())?;
    let which = query.which()?;
    let named = name(&named)?;
    let row = state.engine.environment(&scope, &named, &which);
    let rows = state
        .engine
        .sharing_environments(&scope, &row.await?, PAGE_LIMIT)
        .await?;
    Ok(Json(EnvironmentList {
        value: rows.iter().map(shown::summary).collect(),
        next: None,
    }))
}

/// Which versions are compared.
#[derive(Debug, Deserialize)]
pub(crate) struct DiffQuery {
    workspace: Option<String>,
    from: Option<String>,
    to: Option<String>,
    other: Option<String>,
}

/// Tells how two versions differ: packages, variables, base, other fields, sizes and layers.
#[utoipa::path(get, path = "/v1/environments/{name}/diff", params(
    ("name" = String, Path,),
    ("workspace" = Option<String>, Query,),
    ("from" = Option<String>, Query, description = "the version that is compared with; the one before `to` when absent"),
    ("to" = Option<String>, Query, description = "the version that is compared; `latest` when absent"),
    ("other" = Option<String>, Query, description = "the name that `to` is a version of, where it is another one"),
), responses(
    (status = 200, description = "The difference", body = EnvironmentDiff),
    (status = 404, description = "There is no such environment"),
))]
pub(crate) async fn diff(
    State(state): State<AppState>,
    caller: Caller,
    Path(named): Path<String>,
    Query(query): Query<DiffQuery>,
) -> Result<Json<EnvironmentDiff>, ApiError> {
    let scope = scope(&caller, Right::Read, query.workspace.as_deref())?;
    let engine = &state.engine;
    let from_name = name(&named)?;
    let to_name = query.other.as_deref().map(name).transpose()?;
    let to_name = to_name.unwrap_or_else(|| from_name.clone());
    let to = which(query.to.as_deref())?;
    let to = engine.environment(&scope, &to_name, &to).await?;
    let from = if query.from.is_none() && from_name == to_name {
        let before = engine
            .environment_versions(&scope, &from_name, 1, Some(&to.version))
            .await?;
        before.rows.into_iter().next().ok_or_else(|| {
            ApiError::not_found(format!(
                "there is no version of `{from_name}` before {}",
                to.version
            ))
        })?
    } else {
        let from = which(query.from.as_deref())?;
        engine.environment(&scope, &from_name, &from).await?
    };
    Ok(Json(engine.diff_environments(&scope, &from, &to).await?))
}
