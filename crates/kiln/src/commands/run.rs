//! `kiln run`: a command in the image of an environment, in a copy of a source folder, kept as a run.

use std::path::Path;

use clap::Args;
use kiln_api::{
    BuildRequest, BuildState, BuildStatus, ChangeRunRequest, Environment, Failure, FailureClass,
    NewRunRequest, Run, RunFailure, RunFileList,
};
use kiln_docker::{Connection, ContainerCommand, ContainerError, DEFAULT_HOST, OutputOf};
use kiln_engine::PullSecret;
use kiln_oci::Reference;
use kiln_registry::Credentials;
use kiln_spec::{EnvironmentReference, Which};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::runs::{asked, quoted};
use crate::client::Client;
use crate::compose;
use crate::config::Settings;
use crate::error::CliError;
use crate::folder_tar::pack;
use crate::own_server::Api;
use crate::progress::{Progress, warn};
use crate::run_folder::RunFolder;

/// What a command ends with that was stopped by Ctrl-C: 128 and the signal's number.
const EXIT_CANCELLED: u8 = 130;

/// Arguments of `kiln run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// NAME, NAME:VERSION or NAME@LABEL; kiln's default environment where none is given.
    #[arg(long, value_name = "NAME[:VERSION]")]
    env: Option<EnvironmentReference>,
    /// What the run belongs to.
    #[arg(long, value_name = "NAME", default_value = "default")]
    experiment: String,
    /// The source folder: the command runs in a copy of it.
    #[arg(long, value_name = "DIR", default_value = ".")]
    source: std::path::PathBuf,
    /// Run in the source folder itself, and keep no copy of it.
    #[arg(long)]
    no_snapshot: bool,
    /// Keep neither the log nor what is in `outputs` and `logs`.
    #[arg(long)]
    no_history: bool,
    /// No progress of a build.
    #[arg(long, short)]
    quiet: bool,
    /// The `kiln serve` that builds the image and keeps the run [env: KILN_SERVER].
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The workspace.
    #[arg(long, value_name = "NAME", default_value = "default")]
    workspace: String,
    /// The command.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the command; its exit code is the command's own.
pub(crate) async fn run(settings: Settings, args: RunArgs) -> Result<(), CliError> {
    let api = Api::open(&settings, args.server.clone()).await?;
    let done = match api.work().await {
        Ok(()) => Runner::new(&settings, &api.client, &args).run().await,
        Err(error) => Err(error),
    };
    api.close().await;
    match done? {
        0 => Ok(()),
        code => Err(CliError::Exit(code)),
    }
}

/// How a command ended.
enum Ended {
    Code(u8),
    Cancelled,
}

struct Runner<'a> {
    settings: &'a Settings,
    client: &'a Client,
    args: &'a RunArgs,
}

impl<'a> Runner<'a> {
    fn new(settings: &'a Settings, client: &'a Client, args: &'a RunArgs) -> Self {
        Self {
            settings,
            client,
            args,
        }
    }

    async fn run(&self) -> Result<u8, CliError> {
        let status = self.image().await?;
        let missing = || {
            CliError::Failure(Failure::new(
                FailureClass::Internal,
                "the build told no image",
                "see its log",
            ))
        };
        let image = status.image.ok_or_else(missing)?;
        let request = NewRunRequest {
            experiment: self.args.experiment.clone(),
            workspace: Some(self.args.workspace.clone()),
            environment: status.environment.ok_or_else(missing)?,
            image: Some(image.clone()),
            target: None,
            command: self.args.command.clone(),
        };
        let run: Run = self.client.post("/v1/runs", &request).await?;
        if !self.args.quiet {
            eprintln_line(&format!("run {}", run.id));
        }
        let ended = self.attempt(&run, &image).await;
        let change = match &ended {
            Ok(Ended::Code(0)) => change("Completed", Some(0), None),
            Ok(Ended::Code(code)) => {
                let message = format!("the command ended with {code}");
                change("Failed", Some(i32::from(*code)), Some(message))
            }
            Ok(Ended::Cancelled) => change("Canceled", None, None),
            Err(CliError::Failure(failure)) => {
                change("Failed", None, Some(failure.message.clone()))
            }
            Err(_) => change("Failed", None, None),
        };
        self.change(&run, change).await?;
        Ok(match ended? {
            Ended::Code(code) => code,
            Ended::Cancelled => EXIT_CANCELLED,
        })
    }

    /// Gets or creates the image.
    async fn image(&self) -> Result<BuildStatus, CliError> {
        let mut request = BuildRequest {
            workspace: Some(self.args.workspace.clone()),
            ..BuildRequest::default()
        };
        if let Some(environment) = &self.args.env {
            request.name = Some(environment.name.to_string());
            request.version = match &environment.which {
                Which::Latest => None,
                Which::Version(version) => Some(version.to_string()),
                Which::Label(label) => {
                    let path = format!("/v1/environments/{}", quoted(environment.name.as_str()));
                    let query = [("label", Some(label.as_str()))];
                    let path = asked(&path, &self.args.workspace, &query);
                    let found: Environment = self.client.get(&path).await?;
                    Some(found.version)
                }
            };
        }
        let progress = Progress::choose(self.args.quiet);
        let status = super::build::asked_of(self.client, &request, progress).await?;
        match &status.error {
            Some(failure) if status.state != BuildState::Ready => {
                Err(CliError::Failure(failure.clone()))
            }
            _ => Ok(status),
        }
    }

