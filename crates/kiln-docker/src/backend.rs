//! `Backend` on a Docker Engine.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bollard::Docker;
use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptionsBuilder};
use kiln_api::{Failure, FailureClass};
use kiln_dockerfile::LocalImages;
use kiln_engine::{Backend, BuildJob, Built, Reporter};
use tokio_util::sync::CancellationToken;

use crate::build::Build;
use crate::classify::{connect_failure, engine_failure};
use crate::connection::Connection;
use crate::push::BUILD_LABEL;

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

    /// The images that builds left in the engine: a build's id and a tag.
    async fn local_tags(&self) -> Result<Vec<(String, String)>, Failure> {
        let client = self.client().await?;
        let filters = HashMap::from([("label".to_owned(), vec![BUILD_LABEL.to_owned()])]);
        let options = ListImagesOptionsBuilder::default()
            .filters(&filters)
            .build();
        let images = client
            .list_images(Some(options))
            .await
            .map_err(|error| engine_failure("list images", &error))?;
        let tags = images.into_iter().flat_map(|image| image.repo_tags);
        Ok(tags
            .filter(|tag| tag.starts_with("kiln.invalid/"))
            .filter_map(|tag| {
                let (_, id) = tag.rsplit_once(':')?;
                Some((id.to_owned(), tag))
            })
            .collect())
    }

    async fn remove_image(&self, image: &str) {
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
        let images = LocalImages::of(&job.build_id).expect("a build's id is a tag");
        let build = Build {
            settings: &self.settings,
            images: &images,
            job: &job,
            reporter: &reporter,
            cancel: &cancel,
            deadline: Instant::now() + job.timeout,
        };
        let built = Box::pin(build.run()).await;
        for image in [&images.result, &images.files, &images.base] {
            self.remove_image(&image.to_string()).await;
        }
        built
    }

    async fn leftovers(&self) -> Result<HashSet<String>, Failure> {
        let tags = self.local_tags().await?;
        Ok(tags.into_iter().map(|(id, _)| id).collect())
    }

    async fn remove(&self, build_ids: &[String]) -> Result<(), Failure> {
        for (id, tag) in self.local_tags().await? {
            if build_ids.contains(&id) {
                self.remove_image(&tag).await;
            }
        }
        Ok(())
    }
}
