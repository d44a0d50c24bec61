//! `kiln model`: models and their versions.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use kiln_api::{Model, ModelList};
use kiln_engine::ModelName;
use serde::Serialize;
use url::form_urlencoded::Serializer;

use crate::client::Client;
use crate::config::Settings;
use crate::error::CliError;
use crate::folder_tar::{pack, unpack};
use crate::own_server::Api;

/// Arguments of `kiln model`.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
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
    /// Makes the next version of a model from a file or folder.
    Register {
        /// The name.
        name: ModelName,
        /// The file or folder.
        path: PathBuf,
        /// What it is.
        #[arg(long)]
        description: Option<String>,
        /// A tag.
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
        tag: Vec<(String, String)>,
    },
    /// Lists models, of each name the newest version.
    List {
        /// All versions of this name.
        name: Option<ModelName>,
    },
    /// Shows a version and its files.
    Show {
        /// NAME or NAME:VERSION.
        model: ModelVersion,
    },
    /// Writes the files of a version into a folder.
    Download {
        /// NAME or NAME:VERSION.
        model: ModelVersion,
        /// The folder.
        #[arg(short, long, value_name = "DIR", default_value = ".")]
        output: PathBuf,
    },
    /// Deletes a version.
    Delete {
        /// NAME:VERSION.
        model: ModelVersion,
    },
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// `NAME` or `NAME:VERSION`.
#[derive(Debug, Clone)]
struct ModelVersion {
    name: ModelName,
    version: Option<u32>,
}

impl std::str::FromStr for ModelVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, version) = match text.split_once(':') {
            Some((name, "latest")) => (name, None),
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let version = version.map(str::parse).transpose();
        Ok(Self {
            name: name.parse().map_err(|error| format!("{name}: {error}"))?,
            version: version.map_err(|_| "the version is a number, or `latest`")?,
        })
    }
}

impl ModelVersion {
    fn path(&self, rest: &str, workspace: &str) -> String {
        let version = self.version.map_or("latest".into(), |n| n.to_string());
        let query = query(workspace, &[]);
        format!("/v1/models/{}/{version}{rest}?{query}", self.name)
    }
}

fn query(workspace: &str, more: &[(&str, &str)]) -> String {
    Serializer::new(String::new())
        .append_pair("workspace", workspace)
        .extend_pairs(more)
        .finish()
}

/// Runs the command.
pub(crate) async fn run(settings: Settings, args: ModelArgs) -> Result<(), CliError> {
    let api = Api::open(&settings, args.server).await?;
    let asked = Asked {
        client: &api.client,
        workspace: &args.workspace,
        json: args.json,
    };
    let done = asked.act(args.action).await;
    api.close().await;
    done
}

struct Asked<'a> {
    client: &'a Client,
    workspace: &'a str,
    json: bool,
}

impl Asked<'_> {
    async fn act(&self, action: Action) -> Result<(), CliError> {
        match action {
            Action::Register {
                name,
                path,
                description,
                tag,
            } => {
                let tags: std::collections::BTreeMap<_, _> = tag.into_iter().collect();
                let tags = serde_json::to_string(&tags).expect("texts are plain data");
                let mut more = vec![("tags", tags.as_str())];
                more.extend(description.as_deref().map(|text| ("description", text)));
                let query = query(self.workspace, &more);
                let tar = pack(&path)?;
                let to = format!("/v1/models/{name}?{query}");
                let made: Model = self.client.post_tar(&to, tar).await?;
                self.tell(&made, &line(&made))
            }
            Action::List { name } => self.list(name.as_ref()).await,
            Action::Show { model } => {
                let model: Model = self.client.get(&model.path("", self.workspace)).await?;
                self.tell(&model, &whole(&model))
            }
            Action::Download { model, output } => {
                let path = model.path("/content", self.workspace);
                let content = self.client.content(&path).await?;
                let written = unpack(content, output).await?;
                let lines: Vec<_> = written.iter().map(|p| p.display().to_string()).collect();
                self.tell(&lines, &lines.join("\n"))
            }
            Action::Delete { model } => {
                if model.version.is_none() {
                    return Err(CliError::input(
                        "which version is to be deleted is not said",
                        "give NAME:VERSION",
                    ));
                }
                self.client.delete(&model.path("", self.workspace)).await
            }
        }
    }

    async fn list(&self, name: Option<&ModelName>) -> Result<(), CliError> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut more = vec![("limit", "100")];
            match name {
                Some(name) => more.push(("name", name.as_str())),
                None => more.push(("latest", "true")),
            }
            more.extend(after.as_deref().map(|text| ("after", text)));
            let path = format!("/v1/models?{}", query(self.workspace, &more));
            let page: ModelList = self.client.get(&path).await?;
            all.extend(page.value);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let lines: Vec<_> = all.iter().map(line).collect();
        self.tell(&all, &lines.join("\n"))
    }

    fn tell(&self, answer: &impl Serialize, text: &str) -> Result<(), CliError> {
        if self.json {
            let json = serde_json::to_string(answer).expect("an answer is plain data");
            super::print(&json)
        } else {
            super::print(text)
        }
    }
}

fn line(model: &Model) -> String {
    let size = HumanBytes(model.size_bytes);
    let description = model.description.as_deref().unwrap_or_default();
    format!("{}:{}  {size}  {description}", model.name, model.version)
        .trim_end()
        .to_owned()
}

fn whole(model: &Model) -> String {
    let mut lines = vec![line(model)];
    lines.push(format!(
        "made {} by {} ({})",
        model.created, model.actor, model.via
    ));
    lines.extend(
        model
            .run
            .iter()
            .map(|run| format!("output of the run {run}")),
    );
    lines.extend(
        model
            .tags
            .iter()
            .map(|(key, value)| format!("tag {key}={value}")),
    );
    let file = |file: &kiln_api::ModelFileInfo| {
        let size = HumanBytes(file.size_bytes).to_string();
        format!("{}  {size:>12}  {}", file.digest, file.path)
    };
    lines.extend(model.files.iter().map(file));
    lines.join("\n")
}
