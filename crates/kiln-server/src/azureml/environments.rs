//! Environments: registered, read, listed, labelled.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::header;
use kiln_engine::NewVersion;
use kiln_spec::{EnvironmentName, Input, Kind, Label, Overrides};
use kiln_store::{EnvironmentRow, NameFilter};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::error::AzureError;
use super::place::Place;
use crate::access::Right;
use crate::body;
use crate::error::ApiError;
use crate::router::AppState;

/// Environments of a page.
const PAGE: u32 = 100;

/// An environment as the SDK reads it.
fn shown(place: &Place, row: &EnvironmentRow) -> String {
    let (name, version) = (row.name.as_str(), row.version.as_str());
    let asset_id = format!(
        "azureml://locations/local/workspaces/{}/environments/{name}/versions/{version}",
        place.id()
    );
    row.document
        .azureml_json(name, Some(version), Some(&asset_id))
}

fn json(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Registers a document; without a version in the path, one that is equal to the newest is the newest.
pub(super) async fn register(
    State(state): State<AppState>,
    place: Place,
    body: Bytes,
) -> Result<Response, AzureError> {
    let scope = place.scope(Right::Build)?;
    let new = NewVersion::registered(place.name()?, place.version()?);
    let files = std::collections::BTreeMap::new();
    let input = Input {
        file_name: "environment",
        bytes: &body,
        kind: Some(Kind::AzureMl),
        files: &files,
        overrides: &Overrides::default(),
    };
    let registered = state
        .engine
        .register_environment(scope, &new, &input, &place.origin())
        .await?;
    Ok(json(shown(&place, &registered.row)))
}

/// An environment by version or label, or its newest version.
pub(super) async fn get(
    State(state): State<AppState>,
    place: Place,
) -> Result<Response, AzureError> {
    let scope = place.scope(Right::Read)?;
    let (name, which) = (place.name()?, place.which()?);
    let row = state.engine.environment(scope, &name, &which).await?;
    Ok(json(shown(&place, &row)))
}

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    continuation: Option<String>,
}

/// The newest version of each name; the token of the next page is the last name of this one.
pub(super) async fn list(
    State(state): State<AppState>,
    place: Place,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, AzureError> {
    let scope = place.scope(Right::Read)?;
    let after = query.continuation.map(|after| after.parse()).transpose();
    let after: Option<EnvironmentName> = after.map_err(|_| {
        let remedy = "send the `continuationToken` of the page before";
        ApiError::invalid("there is no such page", remedy)
    })?;
    let filter = NameFilter {
        limit: PAGE,
        after,
        ..NameFilter::default()
    };
    let page = state.engine.environments(scope, &filter).await?;
    let last = page.rows.last().map(|row| row.name.to_string());
    let value = page.rows.iter().map(|row| {
        RawValue::from_string(shown(&place, row)).expect("a document is written as JSON")
    });
    Ok(Json(json!({
        "value": value.collect::<Vec<_>>(),
        "continuationToken": last.filter(|_| page.more),
    })))
}

#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(alias = "Labels")]
    labels: Vec<Label>,
}

/// Sets labels on a version.
pub(super) async fn label(
    State(state): State<AppState>,
    place: Place,
    bytes: Bytes,
) -> Result<Json<Value>, AzureError> {
    let scope = place.scope(Right::Build)?;
    let metadata: Metadata = body::read(&bytes)?;
    let (name, version) = (place.name()?, place.version()?);
    let version = version.ok_or_else(|| ApiError::not_found("there is no version in the path"))?;
    let (labels, origin) = (metadata.labels, place.origin());
    state
        .engine
        .label_environment(scope, &name, &version, &labels, &origin)
        .await?;
    Ok(Json(json!({ "labels": labels })))
}
