//! Uploads that registries keep open: a file each while they are, so that the next start can end what a
//! crash left.

use std::path::{Path, PathBuf};

use fs_err as fs;
use kiln_oci::Reference;
use kiln_registry::UploadJournal;
use kiln_store::Scope;
use serde::{Deserialize, Serialize};

use crate::engine::Inner;

/// An open upload, as its file has it.
#[derive(Debug, Serialize, Deserialize)]
struct OpenUpload {
    workspace: String,
    repository: String,
    location: String,
}

/// The uploads of a workspace, in the data folder.
pub(crate) struct Uploads {
    folder: PathBuf,
    workspace: String,
}

impl Uploads {
    pub(crate) fn new(folder: PathBuf, scope: &Scope) -> Self {
        Self {
            folder,
            workspace: scope.to_string(),
        }
    }
}

impl UploadJournal for Uploads {
    fn opened(&self, repository: &str, location: &str) -> String {
        let name = uuid::Uuid::now_v7().to_string();
        let upload = OpenUpload {
            workspace: self.workspace.clone(),
            repository: repository.to_owned(),
            location: location.to_owned(),
        };
        let json = serde_json::to_vec(&upload).expect("an upload is plain data");
        // An upload that is not written down is ended by the registry, later.
        if let Err(error) = fs::write(self.folder.join(&name), json) {
            tracing::warn!(%error, "an upload could not be written down");
        }
        name
    }

    fn closed(&self, entry: &str) {
        if let Err(error) = fs::remove_file(self.folder.join(entry)) {
            tracing::debug!(%error, "an upload was not written down");
        }
    }
}

/// The files of uploads that are open now.
pub(crate) fn open_uploads(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}

impl Inner {
    /// Ends uploads of an earlier process. What a registry does not answer to is tried at the next start.
    pub(crate) async fn end_uploads(&self, left: Vec<PathBuf>) {
        for path in left {
            if self.drain.is_cancelled() {
                return;
            }
            match self.end_upload(&path).await {
                Ok(()) => {
                    if let Err(error) = fs::remove_file(&path) {
                        tracing::warn!(%error, "an ended upload stays written down");
                    }
                }
                Err(reason) => tracing::warn!("an upload was not ended: {reason}"),
            }
        }
    }

    async fn end_upload(&self, path: &Path) -> Result<(), String> {
        let json = fs::read(path).map_err(|error| error.to_string())?;
        // A torn file names nothing that could be ended.
        let Ok(upload) = serde_json::from_slice::<OpenUpload>(&json) else {
            return Ok(());
        };
        let (Ok(scope), Ok(repository)) = (
            upload.workspace.parse::<Scope>(),
            upload.repository.parse::<Reference>(),
        ) else {
            return Ok(());
        };
        let access = self.access(&scope).await;
        let access = access.map_err(|error| error.to_string())?;
        let ended = access
            .registry
            .abandon_upload(&repository, &upload.location);
        ended.await.map_err(|error| error.to_string())
    }
}
