//! The resolver: one definition to one lock.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kiln_conda::{
    CondaSolver, Credentials, Offer, SolveRequest, SolverSettings, python_distributions,
};
use kiln_lock::{
    BaseFacts, CondaPackage, LOCK_FORMAT_VERSION, Lock, LockedBase, LockedPython, ResolverSettings,
};
use kiln_oci::{Platform, Reference};
use kiln_registry::{RegistryClient, ResolvedImage};
use kiln_spec::{Base, Definition, Pip, PipRequirement};
use tokio_util::sync::CancellationToken;

use crate::base::facts_of;
use crate::dockerfile_from::base_of;
use crate::fetch::{Archive, FetchError, Fetcher};
use crate::target::Target;
use crate::uv::{self, PypiRequest};
use crate::{
    ArchiveStore, BaseChoice, Catalog, CatalogError, FactsCache, FetchProgress, IndexDefaults,
    Installed, Mirror, PrivateWheels, ProcessSettings, PythonError, ResolveError, UvSettings,
    UvTool, passed_over, python,
};

/// The package that the inferencing stack adds.
const SCORING_SERVER: &str = "azureml-inference-server-http";

/// How long the parts of a resolution may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// The conda solve, reading of the channels included.
    pub conda: Duration,
    /// The pip resolution.
    pub pypi: Duration,
    /// Everything together, fetching what is looked into included.
    pub whole: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            conda: Duration::from_mins(10),
            pypi: Duration::from_mins(10),
            whole: Duration::from_mins(30),
        }
    }
}

/// What a resolver is configured with.
#[derive(Debug, Clone)]
pub struct ResolverConfig {
    /// Base images by name.
    pub catalog: Catalog,
    /// What stands in for registries.
    pub mirrors: Vec<Mirror>,
    /// The base of definitions without one; `None` is the catalog's `cpu`.
    pub default_cpu_base: Option<String>,
    /// The same with GPU support; `None` is the catalog's `gpu`.
    pub default_gpu_base: Option<String>,
    /// The conda solver's settings.
    pub conda: SolverSettings,
    /// Where `uv` comes from.
    pub uv: UvSettings,
    /// What child processes are started with.
    pub process: ProcessSettings,
    /// Package indexes of definitions that name none.
    pub indexes: IndexDefaults,
    /// Limits.
    pub timeouts: Timeouts,
    /// How many archives are fetched at a time.
    pub fetches: usize,
}

/// One resolution.
#[derive(Debug, Clone)]
pub struct ResolveRequest {
    /// What is resolved.
    pub definition: Definition,
    /// The scope; what was read with credentials is kept for it alone.
    pub scope: String,
    /// Credentials of channels, indexes and archives in this scope.
    pub credentials: Credentials,
    /// The client for the base's registry, with the scope's credentials.
    pub registry: RegistryClient,
    /// Where archives are kept for who asks.
    pub archives: Arc<dyn ArchiveStore>,
    /// Wheels that the scope keeps itself.
    pub wheels: Arc<dyn PrivateWheels>,
    /// What the resolvers are told; recorded in the lock.
    pub settings: ResolverSettings,
}

/// What a definition resolved to.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The lock.
    pub lock: Lock,
    /// Facts about the base; the default where a user's own Dockerfile or context is the base.
    pub facts: BaseFacts,
    /// The base's manifest and configuration; `None` where the lock has no base.
    pub base: Option<ResolvedImage>,
    /// Sentences for people about the base; the lock's notes have those about packages.
    pub warnings: Vec<String>,
}

/// What a resolution is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Resolving the base's reference and reading its layers.
    Base,
    /// Solving the conda packages.
    Conda,
    /// Fetching the conda packages that bring Python distributions.
    Fetch(FetchProgress),
    /// Resolving the pip section.
    Pypi,
}

/// Receives a resolution's progress; calls are quick and never fail.
pub trait Progress: Send + Sync {
    /// The resolution is in a phase, or a step further in it.
    fn phase(&self, phase: Phase);
}

