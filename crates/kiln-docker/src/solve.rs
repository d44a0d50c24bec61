//! One BuildKit build: context in, image in the engine out; followed, limited in time, and stoppable.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::grpc::BuildRef;
use bollard::grpc::build::{
    ImageBuildFrontendOptions, ImageBuildLoadInput, ImageBuildPlatform, SecretSource,
};
use bollard::grpc::driver::Build as _;
use bollard::grpc::driver::moby::Moby;
use bollard::grpc::error::GrpcError;
use bollard_buildkit_proto::moby::buildkit::v1::StatusRequest;
use bytes::Bytes;
use kiln_api::{Failure, FailureClass};
use kiln_engine::{PullSecret, Reporter};
use kiln_oci::Platform;
use tokio_util::sync::CancellationToken;

use crate::classify::{build_failure, connect_failure};
use crate::connection::Connection;
use crate::progress::Progress;

/// How long the progress may lag behind the end of the build.
const PROGRESS_LAG: Duration = Duration::from_secs(5);

/// A build to run.
pub(crate) struct Solve<'a> {
    /// The name the image gets in the engine.
    pub(crate) image: &'a str,
    /// The context as a tar.
    pub(crate) context: Bytes,
    /// The Dockerfile's path in it.
    pub(crate) dockerfile: &'a str,
    pub(crate) platform: &'a Platform,
    /// Labels of the local image.
    pub(crate) labels: &'a [(String, String)],
    /// Secrets by id, each a file that only this user can read.
    pub(crate) secrets: &'a [(String, PathBuf)],
    /// Whether BuildKit's cache counts for nothing.
    pub(crate) anew: bool,
    /// (host, user, password).
    pub(crate) credentials: &'a [(String, String, PullSecret)],
    /// The whole build's limit, for people; this part ends at the deadline.
    pub(crate) limit: Duration,
    pub(crate) deadline: Instant,
}

/// Runs a build. When it is cancelled or takes too long, BuildKit is told and has stopped when this
/// returns.
pub(crate) async fn run(
    connection: &Connection,
    solve: Solve<'_>,
    reporter: Arc<dyn Reporter>,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let (client, _) = connection
        .open()
        .await
        .map_err(|error| connect_failure(&error))?;
    let mut control = connection
        .control()
        .await
        .map_err(|error| connect_failure(&error))?;
    let reference = BuildRef::random();
    let progress = Arc::new(Mutex::new(Progress::new(reporter)));
    let follow = {
        let progress = Arc::clone(&progress);
        let request = StatusRequest {
            r#ref: reference.as_ref().to_owned(),
        };
        async move {
            // Without progress the build goes on all the same.
            let Ok(status) = control.status(request).await else {
                return;
            };
            let mut status = status.into_inner();
            while let Ok(Some(message)) = status.message().await {
                progress
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .take(message);
            }
        }
    };
    tokio::pin!(follow);
    let mut options = ImageBuildFrontendOptions::builder()
        .dockerfile(Path::new(solve.dockerfile))
        .nocache(solve.anew)
        .platforms(&ImageBuildPlatform {
            architecture: solve.platform.architecture().to_owned(),
            os: solve.platform.os().to_owned(),
            variant: solve.platform.variant().map(str::to_owned),
        });
    for (name, value) in solve.labels {
        options = options.label(name, value);
    }
    for (id, path) in solve.secrets {
        options = options.set_secret(id, &SecretSource::File(path.clone()));
    }
    let stop = CancellationToken::new();
    let building = Building {
        client,
        image: solve.image.to_owned(),
        options: options.build(),
        context: solve.context,
        credentials: solve.credentials.to_vec(),
        reference,
        stop: stop.clone(),
    };
    let runtime = tokio::runtime::Handle::current();
    // bollard's future can't move between threads: it gets one of its own.
    let mut building = tokio::task::spawn_blocking(move || runtime.block_on(building.run()));
    let limit = tokio::time::sleep_until(solve.deadline.into());
    tokio::pin!(limit);
    let mut following = true;
    let outcome = loop {
        tokio::select! {
            result = &mut building => break result.map_or(Ended::Lost, Ended::Built),
            () = &mut follow, if following => following = false,
            () = cancel.cancelled() => break Ended::Cancelled,
            () = &mut limit => break Ended::TooLong,
        }
    };
    if !matches!(outcome, Ended::Built(_) | Ended::Lost) {
        // The build's own connection ends: BuildKit stops what it runs for it.
        stop.cancel();
        let _ = building.await;
    }
    if following {
        // BuildKit closes the progress when nothing of the build runs any more.
        let _ = tokio::time::timeout(PROGRESS_LAG, follow).await;
    }
    match outcome {
        Ended::Built(None | Some(Ok(()))) => Ok(()),
        Ended::Lost => Err(Failure::new(
            FailureClass::Internal,
            "a fault in kiln stopped the build",
            "see kiln's own log, and tell the maintainers",
        )),
        Ended::Built(Some(Err(error))) => {
            let progress = progress
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let (step, tail) = progress
                .failed_step()
                .map_or((None, Vec::new()), |(step, tail)| (Some(step), tail));
            Err(build_failure(step, &message_of(&error), &tail))
        }
        Ended::Cancelled => Err(Failure::new(
            FailureClass::Cancelled,
            "the build was cancelled",
            "ask again to build it",
        )),
        Ended::TooLong => Err(Failure::new(
            FailureClass::Timeout,
            format!("the build took longer than {} s", solve.limit.as_secs()),
            "raise `limits.build_timeout`, or make the environment smaller",
        )),
    }
}

/// What runs the build, on a thread of its own.
struct Building {
    client: Docker,
    image: String,
    options: ImageBuildFrontendOptions,
    context: Bytes,
    credentials: Vec<(String, String, PullSecret)>,
    reference: BuildRef,
    stop: CancellationToken,
}

impl Building {
    /// The build's end, or none when it was told to stop.
    async fn run(self) -> Option<Result<(), GrpcError>> {
        let credentials: HashMap<&str, DockerCredentials> = self
            .credentials
            .iter()
            .map(|(host, user, password)| {
                let credentials = DockerCredentials {
                    username: Some(user.clone()),
                    password: Some(password.expose().to_owned()),
                    serveraddress: Some(host.clone()),
                    ..DockerCredentials::default()
                };
                (host.as_str(), credentials)
            })
            .collect();
        let input = ImageBuildLoadInput::Upload(self.context);
        let reference = Some(self.reference);
        let building = Moby::new(&self.client).docker_build(
            &self.image,
            self.options,
            input,
            Some(credentials),
            reference,
        );
        tokio::select! {
            result = building => Some(result),
            () = self.stop.cancelled() => None,
        }
    }
}

enum Ended {
    /// By itself.
    Built(Option<Result<(), GrpcError>>),
    /// Its thread is gone.
    Lost,
    Cancelled,
    TooLong,
}

/// What BuildKit itself says, without the transport around it.
fn message_of(error: &GrpcError) -> String {
    match error {
        GrpcError::TonicStatus { err } => err.message().to_owned(),
        other => other.to_string(),
    }
}
