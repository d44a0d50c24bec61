//! Images of environments: what they are, building them, following a build.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use dashmap::DashMap;
use http::{StatusCode, header};
use kiln_api::BuildState;
use kiln_engine::{Options, Submission};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::AzureError;
use super::place::Place;
use crate::access::Right;
use crate::builds::{find, no_build};
use crate::logs::plain;
use crate::router::AppState;

/// How long the end of a build is held back from who does not read its log: two polls of the SDK.
const PATIENCE: Duration = Duration::from_secs(15);
/// Builds whose end is held back at once; above this all are told.
const TOLD_LIMIT: usize = 10_000;
/// What the signature of a log's address is for.
const LOG_LINK: &str = "build log";
/// The id of an image that no build of this kiln made.
const FOUND: &str = "found";

/// Builds that are over, until their watcher has read the log to its end.
///
/// On the change to a final status the SDK stops without reading the log once more, so the last lines,
/// which say what went wrong, would be lost.
#[derive(Debug, Default)]
pub(crate) struct Told(DashMap<String, Held>);

#[derive(Debug, Clone, Copy)]
struct Held {
    since: Instant,
    log_read: bool,
}

impl Told {
    /// A build is over and somebody asks: whether he may know.
    fn may_tell(&self, build: &str) -> bool {
        if self.0.len() >= TOLD_LIMIT {
            self.0.clear();
        }
        let now = Held {
            since: Instant::now(),
            log_read: false,
        };
        let held = *self.0.entry(build.to_owned()).or_insert(now);
        held.log_read || held.since.elapsed() >= PATIENCE
    }

    /// A run is over and somebody asks: whether he asked before.
    pub(super) fn may_tell_run(&self, run: &str) -> bool {
        if self.0.len() >= TOLD_LIMIT {
            self.0.clear();
        }
        let asked = Held {
            since: Instant::now(),
            log_read: true,
        };
        self.0.insert(format!("run {run}"), asked).is_some()
    }

    /// The log of a build that is over was read to its end.
    fn log_read(&self, build: &str) {
        let read = Held {
            since: Instant::now(),
            log_read: true,
        };
        self.0.insert(build.to_owned(), read);
    }
}

/// The submission of the environment that a path names.
pub(super) async fn submission(
    state: &AppState,
    place: &Place,
    right: Right,
    dry_run: bool,
) -> Result<Submission, AzureError> {
    let scope = place.scope(right)?;
    let options = Options {
        dry_run,
        ..Options::default()
    };
    let (name, which) = (place.name()?, place.which()?);
    let asked = state
        .engine
        .submission_of(scope, &name, &which, options, place.origin());
    Ok(asked.await?)
}

/// Where the image of an environment is or will be, and whether it is there.
pub(super) async fn details(
    State(state): State<AppState>,
    place: Place,
) -> Result<Json<Value>, AzureError> {
    let submission = submission(&state, &place, Right::Read, true).await?;
    let python = python(&submission);
    let dockerfile = state.engine.known_dockerfile(&submission).await;
    let dockerfile = dockerfile.unwrap_or_else(|failure| {
        // The other details are true without it.
        tracing::warn!(%failure.message, "the Dockerfile of an environment can't be told");
        None
    });
    let ticket = state.engine.submit(submission).await?;
    let status = ticket.status();
    Ok(Json(json!({
        "imageExistsInRegistry": status.state == BuildState::Ready,
        "dockerImage": {
            "name": status.name,
            "registry": {
                "address": state.engine.defaults().registry,
                "username": null,
                "password": null,
            },
        },
        "pythonEnvironment": python,
        "ingredients": dockerfile.map(|text| json!({ "dockerfile": text })),
    })))
}

/// Where the image has its python.
fn python(submission: &Submission) -> Value {
    let python = &submission.parsed.definition.python;
    if python.user_managed {
        return json!({
            "interpreterPath": python.interpreter_path.as_deref().unwrap_or("python"),
            "condaEnvironmentPath": null,
        });
    }
    let name = submission.spec_hash.image_name();
    let name = name.rsplit('/').next().unwrap_or_default();
    let prefix = format!("/azureml-envs/{name}");
    json!({
        "interpreterPath": format!("{prefix}/bin/python"),
        "condaEnvironmentPath": prefix,
    })
}

