//! `Backend` on a Docker Engine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bollard::Docker;
use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptionsBuilder};
use bytes::Bytes;
use kiln_api::{BuildState, Failure, FailureClass};
use kiln_dockerfile::{BaseImage, Installer, Plan, PlanInput, plan};
use kiln_engine::{Backend, BuildJob, Built, Reporter};
use kiln_lock::BaseFacts;
use tokio_util::sync::CancellationToken;

use crate::classify::{connect_failure, engine_failure};
use crate::connection::Connection;
use crate::push::BUILD_LABEL;
use crate::read_back::{self, Installed};
use crate::solve::{self, Solve};
use crate::{context, export, push};

/// What the backend is told once.
#[derive(Debug, Clone)]
pub struct DockerSettings {
    /// The engine.
    pub connection: Connection,
    /// The static `kiln-install` for the images' platform.
    pub install_binary: PathBuf,
}

/// Builds on a Docker Engine with BuildKit.
#[derive(Debug, Clone)]
pub struct DockerBackend {
    settings: DockerSettings,
}

impl DockerBackend {
    /// A backend; nothing is connected yet.
    pub fn new(settings: DockerSettings) -> Self {
        Self { settings }
    }

    /// The engine's version and API version.
    pub async fn version(&self) -> Result<(String, String), Failure> {
        let (_, version) = self
            .settings
            .connection
            .open()
            .await
            .map_err(|error| connect_failure(&error))?;
        Ok((version.version, version.api))
    }

    async fn client(&self) -> Result<Docker, Failure> {
        let opened = self.settings.connection.open().await;
        opened
            .map(|(client, _)| client)
            .map_err(|error| connect_failure(&error))
    }

    /// Builds a context as an image of the engine.
    async fn solve(
        &self,
        job: &BuildJob,
        image: &str,
        context: Bytes,
        secrets: &[(String, &Path)],
        reporter: &Arc<dyn Reporter>,
        cancel: &CancellationToken,
        began: Instant,
    ) -> Result<(), Failure> {
        let labels = [(BUILD_LABEL.to_owned(), job.build_id.clone())];
        let solve = Solve {
            image,
            context,
            platform: &job.platform,
            labels: &labels,
            secrets,
            credentials: &job.pull_credentials,
            timeout: job.timeout.saturating_sub(began.elapsed()),
        };
        solve::run(
            &self.settings.connection,
            solve,
            Arc::clone(reporter),
            cancel,
        )
        .await
    }

    /// The user's own Dockerfile as an image of the engine; its variables and user are the base's facts.
    async fn user_image(
        &self,
        job: &BuildJob,
        planned: &Plan,
        secrets: &[(String, &Path)],
        reporter: &Arc<dyn Reporter>,
        cancel: &CancellationToken,
        began: Instant,
    ) -> Result<Option<BaseFacts>, Failure> {
        let Some(user) = &planned.user_dockerfile else {
            return Ok(None);
        };
        reporter.line("base", "building the environment's own Dockerfile");
        let context = single_file("Dockerfile", user.text.as_bytes());
        self.solve(job, &user.image, context, secrets, reporter, cancel, began)
            .await?;
        let client = self.client().await?;
        let inspected = client
            .inspect_image(&user.image)
            .await
            .map_err(|error| engine_failure("inspect the base it built", &error))?;
        let config = inspected.config.unwrap_or_default();
        let env = config.env.unwrap_or_default();
        let env = env.iter().filter_map(|pair| pair.split_once('='));
        Ok(Some(BaseFacts {
            env: env
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            user: config.user.unwrap_or_default(),
            shell: true,
            ..job.facts.clone()
        }))
    }

    async fn build_and_push(
        &self,
        job: &BuildJob,
        image: &str,
        reporter: &Arc<dyn Reporter>,
        cancel: &CancellationToken,
    ) -> Result<Built, Failure> {
        let began = Instant::now();
        let certificate = job.work_dir.join("ca.pem");
        if let Some(pem) = &job.extra_ca {
            write_private(&certificate, pem).map_err(|error| work_failure(&error))?;
        }
        let certificate = job
            .extra_ca
            .as_ref()
            .map(|_| ("ca".to_owned(), certificate.as_path()));
        let secrets: Vec<(String, &Path)> = certificate.into_iter().collect();
        let mut planned = planned(job, &job.facts)?;
        let user = self
            .user_image(job, &planned, &secrets, reporter, cancel, began)
            .await?;
        if let Some(facts) = user {
            planned = self::planned(job, &facts)?;
        }
        for note in &planned.notes {
            reporter.line("plan", note);
        }
        let install: Arc<Path> = self.settings.install_binary.as_path().into();
        let context = context::tar(planned.build_context(), Arc::clone(&job.archives), install)
            .await
            .map_err(|error| work_failure(&error))?;
        self.solve(job, image, context, &secrets, reporter, cancel, began)
            .await?;
        reporter.phase(BuildState::Pushing);
        let client = self.client().await?;
        let known = push::known_layers(job.base.as_ref());
        let exporting = export::image(&client, image, known, job.work_dir.clone());
        let exported = stoppable(exporting, cancel).await?;
        if let Some(prefix) = &planned.prefix {
            let layers = exported
                .layers
                .iter()
                .filter_map(|layer| layer.tar.clone())
                .collect();
            let installed = read(layers, prefix.clone()).await?;
            let differences = installed.differences(&job.lock);
            if !differences.is_empty() {
                return Err(read_back::failure(&differences));
            }
            reporter.line("check", "what is installed is what was locked");
        }
        stoppable(push::image(exported, job, reporter), cancel).await
    }

