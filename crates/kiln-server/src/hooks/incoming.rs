//! `POST /v1/hooks/{source}`: a platform asks for a build, a registry tells what changed.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use kiln_api::{BuildRequest, Failure, FailureClass, RegistryReport};
use kiln_engine::{Intake as _, Message, Origin, Refusal, Refused};
use kiln_events::{Action, BUILD_REQUESTED, CloudEvent, MalformedEvent, RegistryChange};
use kiln_oci::{Digest, Reference};

use super::{Source, SourceKind};
use crate::access::{Caller, Right};
use crate::builds::respond;
use crate::error::ApiError;
use crate::router::AppState;

/// Takes a message of a source that the settings name. Its body is a CloudEvent, in structured or
/// binary mode, whose data is the body of `POST /v1/builds`; or that body itself; or, of a source of
/// the kind `registry`, the notification of a container registry.
pub(crate) async fn receive(
    State(state): State<AppState>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let sources = &state.hooks.sources;
    let source = sources.iter().find(|source| source.name == name);
    let Some(source) = source else {
        // Whoever may not know it sees no difference to a wrong signature.
        Caller::of(&headers, &state)?;
        return Err(ApiError::not_found(format!(
            "there is no source `{}`",
            name.chars().take(64).collect::<String>()
        )));
    };
    let message_id = authenticate(source, &state, &headers, &body)?;
    match source.kind {
        SourceKind::Build => build(source, &state, &headers, &body, message_id).await,
        SourceKind::Registry(policy) => {
            let changes = kiln_events::registry_changes(&body).map_err(|error| {
                ApiError::invalid(error.to_string(), "check which registry sends this")
            })?;
            let mut report = RegistryReport::default();
            for change in changes {
                apply(&change, source, policy, &state, &mut report).await?;
            }
            Ok(Json(report).into_response())
        }
    }
}

/// Checks signature or token, and answers the message's id where it is signed.
fn authenticate(
    source: &Source,
    state: &AppState,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Option<String>, ApiError> {
    if source.secrets.is_empty() {
        Caller::of(headers, state)?.require(Right::Build, &source.workspace)?;
        return Ok(None);
    }
    kiln_events::verify(&source.secrets, headers, body)
        .map(Some)
        .map_err(|error| {
            let failure = Failure::new(
                FailureClass::Auth,
                error.to_string(),
                "sign as Standard Webhooks describes it, with a live secret of the source, and check the clock",
            );
            ApiError::new(StatusCode::UNAUTHORIZED, failure)
        })
}

async fn build(
    source: &Source,
    state: &AppState,
    headers: &HeaderMap,
    body: &[u8],
    message_id: Option<String>,
) -> Result<Response, ApiError> {
    let named = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let (data, event) = match CloudEvent::parse(named, body) {
        Ok(event) if event.kind == BUILD_REQUESTED => {
            (event.data.clone().unwrap_or_default(), Some(event))
        }
        Ok(event) => {
            return Err(ApiError::invalid(
                format!("kiln takes no events of the type `{}`", event.kind),
                format!("send {BUILD_REQUESTED}"),
            ));
        }
        Err(MalformedEvent::NotAnEvent) => (String::from_utf8_lossy(body).into_owned(), None),
        Err(error) => {
            let remedy = "send a CloudEvent 1.0, or the body of POST /v1/builds itself";
            return Err(ApiError::invalid(error.to_string(), remedy));
        }
    };
    let mut request: BuildRequest = serde_json::from_str(&data).map_err(|error| {
        ApiError::invalid(
            format!("the message is no request for a build: {error}"),
            "send the body of POST /v1/builds, as /v1/openapi.json describes it",
        )
    })?;
    if request
        .workspace
        .get_or_insert_with(|| source.workspace.clone())
        != &source.workspace
    {
        return Err(ApiError::invalid(
            format!("the source `{}` is for another workspace", source.name),
            format!("leave `workspace` out, or name `{}`", source.workspace),
        ));
    }
    let sender = event.as_ref().map_or("", |event| event.source.as_str());
    let id = message_id.or_else(|| event.as_ref().map(|event| event.id.clone()));
    let message = Message {
        // A message without an id is one of its own.
        id: id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        source: format!("hook {} {sender}", source.name),
        origin: origin(source),
        body: serde_json::to_vec(&request)
            .expect("a request is plain data")
            .into(),
        reply_to: None,
    };
    let accepted = state
        .engine
        .accept(message)
        .await
        .map_err(|error| refused(&error))?;
    Ok(respond(accepted.status))
}

fn origin(source: &Source) -> Origin {
    Origin {
        actor: format!("hook:{}", source.name),
        via: "webhook".into(),
    }
}

fn refused(refused: &Refused) -> ApiError {
    let failure = Failure {
        retryable: refused.is_retryable(),
        ..Failure::new(refused.class, &refused.message, &refused.remedy)
    };
    match refused.refusal {
        Refusal::Invalid => ApiError::new(StatusCode::BAD_REQUEST, failure),
        Refusal::Conflict => ApiError::new(StatusCode::CONFLICT, failure),
        Refusal::Busy => ApiError::too_many(failure),
        Refusal::Unavailable => ApiError::unavailable(failure),
    }
}

async fn apply(
    change: &RegistryChange,
    source: &Source,
    policy: kiln_engine::OnBaseChange,
    state: &AppState,
    report: &mut RegistryReport,
) -> Result<(), ApiError> {
    let Some(host) = &change.host else {
        return Ok(());
    };
    let digest: Option<Digest> = change.digest.as_deref().and_then(|text| text.parse().ok());
    let name = format!("{host}/{}", change.repository);
    let changed = match (change.action, &change.tag, digest) {
        (Action::Push, Some(tag), _) => {
            let Ok(base) = format!("{name}:{tag}").parse::<Reference>() else {
                return Ok(());
            };
            let engine = &state.engine;
            engine
                .base_changed(&base, digest, policy, &origin(source))
                .await?
        }
        (Action::Delete, _, Some(digest)) => state.engine.image_deleted(&name, digest).await?,
        _ => return Ok(()),
    };
    report.outdated += changed.outdated;
    report.refreshed += changed.refreshed;
    report.lost += changed.lost;
    Ok(())
}
