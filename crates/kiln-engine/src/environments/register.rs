//! Versions are made: of documents, of other versions, and by builds.

use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use kiln_oci::Digest;
use kiln_spec::{
    EnvironmentName, EnvironmentVersion, InlineCredential, Input, StoredDocument, Which,
};
use kiln_store::{Action, Done, EnvironmentRow, NewEnvironment, Registered, Scope};

use crate::engine::{Engine, Inner};
use crate::error::EngineError;
use crate::submission::Origin;

/// Names whose newest document memory knows; above this it begins anew.
const KNOWN_LIMIT: usize = 10_000;

/// A version to make.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// Its name.
    pub name: EnvironmentName,
    /// Its version; none is the next number, or the newest version where that is equal.
    pub version: Option<EnvironmentVersion>,
    /// What the history says was done.
    pub action: Action,
    /// What else it says.
    pub detail: Option<String>,
}

impl NewVersion {
    /// A version of a document that somebody registers.
    pub fn registered(name: EnvironmentName, version: Option<EnvironmentVersion>) -> Self {
        Self {
            name,
            version,
            action: Action::Registered,
            detail: None,
        }
    }
}

/// What came of a version to make.
#[derive(Debug, Clone)]
pub struct RegisteredVersion {
    /// The version that has the document.
    pub row: EnvironmentRow,
    /// Whether it was made now.
    pub is_new: bool,
}

/// A registration that a build brings with it.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub(crate) version: NewVersion,
    pub(crate) document: StoredDocument,
}

/// The version that a document was registered as, by name, while nothing else happened to the name:
/// a build that is known costs no write.
#[derive(Debug, Default)]
pub(crate) struct KnownDocuments {
    newest: DashMap<(Scope, EnvironmentName), (Digest, EnvironmentVersion)>,
    changes: AtomicU64,
}

impl KnownDocuments {
    fn get(&self, key: &(Scope, EnvironmentName), document: Digest) -> Option<EnvironmentVersion> {
        let known = self.newest.get(key)?;
        (known.0 == document).then(|| known.1.clone())
    }

    fn put(&self, key: (Scope, EnvironmentName), document: Digest, version: EnvironmentVersion) {
        if self.newest.len() >= KNOWN_LIMIT {
            self.newest.clear();
        }
        self.newest.insert(key, (document, version));
    }

    /// Something happens to a name.
    pub(crate) fn forget(&self, scope: &Scope, name: &EnvironmentName) {
        self.newest.remove(&(scope.clone(), name.clone()));
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// How often something happened to a name in this process.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }
}

impl Engine {
    /// Registers a document under a name. Its credentials go to the workspace's credential store; the
    /// version has none.
    ///
    /// # Errors
    /// The document is not valid, the name is that of a curated environment, or the version is there
    /// with another document.
    pub async fn register_environment(
        &self,
        scope: &Scope,
        new: &NewVersion,
        input: &Input<'_>,
        origin: &Origin,
    ) -> Result<RegisteredVersion, EngineError> {
        let parsed = kiln_spec::parse(input).map_err(EngineError::Spec)?;
        let document = StoredDocument::of(input, &parsed).map_err(EngineError::Spec)?;
        self.inner
            .register(scope, new, document, &parsed.credentials, origin)
            .await
    }

    /// Makes a version of the newest with more conda packages and pip requirements; those of a name that
    /// it has give way.
    pub async fn add_to_environment(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        conda: &[String],
        pip: &[String],
        origin: &Origin,
    ) -> Result<RegisteredVersion, EngineError> {
        let row = self.environment(scope, name, &Which::Latest).await?;
        let document = row.document.with_packages(conda, pip);
        let document = document.map_err(|error| EngineError::Invalid {
            message: error.to_string(),
            remedy: "register a document with the packages in it".into(),
        })?;
        // What was added may have credentials of its own, in an address.
        let input = Input {
            file_name: name.as_str(),
            bytes: document.text.as_bytes(),
            kind: Some(document.kind),
            files: &document.files,
            overrides: &document.overrides,
        };
        let new = NewVersion {
            detail: Some(format!("added to version {}", row.version)),
            ..NewVersion::registered(name.clone(), None)
        };
        self.register_environment(scope, &new, &input, origin).await
    }

