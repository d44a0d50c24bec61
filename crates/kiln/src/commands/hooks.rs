//! `kiln hooks`: subscriptions to events, through a running server.

use clap::{Args, Subcommand};
use kiln_api::{Hook, HookList, NewHookRequest, ReplayReport, ReplayRequest};

use crate::callback_secret::callback_secrets;
use crate::client::Client;
use crate::config::Settings;
use crate::data_lock::{Claim, DataLock, ServerAddress};
use crate::error::CliError;

/// Arguments of `kiln hooks`.
#[derive(Debug, Args)]
pub(crate) struct HooksArgs {
    #[command(subcommand)]
    action: Action,
    /// The `kiln serve` that has them [env: KILN_SERVER].
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// The workspace.
    #[arg(long, global = true, value_name = "NAME", default_value = "default")]
    workspace: String,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the hooks of the workspace.
    List,
    /// Adds a hook and prints its secret, once.
    Add {
        /// An http or https address.
        url: String,
        /// An event it gets; all where none is named.
        #[arg(long = "event", value_name = "TYPE")]
        types: Vec<String>,
    },
    /// Removes a hook.
    Remove {
        /// Its id.
        id: String,
    },
    /// Sends an event of the type `test` to a hook.
    Test {
        /// Its id.
        id: String,
    },
    /// Lets a disabled hook have events again.
    Enable {
        /// Its id.
        id: String,
    },
    /// Sends events again.
    Replay {
        /// The hook's id.
        id: String,
        /// One event, by id.
        #[arg(long, value_name = "ID", required_unless_present = "since")]
        event: Option<String>,
        /// All events since then, seconds since the Unix epoch.
        #[arg(long, value_name = "SECONDS", conflicts_with = "event")]
        since: Option<i64>,
    },
    /// Prints the secrets that messages to callbacks are signed with.
    CallbackSecret,
}

/// Runs the command.
pub(crate) async fn run(settings: Settings, args: HooksArgs) -> Result<(), CliError> {
    if matches!(args.action, Action::CallbackSecret) {
        for secret in callback_secrets(&settings.data)? {
            super::print(secret.expose())?;
        }
        return Ok(());
    }
    let client = Client::new(
        &server(&settings, args.server)?,
        std::env::var("KILN_TOKEN").ok(),
    )?;
    let path = |id: &str, rest: &str| format!("/v1/hooks/{id}{rest}");
    match args.action {
        Action::List => {
            let path = format!("/v1/hooks?workspace={}", args.workspace);
            let hooks: HookList = client.get(&path).await?;
            for hook in hooks.value {
                super::print(&line(&hook))?;
            }
        }
        Action::Add { url, types } => {
            let request = NewHookRequest {
                url,
                types,
                workspace: Some(args.workspace),
            };
            let hook: Hook = client.post("/v1/hooks", &request).await?;
            super::print(&line(&hook))?;
            super::print(hook.secret.as_deref().unwrap_or_default())?;
        }
        Action::Remove { id } => client.delete(&path(&id, "")).await?,
        Action::Test { id } => client.send_empty(&path(&id, "/test")).await?,
        Action::Enable { id } => client.send_empty(&path(&id, "/enable")).await?,
        Action::Replay { id, event, since } => {
            let request = ReplayRequest { event, since };
            let report: ReplayReport = client.post(&path(&id, "/replay"), &request).await?;
            super::print(&format!("{} events are on their way", report.events))?;
        }
        Action::CallbackSecret => {}
    }
    Ok(())
}

/// The named server, or the one that works with the data folder.
fn server(settings: &Settings, url: Option<String>) -> Result<ServerAddress, CliError> {
    if let Some(url) = url.or_else(|| std::env::var("KILN_SERVER").ok()) {
        return Ok(ServerAddress { url });
    }
    match DataLock::claim(&settings.data)? {
        Claim::Served(address) => Ok(address),
        Claim::Ours(_) | Claim::Busy => Err(CliError::input(
            format!("no `kiln serve` works with {}", settings.data.display()),
            "start one, or name it with --server",
        )),
    }
}

fn line(hook: &Hook) -> String {
    let types = if hook.types.is_empty() {
        "all".to_owned()
    } else {
        hook.types.join(",")
    };
    let disabled = hook.disabled.as_deref();
    let state = disabled.map_or("active".to_owned(), |why| format!("disabled: {why}"));
    format!("{}  {}  {types}  {state}", hook.id, hook.url)
}
