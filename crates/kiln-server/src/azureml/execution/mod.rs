//! Submitted runs whose target is the submitter's own machine.
//!
//! The SDK sends the definition and gets a zip, whose script it starts and forgets: the script runs what was submitted, in
//! the environment's image or in the environment prepared on the machine, and tells kiln how it goes.

mod content;
mod localrun;
mod multipart;
mod reports;
mod script;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use kiln_store::{RunRow, Scope};
use serde_json::{Value, json};

use super::WORKSPACE;
use crate::router::AppState;

/// The file that the command's output is in, by a name that the SDK shows.
pub(super) const LOG: &str = "azureml-logs/70_driver_log.txt";
/// What the signature of the script's addresses is for.
const SCRIPT_LINK: &str = "local run";
/// What the signature of a log's address is for.
const LOG_LINK: &str = "run log";
/// The property of a run that tells the build of its image.
const BUILD: &str = "io.kiln.build";

/// The routes of submitting, of snapshots, and those that the script uses.
pub(super) fn routes() -> Router<AppState> {
    let execution = |path: &str| format!("/execution/v1.0{WORKSPACE}{path}");
    let of_content = |path: &str| format!("/content{path}");
    let local = |path: &str| format!("/execution/v1.0/local/{{run}}{path}");
    let mut router = Router::new();
    for remote in ["snapshotrun", "run", "startrun"] {
        let path = execution(&format!("/experiments/{{experiment}}/{remote}"));
        router = router.route(&path, post(localrun::refuse_target));
    }
    router
        .route(
            &execution("/experiments/{experiment}/localrun"),
            post(localrun::submit),
        )
        .route(
            &of_content(&format!("/v1.0{WORKSPACE}/snapshots/latest/metadata")),
            get(content::latest),
        )
        .route(
            &of_content(&format!("/v2.0{WORKSPACE}/snapshots/getblob")),
            post(content::places),
        )
        .route(
            &of_content(&format!("/v2.0{WORKSPACE}/snapshots/{{snapshot}}")),
            post(content::take),
        )
        .route(
            &of_content(&format!("/v1.0{WORKSPACE}/snapshots/{{snapshot}}")),
            post(content::take).layer(DefaultBodyLimit::max(content::SENT_LIMIT_BYTES)),
        )
        .route(&local("/status"), post(reports::status))
        .route(&local("/image"), get(reports::image))
        .route(&local("/log"), post(reports::add_log).get(reports::log))
        .route(
            &local("/files"),
            post(reports::files).layer(DefaultBodyLimit::disable()),
        )
}

/// What is signed of a run.
fn key(scope: &Scope, run: &str) -> String {
    format!("{scope} {run}")
}

/// The addresses of a run's logs, which are read without a token.
pub(super) fn log_files(state: &AppState, server: &str, scope: &Scope, row: &RunRow) -> Value {
    if row.started_ms.is_none() && row.ended_ms.is_none() {
        return json!({});
    }
    let run = row.run.id.as_str();
    let signature = state
        .engine
        .store()
        .links()
        .sign(LOG_LINK, &key(scope, run));
    let url =
        format!("{server}/execution/v1.0/local/{run}/log?workspace={scope}&signature={signature}");
    json!({ (LOG): url })
}