/// Gets or creates the image; the id of the build to look at.
async fn begin(state: &AppState, place: &Place) -> Result<String, AzureError> {
    let submission = submission(state, place, Right::Build, false).await?;
    let ticket = state.engine.submit(submission).await?;
    let status = ticket.status();
    let id = status.build_id.clone().unwrap_or_else(|| FOUND.to_owned());
    if status.state == BuildState::Ready {
        // Nothing is built: nobody needs to read a log first.
        state.told.log_read(&id);
    }
    Ok(id)
}

/// Begins a build, and tells where to look at it.
pub(super) async fn start(
    State(state): State<AppState>,
    place: Place,
) -> Result<(StatusCode, Json<Value>), AzureError> {
    let id = begin(&state, &place).await?;
    let (server, workspace) = (&place.server, place.path());
    let location = format!("{server}/environment/v2.0{workspace}/builds/{id}");
    Ok((StatusCode::ACCEPTED, Json(json!({ "location": location }))))
}

/// The same as the SDKs of 2019 ask for it.
pub(super) async fn start_2019(
    State(state): State<AppState>,
    place: Place,
) -> Result<Json<Value>, AzureError> {
    let id = begin(&state, &place).await?;
    let log_url = log_url(&state, &place.server, &id);
    Ok(Json(json!({ "buildId": id, "logUrl": log_url })))
}

/// How a build is.
pub(super) async fn status(
    State(state): State<AppState>,
    place: Place,
) -> Result<Json<Value>, AzureError> {
    let word = word(&state, &place).await?;
    let log_url = log_url(&state, &place.server, place.build());
    Ok(Json(json!({ "status": word, "logUrl": log_url })))
}

/// How a build is, for SDKs that know no state but `Running` before the end.
pub(super) async fn status_2019(
    State(state): State<AppState>,
    place: Place,
) -> Result<Json<Value>, AzureError> {
    let word = match word(&state, &place).await? {
        "Queued" => "Running",
        word => word,
    };
    Ok(Json(json!({ "status": word })))
}

/// A build's state in the words of Azure ML. The SDK takes any other than `Queued` and `Running` for the
/// end.
async fn word(state: &AppState, place: &Place) -> Result<&'static str, AzureError> {
    let scope = place.scope(Right::Read)?;
    let id = place.build();
    if id == FOUND {
        return Ok("Succeeded");
    }
    let (workspace, status) = find(state, id).await?;
    if workspace != scope.as_str() {
        return Err(no_build(id).into());
    }
    if status.state.is_final() && !state.told.may_tell(id) {
        return Ok("Running");
    }
    Ok(match status.state {
        BuildState::Queued => "Queued",
        BuildState::Resolving | BuildState::Building | BuildState::Pushing => "Running",
        BuildState::Ready => "Succeeded",
        BuildState::Failed => "Failed",
        BuildState::Cancelled => "Canceled",
    })
}

/// The address of a build's log, which the SDK reads without a token.
fn log_url(state: &AppState, server: &str, id: &str) -> Option<String> {
    let signature = state.engine.store().links().sign(LOG_LINK, id);
    (id != FOUND).then(|| format!("{server}/environment/v1.0/logs/{id}?signature={signature}"))
}

#[derive(Debug, Deserialize)]
pub(super) struct LogQuery {
    signature: Option<String>,
}

/// The lines of a build's log so far; lines are added and never changed.
pub(super) async fn log(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, AzureError> {
    let signature = query.signature.unwrap_or_default();
    if !state
        .engine
        .store()
        .links()
        .is_valid(LOG_LINK, &id, &signature)
    {
        return Err(no_build(&id).into());
    }
    let (_, before) = find(&state, &id).await?;
    // A build that nobody has begun has no log yet.
    let events = state
        .engine
        .logs()
        .read_so_far(&id)
        .await
        .unwrap_or_default();
    if before.state.is_final() {
        state.told.log_read(&id);
    }
    let lines: String = events.iter().filter_map(plain).collect();
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], lines).into_response())
}