/// Resolves definitions.
#[derive(Clone)]
pub struct Resolver {
    config: Arc<ResolverConfig>,
    client: reqwest::Client,
    conda: CondaSolver,
    facts: Arc<dyn FactsCache>,
    uv: Arc<tokio::sync::Mutex<Option<UvTool>>>,
}

/// A base that was looked at.
struct LookedAt {
    base: Option<ResolvedImage>,
    locked: Option<LockedBase>,
    facts: BaseFacts,
    warnings: Vec<String>,
    /// Whether the facts are the image's own, and not those of what a Dockerfile starts from.
    certain: bool,
}

impl Resolver {
    /// Makes a resolver. The client must send no `Referer`: addresses may carry tokens.
    pub fn new(
        config: ResolverConfig,
        client: reqwest::Client,
        facts: Arc<dyn FactsCache>,
    ) -> Self {
        Self {
            conda: CondaSolver::new(client.clone(), config.conda.clone()),
            config: Arc::new(config),
            client,
            facts,
            uv: Arc::default(),
        }
    }

    /// A fetcher with a request's credentials, for the archives of its lock.
    pub fn fetcher(&self, credentials: &Credentials) -> Fetcher {
        Fetcher {
            client: self.client.clone(),
            credentials: credentials.clone(),
            concurrency: self.config.fetches,
        }
    }

    /// The `uv` binary, found or fetched; later calls answer at once.
    pub async fn uv(&self, cancel: &CancellationToken) -> Result<UvTool, ResolveError> {
        let mut known = self.uv.lock().await;
        if let Some(uv) = known.as_ref() {
            return Ok(uv.clone());
        }
        let (settings, process) = (&self.config.uv, &self.config.process);
        let none = Credentials::default();
        let uv = UvTool::provide(settings, process, &self.client, &none, cancel)
            .await
            .map_err(ResolveError::Tool)?;
        Ok(known.insert(uv).clone())
    }

    /// What a definition's channels have of these packages; names are those of conda.
    ///
    /// # Errors
    /// When the channels can't be read within `timeout`.
    pub async fn channel_offers(
        &self,
        request: &ResolveRequest,
        names: Vec<String>,
        timeout: Duration,
    ) -> Result<BTreeMap<String, Offer>, ResolveError> {
        let conda = request.definition.conda.as_ref();
        let question = SolveRequest {
            channels: conda
                .map(|conda| conda.channels.clone())
                .unwrap_or_default(),
            specs: names,
            platform: request.definition.platform.clone(),
            facts: BaseFacts::default(),
            priority: request.settings.channel_priority,
            needs_python: false,
            credentials: request.credentials.clone(),
            scope: request.scope.clone(),
            timeout,
        };
        let offers = self.conda.newest(&question).await;
        offers.map_err(ResolveError::Conda)
    }

