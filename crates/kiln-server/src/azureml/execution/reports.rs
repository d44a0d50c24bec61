//! What the script of a local run tells, and what it asks; its addresses are signed for the run.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt as _;
use http::{StatusCode, header};
use kiln_api::BuildState;
use kiln_oci::Digest;
use kiln_store::{RunChange, RunError, RunFile, RunId, RunRow, RunStatus, Scope};
use serde::Deserialize;

use super::{BUILD, LOG, LOG_LINK, SCRIPT_LINK, key};
use crate::azureml::error::AzureError;
use crate::builds::find;
use crate::error::ApiError;
use crate::router::AppState;

/// Bytes of a log at most: a script that writes without end must not fill the disk of the server.
const LOG_LIMIT_BYTES: u64 = 4 << 30;
/// Bytes of a message at most.
const MESSAGE_LIMIT_BYTES: usize = 16 << 10;

/// Which run, and by what right.
#[derive(Debug, Deserialize)]
pub(super) struct Signed {
    workspace: String,
    signature: String,
    status: Option<String>,
    exit_code: Option<i32>,
    offset: Option<u64>,
}

fn nothing() -> AzureError {
    ApiError::not_found("there is no such run").into()
}

impl Signed {
    async fn run(
        &self,
        state: &AppState,
        run: &str,
        purpose: &str,
    ) -> Result<(Scope, RunRow), AzureError> {
        let scope: Scope = self.workspace.parse().map_err(|_| nothing())?;
        let id: RunId = run.parse().map_err(|_| nothing())?;
        let links = state.engine.store().links();
        if !links.is_valid(purpose, &key(&scope, run), &self.signature) {
            return Err(nothing());
        }
        let row = state.engine.run_of(&scope, &id).await?;
        Ok((scope, row))
    }
}

