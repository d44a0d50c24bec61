//! What runs logged: kept as it was posted.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use kiln_store::RunMetric;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::Right;
use crate::azureml::error::AzureError;
use crate::azureml::place::Place;
use crate::body;
use crate::error::ApiError;
use crate::router::AppState;

/// Values of one request at most.
const LIMIT: usize = 10_000;

#[derive(Debug, Deserialize)]
struct Batch {
    values: Vec<Metric>,
}

#[derive(Debug, Deserialize)]
struct Metric {
    name: String,
    #[serde(default)]
    columns: Value,
    #[serde(default)]
    properties: Value,
    value: Vec<Cell>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cell {
    metric_id: String,
    #[serde(default)]
    created_utc: String,
    #[serde(default)]
    data: Value,
}

/// Adds values; one that is sent again is the same.
pub(super) async fn add(
    State(state): State<AppState>,
    place: Place,
    bytes: Bytes,
) -> Result<Json<Value>, AzureError> {
    let scope = place.scope(Right::Build)?;
    let batch: Batch = body::read(&bytes)?;
    let rows: Vec<RunMetric> = batch.values.into_iter().flat_map(rows).collect();
    if rows.len() > LIMIT {
        let message = format!("the request has {} values", rows.len());
        return Err(ApiError::invalid(message, format!("send at most {LIMIT} at once")).into());
    }
    let run = place.run()?;
    state.engine.add_run_metrics(scope, &run, &rows).await?;
    Ok(Json(json!({})))
}

fn rows(metric: Metric) -> impl Iterator<Item = RunMetric> {
    let (columns, properties) = (metric.columns.to_string(), metric.properties.to_string());
    metric.value.into_iter().map(move |cell| RunMetric {
        id: cell.metric_id,
        name: metric.name.clone(),
        columns: columns.clone(),
        properties: properties.clone(),
        data: cell.data.to_string(),
        at: cell.created_utc,
    })
}

/// The metrics of a run, without their values.
pub(super) async fn list(
    State(state): State<AppState>,
    place: Place,
) -> Result<Json<Value>, AzureError> {
    let scope = place.scope(Right::Read)?;
    let run = place.run()?;
    state.engine.run_of(scope, &run).await?;
    let mut seen = std::collections::BTreeSet::new();
    let rows = state.engine.run_metrics(scope, &run, None).await?;
    let value: Vec<_> = rows
        .iter()
        .filter(|row| seen.insert(row.name.as_str()))
        .map(|row| {
            json!({
                "metricKey": { "namespace": null, "name": row.name },
                "columns": parsed(&row.columns),
            })
        })
        .collect();
    Ok(Json(json!({ "value": value, "continuationToken": null })))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    metric_name: String,
}

/// A metric as it was posted, with all its values.
pub(super) async fn full(
    State(state): State<AppState>,
    place: Place,
    bytes: Bytes,
) -> Result<Json<Value>, AzureError> {
    let scope = place.scope(Right::Read)?;
    let wanted: Wanted = body::read(&bytes)?;
    let run = place.run()?;
    let name = wanted.metric_name;
    let rows = state.engine.run_metrics(scope, &run, Some(&name)).await?;
    let Some(first) = rows.first() else {
        return Err(ApiError::not_found(format!("there is no metric `{name}`")).into());
    };
    let value: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "metricId": row.id,
                "createdUtc": row.at,
                "data": parsed(&row.data),
            })
        })
        .collect();
    Ok(Json(json!({
        "name": name,
        "dataContainerId": format!("dcid.{run}"),
        "columns": parsed(&first.columns),
        "properties": parsed(&first.properties),
        "value": value,
    })))
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// What was posted is kept before it is answered: there is nothing to wait for.
pub(super) async fn ingested(
    State(state): State<AppState>,
    place: Place,
) -> Result<Json<Value>, AzureError> {
    let scope = place.scope(Right::Read)?;
    state.engine.run_of(scope, &place.run()?).await?;
    Ok(Json(json!({})))
}
