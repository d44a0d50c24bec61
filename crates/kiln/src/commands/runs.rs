//! `kiln runs`: what ran in which environment.

use clap::{Args, Subcommand};
use kiln_api::{Environment, Run, RunList};
use serde::Serialize;

use crate::config::Settings;
use crate::env_text;
use crate::error::CliError;
use crate::own_server::Api;

/// Arguments of `kiln runs`.
#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    #[command(subcommand)]
    action: Action,
    /// The `kiln serve` that has them [env: KILN_SERVER].
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// The workspace.
    #[arg(long, global = true, value_name = "NAME", default_value = "default")]
    workspace: String,
    /// Print the API's answer as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists runs, newest first.
    List {
        /// Only those of this experiment.
        #[arg(long, value_name = "NAME")]
        experiment: Option<String>,
        /// Only those in a version of this environment.
        #[arg(long, value_name = "NAME")]
        environment: Option<String>,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
    },
    /// Shows a run.
    Show {
        /// The run's id.
        id: String,
    },
    /// Prints the environment of a run as the Azure ML SDK reads it: the very version it ran in.
    Env {
        /// The run's id.
        id: String,
    },
}

/// Runs the command.
pub(crate) async fn run(settings: Settings, args: RunsArgs) -> Result<(), CliError> {
    let api = Api::open(&settings, args.server.clone()).await?;
    let done = act(&api, &args).await;
    api.close().await;
    done
}

async fn act(api: &Api, args: &RunsArgs) -> Result<(), CliError> {
    let tell = |answer: &dyn erased::Json, text: String| {
        super::print(&if args.json { answer.json() } else { text })
    };
    match &args.action {
        Action::List {
            experiment,
            environment,
            limit,
        } => {
            let limit = limit.to_string();
            let path = asked(
                "/v1/runs",
                &args.workspace,
                &[
                    ("experiment", experiment.as_deref()),
                    ("environment", environment.as_deref()),
                    ("limit", Some(&limit)),
                ],
            );
            let list: RunList = api.client.get(&path).await?;
            let lines: Vec<String> = list.value.iter().map(line).collect();
            tell(&list, lines.join("\n"))
        }
        Action::Show { id } => {
            let run = show(api, args, id).await?;
            tell(&run, whole(&run))
        }
        Action::Env { id } => {
            let run = show(api, args, id).await?;
            let Some(environment) = run.environment else {
                return Err(CliError::input(
                    format!("the run `{id}` has no environment"),
                    "choose a run that was submitted with one",
                ));
            };
            let path = format!("/v1/environments/{}", quoted(&environment.name));
            let query = [("version", Some(environment.version.as_str()))];
            let shown: Environment = api
                .client
                .get(&asked(&path, &args.workspace, &query))
                .await?;
            let document = shown.document.as_ref().map(|raw| raw.get());
            tell(&shown, env_text::indented(document.unwrap_or_default()))
        }
    }
}

/// Answers of several types, as JSON.
mod erased {
    use super::Serialize;

    pub(super) trait Json {
        fn json(&self) -> String;
    }

    impl<T: Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).expect("an answer is plain data")
        }
    }
}

async fn show(api: &Api, args: &RunsArgs, id: &str) -> Result<Run, CliError> {
    let path = format!("/v1/runs/{}", quoted(id));
    api.client.get(&asked(&path, &args.workspace, &[])).await
}

fn quoted(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

fn asked(path: &str, workspace: &str, query: &[(&str, Option<&str>)]) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    text.append_pair("workspace", workspace);
    for (key, value) in query {
        if let Some(value) = value {
            text.append_pair(key, value);
        }
    }
    format!("{path}?{}", text.finish())
}

fn environment(run: &Run) -> String {
    let environment = run.environment.as_ref();
    environment.map_or_else(
        || "-".to_owned(),
        |environment| format!("{}:{}", environment.name, environment.version),
    )
}

fn line(run: &Run) -> String {
    let (id, status, created) = (&run.id, &run.status, &run.created);
    format!("{id}  {status}  {}  {created}", environment(run))
}

/// Everything about a run, a line each.
fn whole(run: &Run) -> String {
    let mut command = run.script.clone().into_iter().collect::<Vec<_>>();
    command.extend(run.arguments.iter().cloned());
    let failure = run.error.as_ref().map(|error| error.message.clone());
    let fields = [
        ("run", Some(run.id.clone())),
        ("experiment", Some(run.experiment.clone())),
        ("status", Some(run.status.clone())),
        ("environment", Some(environment(run))),
        ("image", run.image.clone()),
        ("target", Some(run.target.clone())),
        (
            "command",
            Some(command.join(" ")).filter(|text| !text.is_empty()),
        ),
        ("snapshot", run.snapshot.clone()),
        ("by", Some(format!("{} ({})", run.actor, run.via))),
        ("created", Some(run.created.clone())),
        ("started", run.started.clone()),
        ("ended", run.ended.clone()),
        ("exit code", run.exit_code.map(|code| code.to_string())),
        ("error", failure),
    ];
    let lines = fields
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name:<12} {}", value?)));
    lines.collect::<Vec<_>>().join("\n")
}
