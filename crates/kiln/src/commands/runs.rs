//! `kiln runs`: what ran in which environment.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kiln_api::{Environment, Run, RunFileInfo, RunFileList, RunList};
use serde::Serialize;

use crate::config::Settings;
use crate::env_text;
use crate::error::CliError;
use crate::folder_tar::unpack;
use crate::own_server::Api;

/// Where the logs are among the files of a run.
const LOGS: &str = "azureml-logs/";

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
    /// Prints what a run's command wrote to its standard output and error.
    Logs {
        /// The run's id.
        id: String,
    },
    /// Lists the files of a run.
    Files {
        /// The run's id.
        id: String,
    },
    /// Writes files of a run into a folder: what it left in `outputs` and `logs`, its log, its source.
    Download {
        /// The run's id.
        id: String,
        /// Only files whose paths begin so, for example `outputs/`.
        #[arg(long, value_name = "PATH", default_value = "")]
        prefix: String,
        /// The folder.
        #[arg(short, long, value_name = "DIR", default_value = ".")]
        output: PathBuf,
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
        Action::Logs { id } => logs(api, args, id).await,
        Action::Files { id } => {
            let list: RunFileList = api.client.get(&below(args, id, "/files", "")).await?;
            let file = |file: &RunFileInfo| format!("{}  {}", file.digest, file.path);
            let lines: Vec<String> = list.value.iter().map(file).collect();
            tell(&list, lines.join("\n"))
        }
        Action::Download { id, prefix, output } => {
            let content = api
                .client
                .content(&below(args, id, "/content", prefix))
                .await?;
            let written = unpack(content, output.clone()).await?;
            let lines: Vec<_> = written.iter().map(|p| p.display().to_string()).collect();
            tell(&lines, lines.join("\n"))
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

fn below(args: &RunsArgs, id: &str, rest: &str, prefix: &str) -> String {
    let path = format!("/v1/runs/{}{rest}", quoted(id));
    asked(&path, &args.workspace, &[("prefix", Some(prefix))])
}

/// Writes the log as it is.
async fn logs(api: &Api, args: &RunsArgs, id: &str) -> Result<(), CliError> {
    let folder = tempfile::tempdir().map_err(|error| CliError::kiln("no folder", &error))?;
    let content = api
        .client
        .content(&below(args, id, "/content", LOGS))
        .await?;
    let mut out = std::io::stdout().lock();
    for path in unpack(content, folder.path().to_owned()).await? {
        let copied =
            fs_err::File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut out));
        copied.map_err(|error| CliError::kiln("the log can't be written", &error))?;
    }
    Ok(())
}

async fn show(api: &Api, args: &RunsArgs, id: &str) -> Result<Run, CliError> {
    let path = format!("/v1/runs/{}", quoted(id));
    api.client.get(&asked(&path, &args.workspace, &[])).await
}

pub(super) fn quoted(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

pub(super) fn asked(path: &str, workspace: &str, query: &[(&str, Option<&str>)]) -> String {
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
