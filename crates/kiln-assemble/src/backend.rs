//! `Backend` without a container engine.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use kiln_api::{BuildState, Failure, FailureClass};
use kiln_dockerfile::{BaseImage, Installer, Plan, PlanInput, plan};
use kiln_engine::{Backend, BuildJob, Built, Reporter, Step, Unit};
use kiln_layer::{Compressors, small_layer};
use kiln_oci::media_type;
use kiln_registry::ResolvedImage;
use kiln_store::Store;
use tokio_util::sync::CancellationToken;

use crate::error::{AssembleError, Obstacle};
use crate::image;
use crate::layers::{Layers, NamedLayer};
use crate::packages::Packages;
use crate::push::{self, Parts};

/// Clashes that are told one by one.
const MAX_TOLD_CLASHES: usize = 20;

/// Assembles images of a base's layers and packages' layers. Cheap to clone.
#[derive(Clone)]
pub struct AssembleBackend {
    layers: Arc<Layers>,
}

impl AssembleBackend {
    /// A backend that keeps its layers in a store.
    pub fn new(store: Store) -> io::Result<Self> {
        let layers = Layers::new(store, Compressors::of_machine()?);
        Ok(Self {
            layers: Arc::new(layers),
        })
    }
}

#[async_trait]
impl Backend for AssembleBackend {
    fn name(&self) -> &'static str {
        "assemble"
    }

    async fn check(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn build(
        &self,
        job: BuildJob,
        reporter: Arc<dyn Reporter>,
        cancel: CancellationToken,
    ) -> Result<Built, Failure> {
        let work = Box::pin(assemble(&self.layers, &job, &reporter));
        // Threads finish the package they are at; what they write is a whole layer, or nothing.
        tokio::select! {
            built = work => built,
            () = cancel.cancelled() => Err(Failure::new(
                FailureClass::Cancelled,
                "the build was cancelled",
                "ask again to build it",
            )),
        }
    }

    async fn leftovers(&self) -> Result<HashSet<String>, Failure> {
        Ok(HashSet::new())
    }

    async fn remove(&self, _build_ids: &[String]) -> Result<(), Failure> {
        Ok(())
    }
}

async fn assemble(
    layers: &Layers,
    job: &BuildJob,
    reporter: &Arc<dyn Reporter>,
) -> Result<Built, Failure> {
    let base = base(job).map_err(AssembleError::failure)?;
    let plan = planned(job, base).map_err(AssembleError::failure)?;
    for note in &plan.notes {
        reporter.line("plan", note);
    }
    let packages = Arc::new(opened(job, plan.prefix.is_some()).await?);
    tell(&packages, reporter);
    let made = |done: usize, total: usize| {
        reporter.step(Step {
            name: "layers".to_owned(),
            done: done as u64,
            total: Some(total as u64),
            unit: Unit::Items,
            finished: done == total,
        });
    };
    let base_layers = base.manifest.layers.len();
    let (mut named, counts) = layers
        .of(&job.build_id, &packages, base_layers, made)
        .await?;
    reporter.line(
        "layers",
        &format!(
            "{} packages in {} layers: {} known, {} made, {} groups put together",
            packages.list().len(),
            named.len(),
            counts.known,
            counts.made,
            counts.groups
        ),
    );
    let entries = image::top(&plan, &packages, job).map_err(AssembleError::failure)?;
    let (top, layer) = small_layer(&entries)
        .map_err(|error| kiln_engine::failure::of_io("the top layer", &error))?;
    named.push(NamedLayer {
        layer,
        packages: Vec::new(),
    });
    let config = image::config(&base.config, &plan, &named, &job.labels);
    reporter.phase(BuildState::Pushing);
    let parts = Parts {
        base: base.clone(),
        layers: named,
        top,
        config: config.to_bytes(),
    };
    let (built, sent) = push::image(parts, job, layers.store(), reporter).await?;
    reporter.line(
        "push",
        &format!(
            "kiln's layers: {} there, {} mounted, {} uploaded ({} bytes)",
            sent.existing, sent.mounted, sent.uploaded, sent.uploaded_bytes
        ),
    );
    Ok(built)
}

/// The base, where layers can be put upon it.
fn base(job: &BuildJob) -> Result<&ResolvedImage, AssembleError> {
    let obstacle = |obstacle| Err(AssembleError::Obstacle(obstacle));
    let Some(base) = &job.base else {
        return obstacle(Obstacle::UserDockerfile);
    };
    if !base.config.config.on_build.is_empty() {
        return obstacle(Obstacle::OnBuild);
    }
    let known = |media_type: &str| media_type::layer_compression(media_type).is_some();
    if let Some(layer) = base
        .manifest
        .layers
        .iter()
        .find(|layer| !known(&layer.media_type))
    {
        return obstacle(Obstacle::Layer(layer.media_type.clone()));
    }
    Ok(base)
}

fn planned(job: &BuildJob, base: &ResolvedImage) -> Result<Plan, AssembleError> {
    let pinned = base.reference.with_digest(base.manifest_digest);
    let input = PlanInput {
        definition: &job.definition,
        spec_hash: job.spec_hash,
        lock: &job.lock,
        facts: &job.facts,
        base: BaseImage::Pinned(&pinned),
        context: None,
        installer: Installer::Layers,
        extra_ca: false,
        private: false,
    };
    plan(&input).map_err(|error| AssembleError::Obstacle(Obstacle::Plan(error.to_string())))
}

/// Opens the packages on a thread that may block.
async fn opened(job: &BuildJob, installs: bool) -> Result<Packages, Failure> {
    let (mut lock, archives) = (job.lock.clone(), Arc::clone(&job.archives));
    if !installs {
        lock.conda.clear();
        lock.pip.clear();
        lock.python = None;
    }
    let work = tokio::task::spawn_blocking(move || {
        Packages::open(&lock, |digest| archives.path(digest)).map_err(AssembleError::failure)
    });
    work.await.unwrap_or_else(|error| {
        let error = io::Error::other(error);
        Err(kiln_engine::failure::of_io("opening the packages", &error))
    })
}

fn tell(packages: &Packages, reporter: &Arc<dyn Reporter>) {
    for note in packages.notes() {
        reporter.line("packages", note);
    }
    let clashes = packages.clashes();
    for (path, winner, loser) in clashes.iter().take(MAX_TOLD_CLASHES) {
        reporter.line(
            "packages",
            &format!("{path} is in {loser} and {winner}; {winner}'s is kept"),
        );
    }
}