    /// Resolves a definition.
    pub async fn resolve(
        &self,
        request: &ResolveRequest,
        progress: &dyn Progress,
        cancel: &CancellationToken,
    ) -> Result<Resolved, ResolveError> {
        let after = self.config.timeouts.whole;
        let work = self.resolve_within(request, progress, cancel);
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(ResolveError::Cancelled),
            answer = tokio::time::timeout(after, work) => {
                answer.unwrap_or(Err(ResolveError::Timeout { after }))
            }
        }
    }

    /// What building a lock again needs: its base, looked at by digest, and the facts about it. Nothing
    /// is resolved anew.
    pub async fn reuse(
        &self,
        request: &ResolveRequest,
        lock: Lock,
    ) -> Result<Resolved, ResolveError> {
        let looked_at = match &lock.base {
            None => self.base(request).await?,
            Some(base) => {
                let reference: Reference = base
                    .reference
                    .parse()
                    .map_err(|source| CatalogError::Reference {
                        base: base.reference.clone(),
                        source,
                    })
                    .map_err(ResolveError::Catalog)?;
                let image = resolve_image(request, &reference.with_digest(base.digest)).await?;
                let facts = facts_of(&request.registry, &image, self.facts.as_ref())
                    .await
                    .map_err(ResolveError::Facts)?;
                LookedAt {
                    locked: None,
                    base: Some(image),
                    facts,
                    warnings: Vec::new(),
                    certain: true,
                }
            }
        };
        Ok(Resolved {
            lock,
            facts: looked_at.facts,
            base: looked_at.base,
            warnings: looked_at.warnings,
        })
    }

    async fn resolve_within(
        &self,
        request: &ResolveRequest,
        progress: &dyn Progress,
        cancel: &CancellationToken,
    ) -> Result<Resolved, ResolveError> {
        let definition = &request.definition;
        refuse_unsupported(definition)?;
        progress.phase(Phase::Base);
        let looked_at = self.base(request).await?;
        let mut lock = Lock {
            format_version: LOCK_FORMAT_VERSION,
            platform: definition.platform.clone(),
            base: looked_at.locked.clone(),
            python: None,
            conda: Vec::new(),
            pip: Vec::new(),
            settings: request.settings.clone(),
            notes: Vec::new(),
        };
        if !definition.python.user_managed {
            self.packages(request, &looked_at, &mut lock, progress, cancel)
                .await?;
        }
        Ok(Resolved {
            lock,
            facts: if looked_at.certain {
                looked_at.facts
            } else {
                BaseFacts::default()
            },
            base: looked_at.base,
            warnings: looked_at.warnings,
        })
    }

    /// Pins the base and reads its facts.
    async fn base(&self, request: &ResolveRequest) -> Result<LookedAt, ResolveError> {
        let definition = &request.definition;
        let config = &self.config;
        let choice = match &definition.base {
            Base::Default(kind) => {
                let configured = match kind {
                    kiln_spec::DefaultBase::Cpu => config.default_cpu_base.as_deref(),
                    kiln_spec::DefaultBase::Gpu => config.default_gpu_base.as_deref(),
                };
                config
                    .catalog
                    .default_base(*kind, configured, &config.mirrors)
            }
            Base::Image(image) => config.catalog.choose(image, &config.mirrors),
            Base::Dockerfile(text) => return self.assumed(request, base_of(text)).await,
            Base::Git { .. } | Base::Context { .. } => return self.assumed(request, None).await,
        };
        let BaseChoice {
            reference,
            warnings,
        } = choice.map_err(ResolveError::Catalog)?;
        let image = resolve_image(request, &reference).await?;
        let facts = facts_of(&request.registry, &image, self.facts.as_ref())
            .await
            .map_err(ResolveError::Facts)?;
        Ok(LookedAt {
            locked: Some(LockedBase {
                reference: without_digest(&reference).to_string(),
                digest: image.manifest_digest,
                index_digest: image.index_digest,
            }),
            base: Some(image),
            facts,
            warnings,
            certain: true,
        })
    }

    /// A base that is built from the user's own Dockerfile: the facts of what it starts from are taken
    /// for its own, because its C library hardly ever changes on the way.
    async fn assumed(
        &self,
        request: &ResolveRequest,
        starts_from: Option<String>,
    ) -> Result<LookedAt, ResolveError> {
        let mut looked_at = LookedAt {
            base: None,
            locked: None,
            facts: BaseFacts::default(),
            warnings: Vec::new(),
            certain: false,
        };
        let definition = &request.definition;
        let nothing = definition.conda.is_none() && definition.pip.is_none();
        if definition.python.user_managed || nothing {
            return Ok(looked_at);
        }
        let Some(starts_from) = starts_from else {
            return Err(ResolveError::Unsupported {
                what: "packages on a base that is known only once it is built",
                remedy: "let the base's Dockerfile start FROM an image by name, or build and push the base \
                    first and name it, or manage python in the base (userManagedDependencies)",
            });
        };
        let choice = self
            .config
            .catalog
            .choose(&starts_from, &self.config.mirrors)
            .map_err(ResolveError::Catalog)?;
        let image = resolve_image(request, &choice.reference).await?;
        looked_at.facts = facts_of(&request.registry, &image, self.facts.as_ref())
            .await
            .map_err(ResolveError::Facts)?;
        looked_at.warnings = choice.warnings;
        looked_at.warnings.push(format!(
            "packages are chosen for {starts_from}, from which the base's Dockerfile starts"
        ));
        Ok(looked_at)
    }

    async fn packages(
        &self,
        request: &ResolveRequest,
        looked_at: &LookedAt,
        lock: &mut Lock,
        progress: &dyn Progress,
        cancel: &CancellationToken,
    ) -> Result<(), ResolveError> {
        let definition = &request.definition;
        let pip = &with_scoring_server(definition);
        let needs_python = !pip.requirements.is_empty();
        let conda = definition
            .conda
            .as_ref()
            .filter(|conda| !conda.dependencies.is_empty());
        if let Some(conda) = conda {
            progress.phase(Phase::Conda);
            let question = SolveRequest {
                channels: conda.channels.clone(),
                specs: conda.dependencies.clone(),
                platform: definition.platform.clone(),
                facts: looked_at.facts.clone(),
                priority: request.settings.channel_priority,
                needs_python,
                credentials: request.credentials.clone(),
                scope: request.scope.clone(),
                timeout: self.config.timeouts.conda,
            };
            let solution = self
                .conda
                .solve(&question, cancel)
                .await
                .map_err(ResolveError::Conda)?;
            lock.python = python::of_channel(&solution.packages);
            lock.conda = solution.packages;
            lock.notes.extend(solution.notes);
        } else if needs_python {
            let found = if looked_at.certain {
                python::of_base(&looked_at.facts)
            } else {
                Err(PythonError::Unknown)
            };
            lock.python = Some(found.map_err(ResolveError::Python)?);
        }
        if let (true, Some(python)) = (needs_python, lock.python.clone()) {
            self.wheels(request, looked_at, pip, &python, lock, progress, cancel)
                .await?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one step of one resolution")]
    async fn wheels(
        &self,
        request: &ResolveRequest,
        looked_at: &LookedAt,
        pip: &Pip,
        python: &LockedPython,
        lock: &mut Lock,
        progress: &dyn Progress,
        cancel: &CancellationToken,
    ) -> Result<(), ResolveError> {
        let installed = self
            .installed(request, &lock.conda, progress, cancel)
            .await?;
        progress.phase(Phase::Pypi);
        let tool = self.uv(cancel).await?;
        let target = Target::new(
            &request.definition.platform,
            &looked_at.facts,
            &python.version,
        )
        .map_err(ResolveError::Pypi)?;
        let private = uv::private(request.wheels.as_ref(), pip)
            .await
            .map_err(ResolveError::Pypi)?;
        let question = PypiRequest {
            pip,
            target: &target,
            installed: &installed,
            private: &private,
            strategy: request.settings.index_strategy,
            defaults: &self.config.indexes,
            credentials: &request.credentials,
            scope: &request.scope,
            timeout: self.config.timeouts.pypi,
        };
        let solution = uv::resolve(
            &tool,
            &self.config.uv,
            &self.config.process,
            &question,
            cancel,
        )
        .await
        .map_err(ResolveError::Pypi)?;
        let passed_over = passed_over::notes(
            &self.client,
            &request.credentials,
            &solution.pages,
            &solution.wheels,
            &python.version,
            &target.ranks,
        );
        lock.notes.extend(passed_over.await);
        lock.notes.extend(solution.notes);
        lock.pip = solution.wheels;
        Ok(())
    }

    /// The Python distributions that the conda packages bring, read from their archives, which the
    /// build needs anyway.
    async fn installed(
        &self,
        request: &ResolveRequest,
        conda: &[CondaPackage],
        progress: &dyn Progress,
        cancel: &CancellationToken,
    ) -> Result<Vec<Installed>, ResolveError> {
        let candidates: Vec<&CondaPackage> = conda
            .iter()
            .filter(|package| may_bring_python(package))
            .collect();
        let wanted: Vec<Archive> = candidates
            .iter()
            .map(|package| Archive::from(*package))
            .collect();
        self.fetcher(&request.credentials)
            .fetch(
                &wanted,
                request.archives.as_ref(),
                &|state| progress.phase(Phase::Fetch(state)),
                cancel,
            )
            .await?;
        let mut found: BTreeMap<String, Installed> = BTreeMap::new();
        for package in candidates {
            let path = request.archives.path_of(&package.sha256).await;
            // Without it the lock would be another: better none.
            let path = path.ok_or_else(|| FetchError::Disk {
                file_name: package.file_name.clone(),
                source: std::io::ErrorKind::NotFound.into(),
            })?;
            for distribution in distributions(path, &package.file_name).await? {
                found.entry(distribution.name.clone()).or_insert(Installed {
                    name: distribution.name,
                    version: distribution.version,
                    metadata: distribution.metadata,
                    conda_package: package.name.clone(),
                });
            }
        }
        Ok(found.into_values().collect())
    }
}

async fn distributions(
    path: PathBuf,
    file_name: &str,
) -> Result<Vec<kiln_conda::Distribution>, ResolveError> {
    let name = file_name.to_owned();
    let read = tokio::task::spawn_blocking(move || python_distributions(&path, &name)).await;
    let read = read.unwrap_or_else(|error| {
        Err(kiln_conda::ReadArchiveError::Io(std::io::Error::other(
            error,
        )))
    });
    read.map_err(|source| ResolveError::Archive {
        file_name: file_name.to_owned(),
        source,
    })
}

/// Everything that puts files into site-packages depends on python.
fn may_bring_python(package: &CondaPackage) -> bool {
    package.depends.iter().any(|depends| {
        let name = depends
            .split([' ', '=', '<', '>', '!', '['])
            .next()
            .unwrap_or_default();
        let name = name.rsplit("::").next().unwrap_or_default();
        name == "python" || name == "python_abi"
    })
}

async fn resolve_image(
    request: &ResolveRequest,
    reference: &Reference,
) -> Result<ResolvedImage, ResolveError> {
    let platform = &request.definition.platform;
    let platform: Platform = platform.parse().map_err(|_| ResolveError::Platform {
        platform: platform
            .chars()
            .filter(|c| !c.is_control())
            .take(80)
            .collect(),
    })?;
    request
        .registry
        .resolve_platform(reference, &platform)
        .await
        .map_err(ResolveError::Base)
}

/// The reference as the lock has it: the digest stands beside it.
fn without_digest(reference: &Reference) -> Reference {
    match reference.tag() {
        Some(tag) => reference.with_tag(tag.clone()),
        None => reference.without_version(),
    }
}

/// The pip section, with the scoring server where the inferencing stack is asked for.
fn with_scoring_server(definition: &Definition) -> Pip {
    let mut pip = definition.pip.clone().unwrap_or_default();
    let names_it = |one: &PipRequirement| {
        let rest = one.requirement.strip_prefix(SCORING_SERVER);
        rest.is_some_and(|rest| {
            !rest.starts_with(|c: char| c.is_alphanumeric() || "-_.".contains(c))
        })
    };
    if definition.inferencing_stack_version.is_some() && !pip.requirements.iter().any(names_it) {
        pip.requirements.push(PipRequirement {
            requirement: SCORING_SERVER.to_owned(),
            hashes: Vec::new(),
        });
    }
    pip
}

/// Refuses by name what no backend builds yet.
fn refuse_unsupported(definition: &Definition) -> Result<(), ResolveError> {
    let unsupported = |what, remedy| Err(ResolveError::Unsupported { what, remedy });
    if definition.python.base_conda_environment.is_some() {
        return unsupported(
            "an environment upon one of the base's own (baseCondaEnvironment)",
            "name the packages in condaDependencies, or manage python in the base (userManagedDependencies)",
        );
    }
    if definition.inferencing_stack_version.is_some() && definition.python.user_managed {
        return unsupported(
            "the inferencing stack (inferencingStackVersion) upon a python that the base manages",
            "leave the field out and bring azureml-inference-server-http in the base, or let kiln manage python",
        );
    }
    let spark = definition.spark.as_ref();
    if spark.is_some_and(|spark| spark.precache_packages && !spark.packages.is_empty()) {
        return unsupported(
            "fetching Spark packages while building (spark.precachePackages)",
            "set precachePackages to false, or bring the jars in the base image",
        );
    }
    if definition.r.as_ref().is_some_and(|r| !r.user_managed) {
        return unsupported(
            "the R section",
            "name R's packages as conda dependencies (r-base, r-...), or set r.userManaged and bring R in the base image",
        );
    }
    Ok(())
}