    fn path(&self, run: &Run, rest: &str, query: &[(&str, Option<&str>)]) -> String {
        let path = format!("/v1/runs/{}{rest}", quoted(&run.id));
        asked(&path, &self.args.workspace, query)
    }

    async fn change(&self, run: &Run, change: ChangeRunRequest) -> Result<(), CliError> {
        let change = ChangeRunRequest {
            workspace: Some(self.args.workspace.clone()),
            ..change
        };
        let path = format!("/v1/runs/{}", quoted(&run.id));
        let _: Run = self.client.patch(&path, &change).await?;
        Ok(())
    }

    async fn attempt(&self, run: &Run, image: &str) -> Result<Ended, CliError> {
        let snapshot = !self.args.no_snapshot;
        let folder = RunFolder::prepare(&self.args.source, snapshot).await?;
        if snapshot {
            let path = self.path(run, "/files", &[("root", Some("source"))]);
            let tar = pack(&self.args.source)?;
            let _: RunFileList = self.client.post_tar(&path, tar).await?;
        }
        self.change(run, change("Running", None, None)).await?;
        let ended = self.execute(run, image, &folder).await;
        self.change(run, change("Finalizing", None, None)).await?;
        if !self.args.no_history {
            for kept in folder.kept() {
                self.keep(run, &kept).await;
            }
        }
        ended
    }

    /// Keeps files of a run that is over: that it can't does not change how it ended.
    async fn keep(&self, run: &Run, folder: &Path) {
        let sent = match pack(folder) {
            Ok(tar) => {
                let path = self.path(run, "/files", &[]);
                let sent: Result<RunFileList, CliError> = self.client.post_tar(&path, tar).await;
                sent.map(drop)
            }
            Err(error) => Err(error),
        };
        if let Err(CliError::Failure(failure)) = sent {
            let name = folder.file_name().unwrap_or_default().display();
            warn(&format!("`{name}` is not kept: {}", failure.message));
        }
    }

    async fn execute(&self, run: &Run, image: &str, folder: &RunFolder) -> Result<Ended, CliError> {
        let mut log = folder.log()?;
        let (user, home) = caller();
        let mut variables = vec![format!("KILN_RUN_ID={}", run.id)];
        variables.extend(home.map(|home| format!("HOME={home}")));
        let command = ContainerCommand {
            run_id: run.id.clone(),
            image: image.to_owned(),
            login: login(image).await,
            command: self.args.command.clone(),
            folder: folder.work().to_owned(),
            user,
            variables,
        };
        let cancel = CancellationToken::new();
        let stop = stopped(cancel.clone())?;
        let host = self.settings.docker_host.as_deref().unwrap_or(DEFAULT_HOST);
        let connection = Connection::new(host);
        let running = connection.run_command(
            &command,
            |of, bytes| {
                show(of, bytes);
                log.write(bytes);
            },
            &cancel,
        );
        let code = tokio::select! {
            code = running => code,
            never = stop => match never {},
        };
        match code.map_err(|error| failure(&error))? {
            Some(code) => Ok(Ended::Code(u8::try_from(code).unwrap_or(u8::MAX))),
            None => Ok(Ended::Cancelled),
        }
    }
}

fn change(status: &str, exit_code: Option<i32>, message: Option<String>) -> ChangeRunRequest {
    ChangeRunRequest {
        workspace: None,
        status: Some(status.to_owned()),
        exit_code,
        error: message.map(|message| RunFailure {
            code: "UserError".to_owned(),
            message,
        }),
    }
}

/// Cancels when this process is told to stop; ends never.
fn stopped(
    cancel: CancellationToken,
) -> Result<impl Future<Output = std::convert::Infallible>, CliError> {
    let fault = |error| CliError::kiln("kiln can't wait for signals", &error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fault)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(fault)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancel.cancel();
        std::future::pending().await
    })
}

/// The user of this process, who is to own what the command writes; a home where that is not root's.
fn caller() -> (String, Option<&'static str>) {
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let home = (!user.is_root()).then_some("/tmp");
    (format!("{}:{}", user.as_raw(), group.as_raw()), home)
}

/// Docker's own login for the image's registry.
async fn login(image: &str) -> Option<(String, PullSecret)> {
    let reference: Reference = image.parse().ok()?;
    let logins = compose::operator_logins();
    match logins.credentials(reference.registry()).await {
        Ok(Some(Credentials::Basic { username, password })) => {
            Some((username, PullSecret::new(password.expose())))
        }
        Ok(_) => None,
        Err(error) => {
            warn(&format!("Docker's logins can't be read: {error}"));
            None
        }
    }
}

fn show(of: OutputOf, bytes: &[u8]) {
    use std::io::Write as _;

    // Nothing can be told when the reader is gone; the log has it.
    let _ = match of {
        OutputOf::Out => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        OutputOf::Err => std::io::stderr().write_all(bytes),
    };
}

fn eprintln_line(text: &str) {
    show(OutputOf::Err, format!("{text}\n").as_bytes());
}

fn failure(error: &ContainerError) -> CliError {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let message = format!("{error}{}", cause.unwrap_or_default());
    CliError::Failure(Failure::new(
        FailureClass::Invalid,
        message,
        "check that the image has the program and that `kiln doctor` finds a Docker Engine",
    ))
}
