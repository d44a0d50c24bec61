//! What is asked of the engine, checked.

use std::collections::BTreeMap;

use kiln_api::{BackendChoice, BuildRequest, EnvironmentId};
use kiln_lock::Lock;
use kiln_spec::{
    Definition, EnvironmentName, EnvironmentVersion, Input, Kind, Overrides, Parsed, SpecHash,
    StoredDocument, Which,
};
use kiln_store::{Action, Callback, RequestKey, Scope};

use crate::callbacks::check_callback;
use crate::engine::Engine;
use crate::environments::{NewVersion, Registration};
use crate::error::EngineError;

/// Who asked, and which way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The token's name, `local` or the command line's user.
    pub actor: String,
    /// `http`, `cli`, ...
    pub via: String,
}

/// A request for an image.
#[derive(Debug)]
pub struct Submission {
    /// The workspace.
    pub scope: Scope,
    /// The parsed document.
    pub parsed: Parsed,
    /// Its identity.
    pub spec_hash: SpecHash,
    /// What is wanted beside the definition.
    pub options: Options,
    /// Who asked.
    pub origin: Origin,
    /// The registered environment that it is, once that is known.
    pub environment: Option<EnvironmentId>,
    /// What it is registered as when it is submitted.
    pub(crate) registration: Option<Registration>,
    /// How often environments were changed before this was looked at.
    pub(crate) changes: u64,
    /// Sentences for people beside the document's warnings.
    notes: Vec<String>,
}

/// What is wanted beside the definition.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which backend builds.
    pub backend: BackendChoice,
    /// Resolve anew and make the result current.
    pub refresh: bool,
    /// Forget a remembered failure.
    pub retry: bool,
    /// Change nothing.
    pub dry_run: bool,
    /// `HOST[/PREFIX]` in place of the workspace's.
    pub registry: Option<String>,
    /// The name under which the same request may come again.
    pub request: Option<RequestKey>,
    /// Who is told of the build beside the workspace's hooks.
    pub callbacks: Vec<Callback>,
}

impl Submission {
    /// A request that has a document.
    fn of_document(request: BuildRequest, origin: Origin) -> Result<Self, EngineError> {
        let options = options(&request)?;
        let named = request.name.as_deref().map(environment_name).transpose()?;
        let version = request.version.as_deref().map(explicit_version);
        let version = version.transpose()?;
        let overrides = Overrides {
            base: request.base,
            gpu: request.gpu,
            platform: request.platform,
        };
        let documents = [
            request
                .environment
                .map(|raw| (raw.get().to_owned(), Kind::AzureMl, "environment")),
            request.conda.map(|text| (text, Kind::Conda, "conda")),
            request
                .requirements
                .map(|text| (text, Kind::Requirements, "requirements")),
        ];
        let mut documents = documents.into_iter().flatten();
        let (Some((text, kind, field)), None) = (documents.next(), documents.next()) else {
            return Err(EngineError::Invalid {
                message: "the request has more than one environment".into(),
                remedy: "give one of `environment`, `conda`, `requirements`".into(),
            });
        };
        let input = Input {
            file_name: field,
            bytes: text.as_bytes(),
            kind: Some(kind),
            files: &request.files,
            overrides: &overrides,
        };
        let mut submission = Self::parse(&input, request.workspace.as_deref(), options, origin)?;
        if let Some(name) = named {
            submission.register_as(name, version, &input)?;
        } else if let (Some(version), Some(registration)) = (version, &mut submission.registration)
        {
            registration.version.version = Some(version);
        }
        Ok(submission)
    }

    /// Asks for a name other than the document's.
    fn register_as(
        &mut self,
        name: EnvironmentName,
        version: Option<EnvironmentVersion>,
        input: &Input<'_>,
    ) -> Result<(), EngineError> {
        let document = StoredDocument::of(input, &self.parsed).map_err(EngineError::Spec)?;
        self.registration = Some(Registration {
            version: NewVersion {
                action: Action::Built,
                ..NewVersion::registered(name, version)
            },
            document,
        });
        Ok(())
    }

