//! What is registered.

use kiln_spec::{EnvironmentName, EnvironmentReference, EnvironmentVersion, Which};
use kiln_store::{EnvironmentRow, HistoryRow, ImageRow, NameFilter, Scope};

use crate::engine::Engine;
use crate::error::EngineError;

/// A page of versions.
#[derive(Debug, Clone)]
pub struct VersionPage {
    /// The versions of this page.
    pub rows: Vec<EnvironmentRow>,
    /// Whether there may be more.
    pub more: bool,
}

/// The address of an image, `HOST/...@sha256:...`.
pub fn image_of(image: &ImageRow) -> String {
    format!("{}@{}", image.repository, image.digest)
}

/// Nothing of this name and version.
pub(super) fn missing(name: &EnvironmentName, which: &Which) -> EngineError {
    let reference = EnvironmentReference {
        name: name.clone(),
        which: which.clone(),
    };
    EngineError::NotFound {
        what: format!("environment `{reference}`"),
    }
}

impl Engine {
    /// One version of an environment, the workspace's or a curated one.
    pub async fn environment(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        which: &Which,
    ) -> Result<EnvironmentRow, EngineError> {
        let found = if name.is_curated() {
            self.inner.curated.get(name, which).cloned()
        } else {
            let records = self.inner.store.records();
            records.environment(scope, name, which).await?
        };
        found.ok_or_else(|| missing(name, which))
    }

    /// The newest version of each name, by name; curated ones are among them.
    pub async fn environments(
        &self,
        scope: &Scope,
        filter: &NameFilter,
    ) -> Result<VersionPage, EngineError> {
        let records = self.inner.store.records();
        let mut rows = records.environments(scope, filter).await?;
        let more = rows.len() >= filter.limit as usize;
        let prefix = filter.prefix.as_deref().unwrap_or_default();
        let last = rows.last().filter(|_| more).map(|row| row.name.clone());
        let curated = self.inner.curated.all().filter(|row| {
            row.name.as_str().starts_with(prefix)
                && filter.after.as_ref().is_none_or(|after| row.name > *after)
                && last.as_ref().is_none_or(|last| row.name < *last)
        });
        rows.extend(curated.cloned());
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        let more = more || rows.len() > filter.limit as usize;
        rows.truncate(filter.limit as usize);
        Ok(VersionPage { rows, more })
    }

    /// Versions of a name, newest first, archived ones too.
    pub async fn environment_versions(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        limit: u32,
        before: Option<&EnvironmentVersion>,
    ) -> Result<VersionPage, EngineError> {
        let rows = if name.is_curated() {
            let row = self.inner.curated.get(name, &Which::Latest);
            row.filter(|_| before.is_none())
                .into_iter()
                .cloned()
                .collect()
        } else {
            let records = self.inner.store.records();
            records
                .environment_versions(scope, name, limit, before)
                .await?
        };
        if rows.is_empty() && before.is_none() {
            return Err(missing(name, &Which::Latest));
        }
        let more = rows.len() >= limit as usize && !name.is_curated();
        Ok(VersionPage { rows, more })
    }

    /// What was done to a name, newest first; `before` is the id of an entry.
    pub async fn environment_history(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        limit: u32,
        before: Option<i64>,
    ) -> Result<Vec<HistoryRow>, EngineError> {
        let records = self.inner.store.records();
        let rows = records
            .environment_history(scope, name, limit, before)
            .await?;
        if rows.is_empty() && before.is_none() && !name.is_curated() {
            return Err(missing(name, &Which::Latest));
        }
        Ok(rows)
    }

    /// The versions of a workspace that share the image of this one, itself among them.
    pub async fn sharing_environments(
        &self,
        scope: &Scope,
        row: &EnvironmentRow,
        limit: u32,
    ) -> Result<Vec<EnvironmentRow>, EngineError> {
        let records = self.inner.store.records();
        let found = records.environments_of(scope, &row.spec_hash, limit);
        Ok(found.await?)
    }

    /// The current image of a version's definition, unless the registry has lost it; nothing is started.
    pub async fn environment_image(
        &self,
        scope: &Scope,
        row: &EnvironmentRow,
    ) -> Result<Option<ImageRow>, EngineError> {
        let records = self.inner.store.records();
        Ok(records.current_image(scope, &row.spec_hash).await?)
    }
}
