//! `localrun`: a run is made known, and the submitter gets the script that runs it.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use kiln_dockerfile::Installer;
use kiln_engine::{EngineError, EnvironmentRow, Options};
use kiln_spec::Which;
use kiln_store::{BegunRun, NewRun, RunEnvironment, RunStatus};
use serde::Deserialize;
use serde_json::Value;

use super::script::{How, Script};
use super::{BUILD, SCRIPT_LINK, key, multipart};
use crate::access::Right;
use crate::azureml::error::AzureError;
use crate::azureml::history::arguments;
use crate::azureml::place::{Place, no_name};
use crate::azureml::recipe;
use crate::error::ApiError;
use crate::router::AppState;

#[derive(Debug, Deserialize)]
pub(super) struct SubmitQuery {
    #[serde(rename = "runId")]
    run_id: String,
}

/// Runs elsewhere than on the submitter's machine.
pub(super) async fn refuse_target(place: Place) -> Result<Response, AzureError> {
    place.scope(Right::Build)?;
    let remedy =
        "submit with the target `local`, or use `kiln run` on the machine that is to run it";
    Err(ApiError::invalid("kiln has no compute targets", remedy).into())
}

/// Makes a run known, and answers a zip with what runs it.
pub(super) async fn submit(
    State(state): State<AppState>,
    place: Place,
    Query(query): Query<SubmitQuery>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, AzureError> {
    let scope = place.scope(Right::Build)?;
    let mut configuration = configuration(&headers, &bytes)?;
    refuse_what_there_is_not(&configuration)?;
    let environment = configuration["environment"].take();
    let row = state
        .engine
        .environment_of_run(scope, &environment, &place.origin())
        .await?;
    let command = command(&configuration)?;
    let docker = uses_docker(&configuration, &environment);
    let (how, build) = how(&state, &place, &row, docker).await?;
    let (name, version) = (row.name.as_str(), row.version.as_str());
    let kept = row.document.azureml_json(name, Some(version), None);
    configuration["environment"] = serde_json::from_str(&kept).unwrap_or_default();
    let origin = place.origin();
    let id = query
        .run_id
        .parse()
        .map_err(|error| no_name("run", &error))?;
    let script = configuration["script"].as_str().unwrap_or_default();
    let new = NewRun {
        id,
        experiment: place.experiment()?,
        parent: None,
        title: None,
        status: RunStatus::Preparing,
        environment: Some(RunEnvironment {
            name: row.name.clone(),
            version: row.version.clone(),
        }),
        target: "local".to_owned(),
        script: Some(script.to_owned()).filter(|script| !script.is_empty()),
        arguments: arguments(Some(&configuration)),
        definition: Some(configuration.to_string()),
        snapshot: None,
        properties: build
            .map(|build| (BUILD.to_owned(), build))
            .into_iter()
            .collect(),
        tags: BTreeMap::new(),
        actor: origin.actor,
        via: origin.via,
    };
    if let BegunRun::There(_) = state.engine.begin_run(scope, &new).await? {
        let message = format!("there is a run `{}` already", new.id);
        return Err(ApiError::invalid(message, "submit it as another run").into());
    }
    let run = new.id.as_str();
    let history = &configuration["history"];
    let script = Script {
        server: place.server.clone(),
        workspace: scope.to_string(),
        run: run.to_owned(),
        signature: state
            .engine
            .store()
            .links()
            .sign(SCRIPT_LINK, &key(scope, run)),
        command,
        variables: variables(&configuration, &row),
        snapshot: history["snapshotProject"].as_bool().unwrap_or(true),
        outputs: history["outputCollection"].as_bool().unwrap_or(true),
        how,
    };
    let install_binary = state.install_binary.clone();
    let zipped = tokio::task::spawn_blocking(move || script.zipped(&install_binary));
    let zipped = recipe::written(zipped.await)?;
    Ok(([(header::CONTENT_TYPE, "application/zip")], zipped).into_response())
}

fn configuration(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let definition = multipart::part(content_type.unwrap_or_default(), bytes, "definition.json");
    let definition: Option<Value> =
        definition.and_then(|definition| serde_json::from_slice(definition).ok());
    let configuration = definition.map(|mut definition| definition["Configuration"].take());
    configuration
        .filter(|configuration| configuration["environment"].is_object())
        .ok_or_else(|| {
            let message = "the request has no definition of a run with an environment";
            ApiError::invalid(message, "submit it with the SDK")
        })
}

/// What only Azure has.
fn refuse_what_there_is_not(configuration: &Value) -> Result<(), ApiError> {
    for (field, what, remedy) in [
        (
            "dataReferences",
            "data stores",
            "copy the data into the source folder, or read it by its address in the script",
        ),
        (
            "data",
            "datasets",
            "copy the data into the source folder, or read it by its address in the script",
        ),
        (
            "outputData",
            "outputs in data stores",
            "write to `outputs`, which the run keeps",
        ),
    ] {
        let asked = configuration[field].as_object();
        if asked.is_some_and(|asked| !asked.is_empty()) {
            return Err(ApiError::invalid(format!("kiln has no {what}"), remedy));
        }
    }
    Ok(())
}

fn command(configuration: &Value) -> Result<Vec<String>, ApiError> {
    let text = |field: &str| {
        let text = configuration[field].as_str();
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let command = match (text("script"), text("command")) {
        (Some(script), _) => {
            let mut command = vec!["python".to_owned(), script];
            command.extend(arguments(Some(configuration)));
            command
        }
        (None, Some(command)) => vec!["/bin/sh".to_owned(), "-c".to_owned(), command],
        (None, None) => {
            let message = "the run has neither a script nor a command";
            return Err(ApiError::invalid(message, "name one"));
        }
    };
    if command.iter().any(|part| part.contains('\0')) {
        let message = "an argument has a NUL character, which no program can be given";
        return Err(ApiError::invalid(message, "leave it out"));
    }
    Ok(command)
}

/// Newer SDKs say it of the run, older ones of the environment.
fn uses_docker(configuration: &Value, environment: &Value) -> bool {
    let of_run = configuration["docker"]["useDocker"].as_bool();
    of_run.unwrap_or(false) || environment["docker"]["enabled"].as_bool().unwrap_or(false)
}

/// Variables of the run, which win, and where none are prepared with it those of the environment.
fn variables(configuration: &Value, row: &EnvironmentRow) -> BTreeMap<String, String> {
    let (name, version) = (row.name.as_str(), row.version.as_str());
    let document = row.document.azureml_json(name, Some(version), None);
    let document: Value = serde_json::from_str(&document).unwrap_or_default();
    let of = |value: &Value| -> BTreeMap<String, String> {
        let map = value.as_object().into_iter().flatten();
        map.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .filter(|(name, value)| {
                !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
            })
            .collect()
    };
    let mut variables = of(&document["environmentVariables"]);
    variables.extend(of(&configuration["environmentVariables"]));
    variables
}

/// How the command is to be run, and the build of the image where one is needed.
async fn how(
    state: &AppState,
    place: &Place,
    row: &EnvironmentRow,
    docker: bool,
) -> Result<(How, Option<String>), AzureError> {
    let scope = place.scope(Right::Build)?;
    let which = Which::Version(row.version.clone());
    let options = Options::default();
    let asked = state
        .engine
        .submission_of(scope, &row.name, &which, options, place.origin());
    let asked = asked.await?;
    if docker {
        let ticket = state.engine.submit(asked).await?;
        let status = ticket.status();
        // An image that no build of this kiln made is there.
        let build = status.build_id.clone();
        return Ok((How::Docker, Some(build.unwrap_or_default())));
    }
    let python = &asked.parsed.definition.python;
    if python.user_managed {
        let interpreter = python.interpreter_path.clone();
        return Ok((
            How::OwnPython(interpreter.unwrap_or_else(|| "python".to_owned())),
            None,
        ));
    }
    let ejected = state.engine.eject(&asked, Installer::Kiln, false).await;
    let plan = ejected.map_err(EngineError::Failed)?.plan;
    let mut recipe = recipe::without_docker(&plan, &asked.spec_hash)?;
    recipe.with_private_wheels(state, place).await?;
    let prefix = recipe::prefix(&asked.spec_hash);
    Ok((How::Prepared { recipe, prefix }, None))
}