    /// Notes what a document that has a name is to be registered as.
    fn register_by_its_name(&mut self, input: &Input<'_>) {
        let Some(name) = self.parsed.name.clone() else {
            return;
        };
        let name = match name.parse::<EnvironmentName>() {
            Ok(name) if name.is_curated() => return,
            Ok(name) => name,
            Err(error) => {
                self.notes
                    .push(format!("the environment is not registered: {error}"));
                return;
            }
        };
        let version = self.parsed.version.as_deref();
        let version = version.and_then(|version| version.parse().ok());
        if let Err(error) = self.register_as(name, version, input) {
            self.notes.push(format!(
                "the environment is not registered: {}",
                error.failure().message
            ));
        }
    }

    /// Parses a document.
    pub fn parse(
        input: &Input<'_>,
        workspace: Option<&str>,
        options: Options,
        origin: Origin,
    ) -> Result<Self, EngineError> {
        let scope = scope(workspace)?;
        let parsed = kiln_spec::parse(input).map_err(EngineError::Spec)?;
        let mut submission = Self::of_parsed(scope, parsed, options, origin);
        submission.register_by_its_name(input);
        Ok(submission)
    }

    fn of_parsed(scope: Scope, parsed: Parsed, options: Options, origin: Origin) -> Self {
        Self {
            scope,
            spec_hash: parsed.definition.spec_hash(),
            parsed,
            options,
            origin,
            environment: None,
            registration: None,
            changes: 0,
            notes: Vec::new(),
        }
    }

    /// A definition that is known, as it was kept.
    pub(crate) fn of_canonical(
        scope: Scope,
        canonical: &str,
        options: Options,
        origin: Origin,
    ) -> Result<Self, EngineError> {
        let definition =
            Definition::from_canonical_json(canonical).map_err(|error| EngineError::Invalid {
                message: format!("the stored definition is not readable: {error}"),
                remedy: "send the environment again".into(),
            })?;
        let parsed = Parsed {
            kind: Kind::AzureMl,
            definition,
            credentials: Vec::new(),
            warnings: Vec::new(),
            name: None,
            version: None,
        };
        Ok(Self::of_parsed(scope, parsed, options, origin))
    }

    /// Whether what is registered has a say in it.
    pub(crate) fn names_environment(&self) -> bool {
        self.registration.is_some() || self.environment.is_some()
    }

    /// The warnings of the document, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        self.parsed
            .warnings
            .iter()
            .map(ToString::to_string)
            .chain(self.notes.iter().cloned())
            .collect()
    }
}

impl Engine {
    /// Checks the body of `POST /v1/builds`, and finds the environment that it names.
    pub async fn submission(
        &self,
        request: BuildRequest,
        origin: Origin,
    ) -> Result<Submission, EngineError> {
        let changes = self.inner.known_documents.changes();
        let mut submission = self.understand(request, origin).await?;
        submission.changes = changes;
        Ok(submission)
    }

    async fn understand(
        &self,
        request: BuildRequest,
        origin: Origin,
    ) -> Result<Submission, EngineError> {
        if request.has_document() {
            return Submission::of_document(request, origin);
        }
        let beside = request.base.is_some()
            || request.gpu
            || request.platform.is_some()
            || !request.files.is_empty();
        if beside {
            return Err(EngineError::Invalid {
                message: "base, gpu, platform and files stand beside a registered environment"
                    .into(),
                remedy: "leave them out, or send the environment's document".into(),
            });
        }
        let scope = scope(request.workspace.as_deref())?;
        let options = options(&request)?;
        let name = request.name.as_deref();
        let name = environment_name(name.unwrap_or(crate::environments::DEFAULT))?;
        let which = match request.version.as_deref() {
            None | Some(kiln_spec::LATEST) => Which::Latest,
            Some(version) => Which::Version(explicit_version(version)?),
        };
        self.submission_of(&scope, &name, &which, options, origin)
            .await
    }

