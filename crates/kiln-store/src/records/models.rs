//! Models of workspaces.

use async_trait::async_trait;

use crate::error::StoreError;
use crate::model_names::ModelName;
use crate::rows::{ModelFilter, ModelNotes, ModelRow, NewModel};
use crate::scope::Scope;

/// Models of workspaces.
#[async_trait]
pub trait Models: Send + Sync {
    /// Makes the next version of a name. From then on its blobs are held for as long as the version
    /// is there.
    async fn register_model(&self, scope: &Scope, new: &NewModel) -> Result<ModelRow, StoreError>;

    /// A version, or the newest.
    async fn model(
        &self,
        scope: &Scope,
        name: &ModelName,
        version: Option<u32>,
    ) -> Result<Option<ModelRow>, StoreError>;

    /// Models by name, of each name the newest first.
    async fn models(
        &self,
        scope: &Scope,
        filter: &ModelFilter,
    ) -> Result<Vec<ModelRow>, StoreError>;

    /// Says something else of a version; false when there is none.
    async fn note_model(
        &self,
        scope: &Scope,
        name: &ModelName,
        version: u32,
        notes: &ModelNotes,
    ) -> Result<bool, StoreError>;

    /// Deletes a version and lets go of its blobs; false when there is none.
    async fn delete_model(
        &self,
        scope: &Scope,
        name: &ModelName,
        version: u32,
    ) -> Result<bool, StoreError>;
}
