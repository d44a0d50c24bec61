//! Run history: experiments, runs, what happened to them and what they logged.

mod experiments;
mod metrics;
mod runs;
mod shown;

pub(super) use runs::arguments;

use axum::Router;
use axum::routing::{get, post};

use super::WORKSPACE;
use crate::router::AppState;

/// The routes of the history, the metrics and the list of a run's files.
pub(super) fn routes() -> Router<AppState> {
    let history = |path: &str| format!("/history/v1.0{WORKSPACE}{path}");
    let metric = |path: &str| format!("/metric/v2.0{WORKSPACE}/runs/{{run}}{path}");
    let mut router = Router::new()
        .route(
            &history("/experiments/{experiment}"),
            get(experiments::get).post(experiments::create),
        )
        .route(&history("/experiments:query"), post(experiments::list))
        .route(
            &history("/experimentids/{experiment_id}"),
            get(experiments::get),
        )
        .route(&history("/runs/{run}"), get(runs::get))
        .route(&metric("/batch"), post(metrics::add))
        .route(&metric("/list"), post(metrics::list))
        .route(&metric("/full"), post(metrics::full))
        .route(
            &format!(
                "/artifact/v2.0{WORKSPACE}/artifacts/prefix/contentinfo/ExperimentRun/{{container}}/{{*path}}"
            ),
            get(runs::files),
        );
    for experiment in [
        "/experiments/{experiment}",
        "/experimentids/{experiment_id}",
    ] {
        let of = |path: &str| history(&format!("{experiment}{path}"));
        router = router
            .route(&of("/runs:query"), post(runs::list))
            .route(&of("/runs/{run}"), get(runs::get).patch(runs::patch))
            .route(&of("/runs/{run}/details"), get(runs::details))
            .route(&of("/runs/{run}/events"), post(runs::event))
            .route(
                &of("/runs/{run}/metricsingest/wait"),
                get(metrics::ingested),
            );
    }
    router
}
