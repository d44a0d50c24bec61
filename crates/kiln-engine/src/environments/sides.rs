//! What is known of a version, for a comparison.

use kiln_api::{EnvironmentDiff, EnvironmentId};
use kiln_lock::Lock;
use kiln_oci::{Platform, Reference};
use kiln_spec::Definition;
use kiln_store::{EnvironmentRow, ImageRow, Scope};

use super::diff::{Side, compare};
use super::read::image_of;
use crate::engine::{Engine, Inner};
use crate::error::EngineError;

impl Engine {
    /// How two versions differ; they may be of different names.
    pub async fn diff_environments(
        &self,
        scope: &Scope,
        from: &EnvironmentRow,
        to: &EnvironmentRow,
    ) -> Result<EnvironmentDiff, EngineError> {
        let from = self.inner.side(scope, from).await?;
        let to = self.inner.side(scope, to).await?;
        Ok(compare(&from, &to))
    }
}

impl Inner {
    /// The image that a version was built as, else its definition's current one.
    pub(crate) async fn recorded_image(
        &self,
        scope: &Scope,
        row: &EnvironmentRow,
    ) -> Result<Option<ImageRow>, EngineError> {
        let records = self.store.records();
        let recorded = match row.generation {
            Some(generation) => {
                records
                    .image_of_generation(scope, &row.spec_hash, generation)
                    .await?
            }
            None => None,
        };
        match recorded {
            Some(image) => Ok(Some(image)),
            None => Ok(records.current_image(scope, &row.spec_hash).await?),
        }
    }

    /// The lock of an image, or the definition's where there is no image.
    pub(crate) async fn recorded_lock(
        &self,
        scope: &Scope,
        row: &EnvironmentRow,
        image: Option<&ImageRow>,
    ) -> Result<Option<Lock>, EngineError> {
        let records = self.store.records();
        let json = match image.and_then(|image| image.lock_hash.as_deref()) {
            Some(hash) => records.lock(scope, hash).await?,
            None => records.lock_of(scope, &row.spec_hash).await?,
        };
        Ok(json.and_then(|json| Lock::from_json(&json).ok()))
    }

    async fn side(&self, scope: &Scope, row: &EnvironmentRow) -> Result<Side, EngineError> {
        let parsed = row.document.parse(row.name.as_str());
        let definition = parsed.map_err(EngineError::Spec)?.definition;
        let image = self.recorded_image(scope, row).await?;
        let lock = self.recorded_lock(scope, row, image.as_ref()).await?;
        let layers = match &image {
            Some(image) => self.layers(scope, image, &definition).await,
            None => None,
        };
        Ok(Side {
            id: EnvironmentId {
                name: row.name.to_string(),
                version: row.version.to_string(),
            },
            document: row.digest.clone(),
            definition,
            lock,
            size_bytes: image.map(|image| image.size_bytes),
            layers,
        })
    }

    /// The layers of an image, where the registry tells them.
    async fn layers(
        &self,
        scope: &Scope,
        image: &ImageRow,
        definition: &Definition,
    ) -> Option<Vec<(kiln_oci::Digest, u64)>> {
        let reference: Reference = image_of(image).parse().ok()?;
        let platform: Platform = definition.platform.parse().unwrap_or_default();
        let access = self.access(scope).await.ok()?;
        let found = access.registry.resolve_platform(&reference, &platform);
        match found.await {
            Ok(found) => {
                let layers = found.manifest.layers.iter();
                Some(layers.map(|layer| (layer.digest, layer.size)).collect())
            }
            Err(error) => {
                tracing::warn!(%error, image = %reference, "the layers of an image could not be read");
                None
            }
        }
    }
}