    /// A request for the image of a registered environment.
    pub async fn submission_of(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        which: &Which,
        options: Options,
        origin: Origin,
    ) -> Result<Submission, EngineError> {
        let row = self.environment(scope, name, which).await?;
        let parsed = row.document.parse(row.name.as_str());
        let parsed = parsed.map_err(EngineError::Spec)?;
        let mut submission = Submission::of_parsed(scope.clone(), parsed, options, origin);
        if row.name.is_curated() {
            // They are kiln's own words, and nobody who builds can change them.
            submission.parsed.warnings.clear();
        }
        if row.archived_ms.is_some() {
            let id = format!("{}:{}", row.name, row.version);
            submission
                .notes
                .push(format!("the environment {id} is archived"));
        }
        submission.environment = Some(EnvironmentId {
            name: row.name.to_string(),
            version: row.version.to_string(),
        });
        Ok(submission)
    }

    /// Registers what a submission's document is to be registered as.
    pub(crate) async fn register_with(
        &self,
        submission: &mut Submission,
    ) -> Result<(), EngineError> {
        let Some(registration) = submission.registration.take() else {
            return Ok(());
        };
        if submission.options.dry_run {
            return Ok(());
        }
        let (name, version) = self
            .inner
            .register_built(
                &submission.scope,
                &registration,
                &submission.parsed.credentials,
                &submission.origin,
            )
            .await?;
        submission.environment = Some(EnvironmentId {
            name: name.to_string(),
            version: version.to_string(),
        });
        Ok(())
    }
}

fn options(request: &BuildRequest) -> Result<Options, EngineError> {
    Ok(Options {
        backend: request.backend,
        refresh: request.refresh,
        retry: request.retry,
        dry_run: request.dry_run,
        registry: None,
        request: None,
        callbacks: callbacks(request.callback.as_deref())?,
    })
}

fn scope(workspace: Option<&str>) -> Result<Scope, EngineError> {
    let Some(name) = workspace else {
        return Ok(Scope::default_scope());
    };
    name.parse().map_err(|_| EngineError::Invalid {
        message: format!("`{}` is no name of a workspace", name.escape_debug()),
        remedy: "use letters, digits, `.`, `_`, `-` and `/`".into(),
    })
}

fn environment_name(name: &str) -> Result<EnvironmentName, EngineError> {
    Ok(name.parse::<EnvironmentName>()?)
}

fn explicit_version(version: &str) -> Result<EnvironmentVersion, EngineError> {
    Ok(version.parse::<EnvironmentVersion>()?)
}

/// The address that is told of the build, checked.
fn callbacks(address: Option<&str>) -> Result<Vec<Callback>, EngineError> {
    let Some(address) = address else {
        return Ok(Vec::new());
    };
    let url = check_callback(address)?;
    Ok(vec![Callback::Url(url.to_string())])
}

/// The labels of an image, by name: kiln's own, and those of the OCI image specification, "Annotations".
/// The generation is not among them, because equal content is one image whatever its number.
pub(crate) fn labels(spec_hash: &SpecHash, lock: &Lock, backend: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("io.kiln.spec-hash", spec_hash.to_hex()),
        ("io.kiln.name", spec_hash.image_name()),
        ("io.kiln.lock-hash", lock.hash().to_hex()),
        ("io.kiln.backend", backend.to_owned()),
        ("org.opencontainers.image.title", spec_hash.image_name()),
    ]);
    if let Some(base) = &lock.base {
        labels.insert("org.opencontainers.image.base.name", base.reference.clone());
        labels.insert(
            "org.opencontainers.image.base.digest",
            base.digest.to_string(),
        );
    }
    labels
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
