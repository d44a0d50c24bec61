//! What is asked of the engine, checked.

use std::collections::BTreeMap;

use kiln_api::{BackendChoice, BuildRequest};
use kiln_lock::Lock;
use kiln_spec::{Definition, Input, Kind, Overrides, Parsed, SpecHash};
use kiln_store::{Callback, RequestKey, Scope};

use crate::callbacks::check_callback;
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
    /// Checks the body of `POST /v1/builds`.
    pub fn from_request(request: BuildRequest, origin: Origin) -> Result<Self, EngineError> {
        let options = Options {
            backend: request.backend,
            refresh: request.refresh,
            retry: request.retry,
            dry_run: request.dry_run,
            registry: None,
            request: None,
            callbacks: callbacks(request.callback.as_deref())?,
        };
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
                message: "the request names no environment, or more than one".into(),
                remedy: "give exactly one of `environment`, `conda`, `requirements`".into(),
            });
        };
        let input = Input {
            file_name: field,
            bytes: text.as_bytes(),
            kind: Some(kind),
            files: &request.files,
            overrides: &overrides,
        };
        Self::parse(&input, request.workspace.as_deref(), options, origin)
    }

    /// Parses a document.
    pub fn parse(
        input: &Input<'_>,
        workspace: Option<&str>,
        options: Options,
        origin: Origin,
    ) -> Result<Self, EngineError> {
        let scope = match workspace {
            None => Scope::default_scope(),
            Some(name) => name.parse().map_err(|_| EngineError::Invalid {
                message: format!("`{}` is no name of a workspace", name.escape_debug()),
                remedy: "use letters, digits, `.`, `_`, `-` and `/`".into(),
            })?,
        };
        let parsed = kiln_spec::parse(input).map_err(EngineError::Spec)?;
        let spec_hash = parsed.definition.spec_hash();
        Ok(Self {
            scope,
            parsed,
            spec_hash,
            options,
            origin,
        })
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
        let spec_hash = definition.spec_hash();
        Ok(Self {
            scope,
            parsed: Parsed {
                kind: Kind::AzureMl,
                definition,
                credentials: Vec::new(),
                warnings: Vec::new(),
                name: None,
                version: None,
            },
            spec_hash,
            options,
            origin,
        })
    }

    /// The warnings of the document, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        self.parsed
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect()
    }
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
