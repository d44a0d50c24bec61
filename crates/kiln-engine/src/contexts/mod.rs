//! Build contexts: a folder with a Dockerfile, uploaded once, kept by content for one workspace.

mod archive;

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use futures::Stream;
use kiln_api::{Failure, FailureClass};
use kiln_dockerfile::UserContext;
use kiln_oci::Digest;
use kiln_spec::Base;
use kiln_store::{ContextRow, NewContext, PutBlobError, Scope, StoreError};
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::engine::{Engine, Inner};
use crate::error::{EngineError, of_io, of_store};
use crate::submission::Origin;

pub use archive::{CONTEXT_FILES_LIMIT, ContextArchiveError};

const UPLOAD: &str =
    "upload its folder: `kiln env import NAME --context DIR`, or POST it to /v1/contexts";

impl Engine {
    /// Keeps the files of a tar as a build context. Order, times and owners in the tar do not count: equal
    /// folders are one context. Tells whether it is new.
    ///
    /// # Errors
    /// When the tar has anything but files, folders and links that stay below its root, too many or too
    /// large ones, or there is no room.
    pub async fn upload_context(
        &self,
        scope: &Scope,
        tar: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
        origin: &Origin,
    ) -> Result<(ContextRow, bool), EngineError> {
        self.inner.check_room()?;
        let (limit, folder) = (
            self.inner.settings.context_bytes,
            self.inner.settings.work_dir.clone(),
        );
        let blobs = self.inner.store.blobs().clone();
        let reader = SyncIoBridge::new(StreamReader::new(tar));
        let reading = tokio::task::spawn_blocking(move || {
            fs_err::create_dir_all(&folder)?;
            let read = archive::normalise(reader, limit, &folder);
            let (mut tar, files) = read.map_err(EngineError::from)?;
            let put = blobs.put_from(u64::MAX, &mut tar);
            let (digest, size_bytes) = put.map_err(|error| match error {
                PutBlobError::Store(StoreError::File { source, .. })
                | PutBlobError::Source(source) => {
                    EngineError::Failed(of_io("the context", &source))
                }
                PutBlobError::Store(error) => EngineError::Store(error),
                other => EngineError::Data(io::Error::other(other.to_string())),
            })?;
            Ok::<_, EngineError>((digest, size_bytes, files))
        });
        let (digest, size_bytes, files) = reading.await.map_err(io::Error::other)??;
        let new = NewContext {
            digest,
            size_bytes,
            files,
            actor: origin.actor.clone(),
            via: origin.via.clone(),
        };
        let records = self.inner.store.records();
        Ok(records.keep_context(scope, &new).await?)
    }

    /// A build context of a workspace.
    pub async fn context(&self, scope: &Scope, digest: &Digest) -> Result<ContextRow, EngineError> {
        let found = self.inner.store.records().context(scope, digest).await?;
        found.ok_or_else(|| EngineError::NotFound {
            what: format!("build context {digest}"),
        })
    }
}

impl Inner {
    /// What a base's stored context has for its build; `None` where the base has none.
    ///
    /// # Errors
    /// When the workspace does not keep it, or it has no such Dockerfile.
    pub(crate) async fn user_context(
        &self,
        scope: &Scope,
        base: &Base,
    ) -> Result<Option<UserContext>, Failure> {
        let Some((hex, dockerfile_path)) = base.stored_context() else {
            return Ok(None);
        };
        let missing = || {
            let message = format!("the workspace keeps no build context sha256:{hex}");
            Failure::new(FailureClass::NotFound, message, UPLOAD)
        };
        let digest = Digest::from_hex(hex).map_err(|_| missing())?;
        let row = self.store.records().context(scope, &digest).await;
        let row = row.map_err(|error| of_store(&error))?.ok_or_else(missing)?;
        let (path, name): (PathBuf, _) =
            (self.store.blobs().path(&digest), dockerfile_path.to_owned());
        let reading = tokio::task::spawn_blocking(move || {
            let tar = fs_err::File::open(path)?;
            archive::dockerfile(io::BufReader::new(tar), &name)
        });
        let read = reading.await.map_err(io::Error::other).flatten();
        let read = read.map_err(|error| of_io("the build context", &error))?;
        let dockerfile = read.ok_or_else(|| {
            Failure::new(
                FailureClass::Invalid,
                format!("the build context has no file `{dockerfile_path}` of text below 100 KiB"),
                "name its Dockerfile in `dockerfilePath`, or upload a folder that has it",
            )
        })?;
        Ok(Some(UserContext {
            dockerfile,
            dockerfile_path: dockerfile_path.to_owned(),
            tar: row.digest,
        }))
    }
}
