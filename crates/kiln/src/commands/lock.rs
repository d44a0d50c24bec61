//! `kiln lock`: the lock of an environment.

use clap::Args;
use kiln_engine::{Options, Origin, Submission, Verify};

use crate::cli::InputArgs;
use crate::compose;
use crate::config::Settings;
use crate::data_lock::{Claim, DataLock};
use crate::error::CliError;
use crate::input::Document;
use crate::progress::warn;

/// Arguments of `kiln lock`.
#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Resolve anew although there is a lock.
    #[arg(long)]
    refresh: bool,
    /// The workspace.
    #[arg(long, value_name = "NAME")]
    workspace: Option<String>,
}

/// Prints the definition's lock, resolving it when there is none.
pub(crate) async fn run(settings: Settings, args: LockArgs) -> Result<(), CliError> {
    let submission = submission(&args.input, args.refresh, args.workspace.as_deref())?;
    let _lock = exclusive(&settings).await?;
    let engine = compose::engine(&settings, Verify::First).await?;
    let locked = engine
        .lock(&submission, false)
        .await
        .map_err(CliError::Failure)?;
    for note in &locked.resolved.lock.notes {
        warn(note);
    }
    super::print(locked.resolved.lock.to_json().trim_end())
}

/// The environment as a submission of the command line.
pub(super) fn submission(
    input: &InputArgs,
    refresh: bool,
    workspace: Option<&str>,
) -> Result<Submission, CliError> {
    let document = Document::read(input)?;
    let options = Options {
        refresh,
        ..Options::default()
    };
    let origin = Origin {
        actor: "local".into(),
        via: "cli".into(),
    };
    let submission = Submission::parse(&document.input(), workspace, options, origin)?;
    for warning in submission.warnings() {
        warn(&warning);
    }
    Ok(submission)
}

/// The data folder for this command alone.
pub(super) async fn exclusive(settings: &Settings) -> Result<DataLock, CliError> {
    match DataLock::claim(&settings.data)? {
        Claim::Ours(lock) => Ok(lock),
        Claim::Busy => DataLock::wait(&settings.data).await,
        Claim::Served(address) => Err(CliError::input(
            format!(
                "{} is in use by the server {}",
                settings.data.display(),
                address.url
            ),
            "give another --data, or stop the server",
        )),
    }
}
