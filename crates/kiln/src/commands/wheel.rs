//! `kiln wheel`: private wheels.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use kiln_api::{WheelInfo, WheelList};
use serde::Serialize;
use url::form_urlencoded::Serializer;

use crate::client::Client;
use crate::config::Settings;
use crate::error::CliError;
use crate::own_server::Api;

/// Arguments of `kiln wheel`.
#[derive(Debug, Args)]
pub(crate) struct WheelArgs {
    #[command(subcommand)]
    action: Action,
    /// The `kiln serve` that keeps them [env: KILN_SERVER].
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
    /// Uploads wheels, and prints the line by which a pip section asks for each.
    Add {
        /// The wheels.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Lists the wheels of the workspace.
    List,
}

/// Runs the command.
pub(crate) async fn run(settings: Settings, args: WheelArgs) -> Result<(), CliError> {
    let api = Api::open(&settings, args.server).await?;
    let wheels = match &args.action {
        Action::Add { files } => add(&api.client, &args.workspace, files).await,
        Action::List => list(&api.client, &args.workspace).await,
    };
    api.close().await;
    let wheels = wheels?;
    if args.json {
        return super::print(&json(&wheels));
    }
    for wheel in &wheels {
        super::print(&wheel.requirement)?;
    }
    Ok(())
}

fn json(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).expect("an answer is plain data")
}

fn query(workspace: &str, more: &[(&str, &str)]) -> String {
    Serializer::new(String::new())
        .append_pair("workspace", workspace)
        .extend_pairs(more)
        .finish()
}

async fn add(
    client: &Client,
    workspace: &str,
    files: &[PathBuf],
) -> Result<Vec<WheelInfo>, CliError> {
    let mut added = Vec::new();
    for file in files {
        let name = file_name(file)?;
        let content = tokio::fs::File::open(file).await.map_err(|error| {
            CliError::input(
                format!("{}: {error}", file.display()),
                "give the path of a wheel that kiln may read",
            )
        })?;
        let path = format!("/v1/wheels/{name}?{}", query(workspace, &[]));
        added.push(client.put_file(&path, content).await?);
    }
    Ok(added)
}

/// The name under which a file is uploaded, fit for an address.
fn file_name(file: &Path) -> Result<&str, CliError> {
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default();
    // What this lets pass needs no escape in an address.
    kiln_engine::check_wheel_name(name).map_err(CliError::from)?;
    Ok(name)
}

async fn list(client: &Client, workspace: &str) -> Result<Vec<WheelInfo>, CliError> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let more = [("limit", "100"), ("after", after.as_str())];
        let path = format!("/v1/wheels?{}", query(workspace, &more));
        let page: WheelList = client.get(&path).await?;
        all.extend(page.value);
        match page.next {
            Some(next) => after = next,
            None => return Ok(all),
        }
    }
}