    async fn remove(&self, image: &str) {
        let Ok(client) = self.client().await else {
            return;
        };
        let options = RemoveImageOptionsBuilder::default().force(true).build();
        // An image that was never made is no fault.
        if let Err(error) = client.remove_image(image, Some(options), None).await {
            tracing::debug!(%error, image, "an image of a build was not removed");
        }
    }
}

#[async_trait]
impl Backend for DockerBackend {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn check(&self) -> Result<(), Failure> {
        self.version().await?;
        if self.settings.install_binary.is_file() {
            return Ok(());
        }
        Err(Failure::new(
            FailureClass::Internal,
            format!(
                "the program {} is missing",
                self.settings.install_binary.display()
            ),
            "put the static kiln-install beside kiln, or name it (`docker.install_binary`, KILN_INSTALL_PATH)",
        ))
    }

    async fn build(
        &self,
        job: BuildJob,
        reporter: Arc<dyn Reporter>,
        cancel: CancellationToken,
    ) -> Result<Built, Failure> {
        let image = format!("kiln.invalid/build:{}", job.build_id);
        let built = self.build_and_push(&job, &image, &reporter, &cancel).await;
        self.remove(&image).await;
        if matches!(job.definition.base, kiln_spec::Base::Dockerfile(_)) {
            self.remove(&kiln_dockerfile::user_image_name(&job.spec_hash))
                .await;
        }
        built
    }

    async fn sweep(&self) -> Result<(), Failure> {
        let client = self.client().await?;
        let filters = HashMap::from([("label".to_owned(), vec![BUILD_LABEL.to_owned()])]);
        let options = ListImagesOptionsBuilder::default()
            .filters(&filters)
            .build();
        let images = client
            .list_images(Some(options))
            .await
            .map_err(|error| engine_failure("list images", &error))?;
        for image in images {
            for tag in image
                .repo_tags
                .iter()
                .filter(|tag| tag.starts_with("kiln.invalid/"))
            {
                self.remove(tag).await;
            }
        }
        Ok(())
    }
}

fn planned(job: &BuildJob, facts: &BaseFacts) -> Result<Plan, Failure> {
    let pinned = job
        .base
        .as_ref()
        .map(|base| base.reference.with_digest(base.manifest_digest));
    let input = PlanInput {
        definition: &job.definition,
        spec_hash: job.spec_hash,
        lock: &job.lock,
        facts,
        base: pinned
            .as_ref()
            .map_or(BaseImage::UserDockerfile, BaseImage::Pinned),
        installer: Installer::Kiln,
        extra_ca: job.extra_ca.is_some(),
        private: false,
    };
    plan(&input).map_err(|error| {
        Failure::new(
            FailureClass::Invalid,
            error.to_string(),
            "change the environment as the message says",
        )
    })
}

async fn read(layers: Vec<PathBuf>, prefix: String) -> Result<Installed, Failure> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut installed = Installed::default();
        for layer in layers {
            installed.read_layer(&layer, &prefix)?;
        }
        Ok::<_, std::io::Error>(installed)
    });
    let read = reading
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)));
    read.map_err(|error| work_failure(&error))
}

/// Work that holds nothing outside this process ends by being dropped.
async fn stoppable<T>(
    work: impl Future<Output = Result<T, Failure>>,
    cancel: &CancellationToken,
) -> Result<T, Failure> {
    tokio::select! {
        result = work => result,
        () = cancel.cancelled() => Err(Failure::new(
            FailureClass::Cancelled,
            "the build was cancelled",
            "ask again to build it",
        )),
    }
}

fn work_failure(error: &std::io::Error) -> Failure {
    kiln_engine::failure::of_io("kiln's work folder", error)
}

fn single_file(name: &str, bytes: &[u8]) -> Bytes {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, bytes)
        .expect("memory takes what is written");
    tar.into_inner()
        .expect("memory takes what is written")
        .into()
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}
