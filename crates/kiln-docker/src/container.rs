//! A command in a container of an image, its output as it comes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptions, CreateImageOptionsBuilder,
    KillContainerOptions, RemoveContainerOptionsBuilder, StartContainerOptions,
    WaitContainerOptions,
};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use kiln_engine::PullSecret;
use tokio_util::sync::CancellationToken;

use crate::connection::{ConnectError, Connection};

/// The label of containers that run a command, with the run's id.
const RUN_LABEL: &str = "io.kiln.run";
/// Where the folder is in the container, and the command's working folder.
const WORK: &str = "/work";
/// How long the output of a killed command is waited for.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A command to run.
#[derive(Debug)]
pub struct ContainerCommand {
    /// What the container is for.
    pub run_id: String,
    /// `HOST/...@sha256:...`.
    pub image: String,
    /// User name and password of the image's registry.
    pub login: Option<(String, PullSecret)>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The folder of this machine that is the command's working folder, to be written too.
    pub folder: PathBuf,
    /// `UID:GID`.
    pub user: String,
    /// Variables beside those of the image, `NAME=VALUE`.
    pub variables: Vec<String>,
}

/// Where a piece of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputOf {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Why a command could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// There is no engine.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The engine refuses.
    #[error("the Docker Engine could not {what}")]
    Engine {
        /// What it was asked to do.
        what: &'static str,
        /// Its answer.
        #[source]
        source: Error,
    },
}

fn fault(what: &'static str) -> impl FnOnce(Error) -> ContainerError {
    move |source| ContainerError::Engine { what, source }
}

impl Connection {
    /// Runs a command to its end, and gives its exit code; none when it was cancelled, which kills it. The
    /// container is removed, whatever came of it.
    pub async fn run_command(
        &self,
        run: &ContainerCommand,
        show: impl FnMut(OutputOf, &[u8]),
        cancel: &CancellationToken,
    ) -> Result<Option<i64>, ContainerError> {
        let (client, _) = self.open().await?;
        pull(&client, run).await?;
        let created = client
            .create_container(None::<CreateContainerOptions>, body(run))
            .await
            .map_err(fault("make a container"))?;
        let done = follow(&client, &created.id, show, cancel).await;
        let removal = RemoveContainerOptionsBuilder::default().force(true).v(true);
        let removed = client.remove_container(&created.id, Some(removal.build()));
        let removed = removed.await.map_err(fault("remove a container"));
        let code = done?;
        removed?;
        Ok(code)
    }
}

/// Gets the image where the engine does not have it.
async fn pull(client: &Docker, run: &ContainerCommand) -> Result<(), ContainerError> {
    if client.inspect_image(&run.image).await.is_ok() {
        return Ok(());
    }
    let options = CreateImageOptionsBuilder::default().from_image(&run.image);
    let login = run
        .login
        .as_ref()
        .map(|(user, password)| DockerCredentials {
            username: Some(user.clone()),
            password: Some(password.expose().to_owned()),
            ..DockerCredentials::default()
        });
    client
        .create_image(Some(options.build()), None, login)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await
        .map_err(fault("pull the image"))
}

fn body(run: &ContainerCommand) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(run.image.clone()),
        // The base's own entry point is not what was asked for.
        entrypoint: Some(Vec::new()),
        cmd: Some(run.command.clone()),
        env: Some(run.variables.clone()),
        working_dir: Some(WORK.to_owned()),
        user: Some(run.user.clone()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        labels: Some(HashMap::from([(RUN_LABEL.to_owned(), run.run_id.clone())])),
        host_config: Some(HostConfig {
            binds: Some(vec![format!("{}:{WORK}", run.folder.display())]),
            init: Some(true),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

async fn follow(
    client: &Docker,
    id: &str,
    mut show: impl FnMut(OutputOf, &[u8]),
    cancel: &CancellationToken,
) -> Result<Option<i64>, ContainerError> {
    let options = AttachContainerOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .stream(true);
    // Before the start, so that nothing is missed.
    let attached = client.attach_container(id, Some(options.build())).await;
    let mut output = attached.map_err(fault("attach to a container"))?.output;
    client
        .start_container(id, None::<StartContainerOptions>)
        .await
        .map_err(fault("start the command"))?;
    let mut tell = |piece| {
        let (of, bytes): (_, Bytes) = match piece {
            LogOutput::StdErr { message } => (OutputOf::Err, message),
            LogOutput::StdOut { message }
            | LogOutput::Console { message }
            | LogOutput::StdIn { message } => (OutputOf::Out, message),
        };
        show(of, &bytes);
    };
    let told = async {
        while let Some(piece) = output.try_next().await? {
            tell(piece);
        }
        Ok(())
    };
    tokio::pin!(told);
    tokio::select! {
        told = &mut told => told.map_err(fault("follow the command"))?,
        () = cancel.cancelled() => {
            // It may have ended by itself.
            let _ = client.kill_container(id, None::<KillContainerOptions>).await;
            // What it said before is still on its way.
            let _ = tokio::time::timeout(LAST_WORDS, told).await;
            return Ok(None);
        }
    }
    let mut ends = client.wait_container(id, None::<WaitContainerOptions>);
    match ends.next().await {
        Some(Ok(end)) => Ok(Some(end.status_code)),
        Some(Err(Error::DockerContainerWaitError { code, .. })) => Ok(Some(code)),
        Some(Err(error)) => Err(fault("tell the command's end")(error)),
        None => Ok(None),
    }
}
