//! Private wheels: uploaded once, checked, found for who may build with them.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use kiln_api::Failure;
use kiln_link::check_wheel;
use kiln_lock::Lock;
use kiln_oci::Digest;
use kiln_resolve::{PrivateWheel, PrivateWheels, WheelName};
use kiln_store::{KeptWheel, NewWheel, PutBlobError, Scope, Store, StoreError, WheelRow};
use url::Url;

use crate::engine::{Engine, Inner};
use crate::error::{EngineError, of_io, of_store};
use crate::submission::Origin;

/// The most bytes of a wheel.
pub const WHEEL_BYTES_LIMIT: u64 = 2 << 30;
/// How a requirement names a wheel by its bytes.
const BY_DIGEST: &str = "kiln-wheel:sha256:";
/// What a wheel's file name is made of (PyPA, Binary distribution format).
const NAME_FORM: &str = "name it NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl, as `foo-1.0-py3-none-any.whl`; \
     a build tool names it so by itself";

impl Engine {
    /// Keeps a wheel that somebody uploads, after it was checked as an index checks one. `url` is the
    /// address under which its uploader will name it.
    ///
    /// # Errors
    /// When the file name or the wheel is not usable, the name is another wheel's, or there is no room.
    pub async fn upload_wheel(
        &self,
        scope: &Scope,
        file_name: &str,
        bytes: impl Stream<Item = std::io::Result<Bytes>> + Unpin,
        url: Option<&str>,
        origin: &Origin,
    ) -> Result<KeptWheel, EngineError> {
        check_name(file_name)?;
        self.inner.check_room()?;
        let blobs = self.inner.store.blobs().clone();
        let put = blobs.put_new(WHEEL_BYTES_LIMIT, bytes).await;
        let (digest, size_bytes) = put.map_err(|error| refused(file_name, error))?;
        let (path, name) = (blobs.path(&digest), file_name.to_owned());
        let checked = tokio::task::spawn_blocking(move || check_wheel(&path, &name)).await;
        let checked = checked.map_err(std::io::Error::other)?;
        // What is refused stays for the time of grace of a collection: another workspace may have it.
        let checked = checked.map_err(|error| {
            let cause = std::error::Error::source(&error);
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            EngineError::Invalid {
                message: format!("the wheel is not usable: {error}{cause}"),
                remedy: "build it again with a current build tool, and upload what that wrote"
                    .into(),
            }
        })?;
        let new = NewWheel {
            file_name: file_name.to_owned(),
            digest,
            size_bytes,
            name: checked.name,
            version: checked.version,
            url: url.map(str::to_owned),
            actor: origin.actor.clone(),
            via: origin.via.clone(),
        };
        let kept = self.inner.store.records().keep_wheel(scope, &new).await?;
        match kept {
            KeptWheel::Taken(_) => Err(EngineError::WheelTaken {
                file_name: file_name.to_owned(),
            }),
            kept => Ok(kept),
        }
    }

    /// A wheel of a workspace.
    pub async fn wheel(&self, scope: &Scope, file_name: &str) -> Result<WheelRow, EngineError> {
        let found = self.inner.store.records().wheel(scope, file_name).await?;
        found.ok_or_else(|| EngineError::NotFound {
            what: format!("wheel `{file_name}`"),
        })
    }

    /// A wheel of a workspace with these bytes.
    pub async fn wheel_by_digest(
        &self,
        scope: &Scope,
        digest: &Digest,
    ) -> Result<Option<WheelRow>, EngineError> {
        let records = self.inner.store.records();
        Ok(records.wheel_by_digest(scope, digest).await?)
    }

    /// Wheels by file name, beginning after one.
    pub async fn wheels(
        &self,
        scope: &Scope,
        after: &str,
        limit: u32,
    ) -> Result<Vec<WheelRow>, EngineError> {
        let records = self.inner.store.records();
        Ok(records.wheels(scope, after, limit).await?)
    }

    /// The file of a wheel that is kept.
    pub fn wheel_path(&self, wheel: &WheelRow) -> std::path::PathBuf {
        self.inner.store.blobs().path(&wheel.digest)
    }
}

impl Inner {
    /// Whether a lock has a private wheel of the workspace.
    pub(crate) async fn has_private(&self, scope: &Scope, lock: &Lock) -> Result<bool, Failure> {
        let digests: Vec<_> = lock.pip.iter().map(|wheel| wheel.sha256).collect();
        let found = self.store.records().has_wheel_of(scope, &digests).await;
        found.map_err(|error| of_store(&error))
    }
}

/// Refuses a file name that is no wheel's, before its bytes come.
pub fn check_name(file_name: &str) -> Result<(), EngineError> {
    let shown: String = file_name
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    WheelName::parse(file_name)
        .map(drop)
        .ok_or_else(|| EngineError::Invalid {
            message: format!("`{shown}` is no file name of a wheel"),
            remedy: NAME_FORM.into(),
        })
}

fn refused(file_name: &str, error: PutBlobError<std::io::Error>) -> EngineError {
    match error {
        PutBlobError::Size { expected, .. } => EngineError::Invalid {
            message: format!("{file_name} has more than {expected} bytes"),
            remedy: "split it, or put its data into a model".into(),
        },
        PutBlobError::Source(error) => EngineError::Invalid {
            message: format!("{file_name} did not come whole: {error}"),
            remedy: "send it again".into(),
        },
        PutBlobError::Store(StoreError::File { source, .. }) => {
            EngineError::Failed(of_io("the wheel", &source))
        }
        PutBlobError::Store(error) => EngineError::Store(error),
        other => EngineError::Data(std::io::Error::other(other.to_string())),
    }
}

/// The wheels of one workspace, for a resolution.
pub(crate) struct ScopeWheels {
    pub(crate) store: Store,
    pub(crate) scope: Scope,
}

impl fmt::Debug for ScopeWheels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ScopeWheels");
        shown.field("scope", &self.scope).finish_non_exhaustive()
    }
}

#[async_trait]
impl PrivateWheels for ScopeWheels {
    async fn find(
        &self,
        address: &str,
    ) -> Result<Option<PrivateWheel>, Box<dyn std::error::Error + Send + Sync>> {
        let records = self.store.records();
        let found = match address.strip_prefix(BY_DIGEST) {
            Some(hex) => match Digest::from_hex(hex) {
                Ok(digest) => records.wheel_by_digest(&self.scope, &digest).await?,
                Err(_) => None,
            },
            None => match without_signature(address) {
                Some(url) => records.wheel_by_url(&self.scope, &url).await?,
                None => None,
            },
        };
        Ok(found.map(|row| PrivateWheel {
            path: self.store.blobs().path(&row.digest),
            name: row.name,
            file_name: row.file_name,
            sha256: row.digest,
            size_bytes: row.size_bytes,
        }))
    }
}

/// An address as rows of wheels have it.
fn without_signature(address: &str) -> Option<String> {
    let mut url = Url::parse(address).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    Some(url.into())
}