    /// Makes a version with the document of an older one, unless the newest is equal to it.
    pub async fn rollback_environment(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        to: &EnvironmentVersion,
        origin: &Origin,
    ) -> Result<RegisteredVersion, EngineError> {
        let which = Which::Version(to.clone());
        let row = self.environment(scope, name, &which).await?;
        let new = NewVersion {
            name: name.clone(),
            version: None,
            action: Action::RolledBack,
            detail: Some(format!("to version {to}")),
        };
        self.inner
            .register(scope, &new, row.document, &[], origin)
            .await
    }

    /// Makes a version of another name, or in another workspace, with the document of this one. The
    /// credentials that its document came with stay in their workspace.
    pub async fn clone_environment(
        &self,
        from: &Scope,
        row: &EnvironmentRow,
        to: &Scope,
        name: &EnvironmentName,
        origin: &Origin,
    ) -> Result<RegisteredVersion, EngineError> {
        // Who may read the clone need not know the other workspace.
        let place = if from == to {
            format!("{}:{}", row.name, row.version)
        } else {
            "another workspace".to_owned()
        };
        let new = NewVersion {
            name: name.clone(),
            version: None,
            action: Action::Cloned,
            detail: Some(format!("from {place}")),
        };
        self.inner
            .register(to, &new, row.document.clone(), &[], origin)
            .await
    }
}

impl Inner {
    async fn register(
        &self,
        scope: &Scope,
        new: &NewVersion,
        document: StoredDocument,
        credentials: &[InlineCredential],
        origin: &Origin,
    ) -> Result<RegisteredVersion, EngineError> {
        let digest = document.digest();
        if new.name.is_curated() {
            return self.same_curated(new, &digest);
        }
        let parsed = document.parse("environment").map_err(EngineError::Spec)?;
        let registered = self
            .store
            .records()
            .register_environment(
                scope,
                &NewEnvironment {
                    name: new.name.clone(),
                    version: new.version.clone(),
                    document,
                    digest,
                    canonical: parsed.definition.canonical_json(),
                    spec_hash: parsed.definition.spec_hash(),
                    done: Done {
                        action: new.action,
                        detail: new.detail.clone(),
                        actor: origin.actor.clone(),
                        via: origin.via.clone(),
                    },
                },
            )
            .await?;
        let is_new = matches!(registered, Registered::New(_));
        let row = registered.row().ok_or_else(|| {
            let version = new.version.as_ref().map_or("", EnvironmentVersion::as_str);
            EngineError::VersionTaken {
                environment: format!("{}:{version}", new.name),
            }
        })?;
        if is_new {
            self.known_documents.forget(scope, &new.name);
        }
        // The version has none of them in it: a caller that learns of a failure here sends them again.
        self.keep_credentials(scope, credentials).await?;
        Ok(RegisteredVersion { row, is_new })
    }

    /// A curated environment that the SDK sends back as it is, to build it.
    fn same_curated(
        &self,
        new: &NewVersion,
        digest: &kiln_spec::DocumentDigest,
    ) -> Result<RegisteredVersion, EngineError> {
        let which = new.version.clone().map_or(Which::Latest, Which::Version);
        let row = self.curated.get(&new.name, &which);
        let same = row.filter(|row| digest.equals(&row.digest));
        let same = same.ok_or_else(|| EngineError::Invalid {
            message: format!(
                "the name `{}` begins with `AzureML` or `Microsoft`, as those of curated environments do",
                new.name
            ),
            remedy: "choose another name".into(),
        })?;
        Ok(RegisteredVersion {
            row: same.clone(),
            is_new: false,
        })
    }

    /// The version that a build's document is, registered where it is new.
    pub(crate) async fn register_built(
        &self,
        scope: &Scope,
        registration: &Registration,
        credentials: &[InlineCredential],
        origin: &Origin,
    ) -> Result<(EnvironmentName, EnvironmentVersion), EngineError> {
        let (new, document) = (&registration.version, &registration.document);
        let said = format!("{:?} {document:?}", new.version);
        let said = Digest::of(said.as_bytes());
        let key = (scope.clone(), new.name.clone());
        if let Some(version) = self.known_documents.get(&key, said) {
            return Ok((key.1, version));
        }
        let registered = self
            .register(scope, new, document.clone(), credentials, origin)
            .await?;
        let version = registered.row.version;
        self.known_documents.put(key, said, version.clone());
        Ok((new.name.clone(), version))
    }
}