/// How far it is.
pub(super) async fn status(
    State(state): State<AppState>,
    Path(run): Path<String>,
    Query(signed): Query<Signed>,
    message: Bytes,
) -> Result<StatusCode, AzureError> {
    let (scope, row) = signed.run(&state, &run, SCRIPT_LINK).await?;
    let status = signed.status.as_deref().and_then(RunStatus::of_word);
    let status =
        status.ok_or_else(|| ApiError::invalid("there is no such status", "send another"))?;
    let from = message.len().saturating_sub(MESSAGE_LIMIT_BYTES);
    let message = String::from_utf8_lossy(&message[from..]).into_owned();
    let change = RunChange {
        status: Some(status),
        exit_code: signed.exit_code,
        error: (status == RunStatus::Failed).then(|| RunError {
            code: "UserError".to_owned(),
            message,
        }),
        ..RunChange::default()
    };
    state
        .engine
        .change_run(&scope, &row.run.id, &change)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The image once it is there; why there is none, where its build failed.
pub(super) async fn image(
    State(state): State<AppState>,
    Path(run): Path<String>,
    Query(signed): Query<Signed>,
) -> Result<Response, AzureError> {
    let (scope, row) = signed.run(&state, &run, SCRIPT_LINK).await?;
    if let Some(image) = row.image {
        return Ok(image.into_response());
    }
    let build = row.run.properties.get(BUILD).map(String::as_str);
    let image = match build {
        Some(id) if !id.is_empty() => {
            let (_, status) = find(&state, id).await?;
            match (status.state, status.error) {
                (BuildState::Ready, _) => status.image,
                (BuildState::Failed | BuildState::Cancelled, error) => {
                    let message =
                        error.map(|error| format!("{}\nhelp: {}", error.message, error.remedy));
                    let message = message.unwrap_or_else(|| "the build was cancelled".to_owned());
                    return Ok((StatusCode::CONFLICT, message).into_response());
                }
                _ => return Ok(StatusCode::ACCEPTED.into_response()),
            }
        }
        _ => current(&state, &scope, &row).await?,
    };
    let Some(image) = image else {
        let message = "the image is not there any more";
        return Ok((StatusCode::CONFLICT, message).into_response());
    };
    let change = RunChange {
        image: Some(image.clone()),
        ..RunChange::default()
    };
    state
        .engine
        .change_run(&scope, &row.run.id, &change)
        .await?;
    Ok(image.into_response())
}

/// The image of an environment that nobody had to build.
async fn current(
    state: &AppState,
    scope: &Scope,
    row: &RunRow,
) -> Result<Option<String>, AzureError> {
    let Some(environment) = &row.run.environment else {
        return Ok(None);
    };
    let which = kiln_spec::Which::Version(environment.version.clone());
    let found = state.engine.environment(scope, &environment.name, &which);
    let image = state.engine.environment_image(scope, &found.await?).await?;
    Ok(image.as_ref().map(kiln_engine::image_of))
}

/// Where the log of a run is while it is written.
fn live_log(state: &AppState, scope: &Scope, run: &str) -> PathBuf {
    let name = Digest::of(key(scope, run).as_bytes()).to_hex();
    state
        .engine
        .store()
        .data()
        .root()
        .join("run-logs")
        .join(name)
}

/// Adds to the log; what is there already is the same.
pub(super) async fn add_log(
    State(state): State<AppState>,
    Path(run): Path<String>,
    Query(signed): Query<Signed>,
    bytes: Bytes,
) -> Result<StatusCode, AzureError> {
    let (scope, row) = signed.run(&state, &run, SCRIPT_LINK).await?;
    let offset = signed.offset.unwrap_or_default();
    if row.run.status.is_final() || offset.saturating_add(bytes.len() as u64) > LOG_LIMIT_BYTES {
        return Ok(StatusCode::NO_CONTENT);
    }
    let path = live_log(&state, &scope, &run);
    let writing = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        let mut options = fs_err::OpenOptions::new();
        let mut file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        if file.metadata()?.len() < offset {
            return Err(std::io::Error::other("a piece of the log is missing"));
        }
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(&bytes)
    });
    let written = writing.await.map_err(std::io::Error::other).flatten();
    written.map_err(kiln_engine::EngineError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The log so far.
pub(super) async fn log(
    State(state): State<AppState>,
    Path(run): Path<String>,
    Query(signed): Query<Signed>,
) -> Result<Response, AzureError> {
    let (scope, row) = signed.run(&state, &run, LOG_LINK).await?;
    let kept = state.engine.run_files(&scope, &row.run.id, LOG).await?;
    let blobs = state.engine.store().blobs();
    let file = match kept.first() {
        Some(kept) => blobs.open_blob(&kept.digest).ok().flatten(),
        None => fs_err::File::open(live_log(&state, &scope, &run))
            .ok()
            .map(Into::into),
    };
    let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    let Some(file) = file else {
        return Ok(text.into_response());
    };
    let file = tokio::fs::File::from_std(file);
    let body = Body::from_stream(tokio_util::io::ReaderStream::new(file));
    Ok((text, body).into_response())
}

/// Keeps files of a tar.
pub(super) async fn files(
    State(state): State<AppState>,
    Path(run): Path<String>,
    Query(signed): Query<Signed>,
    body: Body,
) -> Result<StatusCode, AzureError> {
    let (scope, row) = signed.run(&state, &run, SCRIPT_LINK).await?;
    if row.run.status.is_final() && row.run.status != RunStatus::Canceled {
        return Err(ApiError::invalid("the run is over", "send files before its end").into());
    }
    let tar = body.into_data_stream().map_err(std::io::Error::other);
    let received = state.engine.receive_model_files(tar).await?;
    let files: Vec<RunFile> = received
        .into_iter()
        .map(|file| RunFile {
            path: file.path,
            digest: file.digest,
            size_bytes: file.size_bytes,
        })
        .collect();
    state
        .engine
        .keep_run_files(&scope, &row.run.id, &files)
        .await?;
    let path = live_log(&state, &scope, &run);
    if files.iter().any(|file| file.path.as_str() == LOG) {
        // It is among the files now.
        let _ = tokio::task::spawn_blocking(move || fs_err::remove_file(path)).await;
    }
    Ok(StatusCode::NO_CONTENT)
}
