//! One build: the images it needs in the engine, the build itself, the check of what it made, the push.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bollard::Docker;
use bytes::Bytes;
use kiln_api::{BuildState, Failure, FailureClass};
use kiln_dockerfile::{
    BaseImage, Content, ContextFile, Installer, LocalImages, Plan, PlanInput, UserDockerfile, plan,
};
use kiln_engine::{BuildJob, Built, Reporter};
use kiln_lock::BaseFacts;
use kiln_oci::Reference;
use tokio_util::sync::CancellationToken;

use crate::backend::DockerSettings;
use crate::classify::{connect_failure, engine_failure};
use crate::files::Places;
use crate::push::BUILD_LABEL;
use crate::read_back::{self, Installed};
use crate::solve::{self, Solve};
use crate::{export, push};

/// The path of kiln's own Dockerfile, and of a user's that has no context.
const DOCKERFILE: &str = "Dockerfile";

/// A secret's id and the file that holds it.
type Secret = (String, PathBuf);

/// A build on its way.
pub(crate) struct Build<'a> {
    pub(crate) settings: &'a DockerSettings,
    pub(crate) images: &'a LocalImages,
    pub(crate) job: &'a BuildJob,
    pub(crate) reporter: &'a Arc<dyn Reporter>,
    pub(crate) cancel: &'a CancellationToken,
    /// When the steps must be over.
    pub(crate) deadline: Instant,
}

impl Build<'_> {
    /// Builds, checks and pushes; the images stay in the engine.
    pub(crate) async fn run(&self) -> Result<Built, Failure> {
        let client = self.client().await?;
        let secrets = self.secrets().map_err(|error| work_failure(&error))?;
        let mut planned = planned(self.job, &self.job.facts)?;
        if let Some(user) = &planned.user_dockerfile {
            let facts = self.user_image(&client, user, &secrets).await?;
            planned = self::planned(self.job, &facts)?;
        }
        for note in &planned.notes {
            self.reporter.line("plan", note);
        }
        let prefix = planned.prefix.clone();
        if self.made_before(&client).await {
            self.reporter
                .line("build", "the image was made before the interruption");
            return self.push(&client, prefix).await;
        }
        let places = Places {
            archives: Arc::clone(&self.job.archives),
            install_binary: self.settings.install_binary.as_path().into(),
        };
        let (planned, files) = planned.on_engine(self.images);
        if !files.is_empty() {
            let id = &self.job.build_id;
            let import = places.import(&client, &self.images.files, id, files);
            stoppable(import, self.cancel).await?;
        }
        let context = places
            .context(&planned.build_context())
            .map_err(|error| work_failure(&error))?;
        self.solve(&self.images.result, context, DOCKERFILE, &secrets)
            .await?;
        self.push(&client, prefix).await
    }

    async fn push(&self, client: &Docker, prefix: Option<String>) -> Result<Built, Failure> {
        self.reporter.phase(BuildState::Pushing);
        let pushing = Box::pin(self.check_and_push(client, prefix));
        stoppable(pushing, self.cancel).await
    }

    /// Whether an earlier attempt got as far as the image, from the same lock.
    async fn made_before(&self, client: &Docker) -> bool {
        let name = self.images.result.to_string();
        let Ok(image) = client.inspect_image(&name).await else {
            return false;
        };
        let labels = image.config.and_then(|config| config.labels);
        let label = |name: &str| labels.as_ref().and_then(|labels| labels.get(name)).cloned();
        label("io.kiln.lock-hash") == Some(self.job.lock.hash().to_hex())
            && label("io.kiln.spec-hash") == Some(self.job.spec_hash.to_hex())
    }

    async fn client(&self) -> Result<Docker, Failure> {
        let opened = self.settings.connection.open().await;
        opened
            .map(|(client, _)| client)
            .map_err(|error| connect_failure(&error))
    }

    /// The extra certificate authority as a file of this user alone.
    fn secrets(&self) -> std::io::Result<Vec<Secret>> {
        let Some(pem) = &self.job.extra_ca else {
            return Ok(Vec::new());
        };
        let path = self.job.work_dir.join("ca.pem");
        write_private(&path, pem)?;
        Ok(vec![(kiln_dockerfile::EXTRA_CA_SECRET.to_owned(), path)])
    }

    /// Builds a context as an image of the engine.
    async fn solve(
        &self,
        image: &Reference,
        context: Bytes,
        dockerfile: &str,
        secrets: &[Secret],
    ) -> Result<(), Failure> {
        let labels = [(BUILD_LABEL.to_owned(), self.job.build_id.clone())];
        let solve = Solve {
            image: &image.to_string(),
            context,
            dockerfile,
            platform: &self.job.platform,
            labels: &labels,
            secrets,
            anew: self.job.anew,
            credentials: &self.job.pull_credentials,
            limit: self.job.timeout,
            deadline: self.deadline,
        };
        let reporter = Arc::clone(self.reporter);
        solve::run(&self.settings.connection, solve, reporter, self.cancel).await
    }

    /// The user's own Dockerfile as an image of the engine; its variables and user are the base's facts.
    async fn user_image(
        &self,
        client: &Docker,
        user: &UserDockerfile,
        secrets: &[Secret],
    ) -> Result<BaseFacts, Failure> {
        self.reporter
            .line("base", "building the environment's own Dockerfile");
        let places = Places {
            archives: Arc::clone(&self.job.archives),
            install_binary: self.settings.install_binary.as_path().into(),
        };
        let (context, dockerfile) = if let Some(context) = &user.context {
            (places.user_tar(context).await, &*context.dockerfile_path)
        } else {
            let file = ContextFile {
                path: DOCKERFILE.to_owned(),
                mode: 0o644,
                content: Content::Bytes(user.text.clone().into_bytes()),
            };
            (places.context(&[file]), DOCKERFILE)
        };
        let context = context.map_err(|error| work_failure(&error))?;
        let image = &self.images.base;
        self.solve(image, context, dockerfile, secrets).await?;
        let inspected = client
            .inspect_image(&image.to_string())
            .await
            .map_err(|error| engine_failure("inspect the base it built", &error))?;
        let config = inspected.config.unwrap_or_default();
        let env = config.env.unwrap_or_default();
        let env = env.iter().filter_map(|pair| pair.split_once('='));
        Ok(BaseFacts {
            env: env
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            user: config.user.unwrap_or_default(),
            shell: true,
            ..self.job.facts.clone()
        })
    }

    async fn check_and_push(
        &self,
        client: &Docker,
        prefix: Option<String>,
    ) -> Result<Built, Failure> {
        let known = push::known_layers(self.job.base.as_ref());
        let name = self.images.result.to_string();
        let exported = export::image(client, &name, known, self.job.work_dir.clone()).await?;
        if let Some(prefix) = prefix {
            let layers = exported
                .layers
                .iter()
                .filter_map(|layer| layer.tar.clone())
                .collect();
            let installed = read(layers, prefix).await?;
            let differences = installed.differences(&self.job.lock);
            if !differences.is_empty() {
                return Err(read_back::failure(&differences));
            }
            self.reporter
                .line("check", "what is installed is what was locked");
        }
        push::image(exported, self.job, self.reporter).await
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
        context: job.context.as_ref(),
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
