//! Models: files by content, versions by name.

mod archive;

use bytes::Bytes;
use futures::Stream;
use kiln_store::{ModelFile, ModelFilter, ModelName, ModelNotes, ModelRow, NewModel, Scope};

use crate::engine::Engine;
use crate::error::EngineError;

pub(crate) use archive::send;
pub use archive::{MODEL_FILES_LIMIT, ModelArchiveError};

impl Engine {
    /// Keeps the files of a tar as blobs. Nothing holds them until a model of them is registered: they are
    /// there for the time of grace of a collection.
    ///
    /// # Errors
    /// When the tar has anything but files and folders below its root, too many or too large ones, or
    /// there is no room.
    pub async fn receive_model_files(
        &self,
        tar: impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin + 'static,
    ) -> Result<Vec<ModelFile>, EngineError> {
        self.inner.check_room()?;
        let limit = self.inner.settings.model_bytes;
        let blobs = self.inner.store.blobs().clone();
        archive::receive(tar, blobs, limit)
            .await
            .map_err(EngineError::from)
    }

    /// The files of a model as a tar, in the order of their paths.
    pub fn model_tar(
        &self,
        model: &ModelRow,
    ) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
        archive::send(model.files.clone(), self.inner.store.blobs().clone())
    }

    /// Makes the next version of a name from blobs that are there.
    pub async fn register_model(
        &self,
        scope: &Scope,
        mut new: NewModel,
    ) -> Result<ModelRow, EngineError> {
        if new.files.is_empty() {
            return Err(EngineError::Invalid {
                message: format!("the model `{}` has no files", new.name),
                remedy: "give a file, or a folder with files in it".into(),
            });
        }
        new.files.sort_by(|a, b| a.path.cmp(&b.path));
        let records = self.inner.store.records();
        let row = records.register_model(scope, &new).await?;
        // A collection may have come between: who registered must not find holes later.
        let blobs = self.inner.store.blobs();
        if let Some(gone) = row.files.iter().find(|file| !blobs.contains(&file.digest)) {
            let message = format!("the file `{}` of the model is gone", gone.path);
            records.delete_model(scope, &row.name, row.version).await?;
            return Err(EngineError::Invalid {
                message,
                remedy: "send the model again".into(),
            });
        }
        Ok(row)
    }

    /// A version of a model, or the newest.
    pub async fn model(
        &self,
        scope: &Scope,
        name: &ModelName,
        version: Option<u32>,
    ) -> Result<ModelRow, EngineError> {
        let found = self.inner.store.records().model(scope, name, version);
        found.await?.ok_or_else(|| missing(name, version))
    }

    /// Models by name, of each name the newest first.
    pub async fn models(
        &self,
        scope: &Scope,
        filter: &ModelFilter,
    ) -> Result<Vec<ModelRow>, EngineError> {
        Ok(self.inner.store.records().models(scope, filter).await?)
    }

    /// Says something else of a version.
    pub async fn note_model(
        &self,
        scope: &Scope,
        name: &ModelName,
        version: u32,
        notes: &ModelNotes,
    ) -> Result<(), EngineError> {
        let records = self.inner.store.records();
        let noted = records.note_model(scope, name, version, notes).await?;
        noted
            .then_some(())
            .ok_or_else(|| missing(name, Some(version)))
    }

    /// Deletes a version.
    pub async fn delete_model(
        &self,
        scope: &Scope,
        name: &ModelName,
        version: u32,
    ) -> Result<(), EngineError> {
        let records = self.inner.store.records();
        let deleted = records.delete_model(scope, name, version).await?;
        deleted
            .then_some(())
            .ok_or_else(|| missing(name, Some(version)))
    }
}

fn missing(name: &ModelName, version: Option<u32>) -> EngineError {
    let version = version.map_or(String::new(), |version| format!(":{version}"));
    EngineError::NotFound {
        what: format!("model `{name}{version}`"),
    }
}
