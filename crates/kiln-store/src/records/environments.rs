//! Named environments and their versions.

use async_trait::async_trait;
use kiln_oci::Digest;
use kiln_spec::{EnvironmentName, EnvironmentVersion, Label, SpecHash, Which};

use crate::error::StoreError;
use crate::rows::{
    Done, EnvironmentRow, HistoryRow, ImageRow, NameFilter, NewEnvironment, Registered,
};
use crate::scope::Scope;

/// Named environments of workspaces. Every change is written with its history in one transaction.
#[async_trait]
pub trait Environments: Send + Sync {
    /// Registers a document. Without a version: nothing happens where it equals the newest version,
    /// else it is the next number. With one: nothing happens where it equals that version, and another
    /// document is a conflict. A name that is archived comes back with its new version.
    async fn register_environment(
        &self,
        scope: &Scope,
        new: &NewEnvironment,
    ) -> Result<Registered, StoreError>;

    /// One version.
    async fn environment(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        which: &Which,
    ) -> Result<Option<EnvironmentRow>, StoreError>;

    /// The newest version of each name, by name.
    async fn environments(
        &self,
        scope: &Scope,
        filter: &NameFilter,
    ) -> Result<Vec<EnvironmentRow>, StoreError>;

    /// Versions of a name, newest first, archived ones too; `before` is one of them.
    async fn environment_versions(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        limit: u32,
        before: Option<&EnvironmentVersion>,
    ) -> Result<Vec<EnvironmentRow>, StoreError>;

    /// What was done to a name, newest first; `before` is an id.
    async fn environment_history(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        limit: u32,
        before: Option<i64>,
    ) -> Result<Vec<HistoryRow>, StoreError>;

    /// Sets labels on a version; a label that another version of the name has moves. False when there
    /// is no such version.
    async fn label_environment(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        version: &EnvironmentVersion,
        labels: &[Label],
        done: &Done,
    ) -> Result<bool, StoreError>;

    /// Takes a label away; false when there is none.
    async fn unlabel_environment(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        label: &Label,
        done: &Done,
    ) -> Result<bool, StoreError>;

    /// Archives or restores a version, or the whole name; false when there is none, or it is so
    /// already.
    async fn archive_environment(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        version: Option<&EnvironmentVersion>,
        archived: bool,
        done: &Done,
    ) -> Result<bool, StoreError>;

    /// The versions of a workspace that are this definition, by name and age: they share its images.
    async fn environments_of(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        limit: u32,
    ) -> Result<Vec<EnvironmentRow>, StoreError>;

    /// The versions of a workspace whose recorded image has this manifest, by name and age.
    async fn environments_on(
        &self,
        scope: &Scope,
        digest: &Digest,
        limit: u32,
    ) -> Result<Vec<EnvironmentRow>, StoreError>;

    /// An image by its generation, lost or not.
    async fn image_of_generation(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        generation: u64,
    ) -> Result<Option<ImageRow>, StoreError>;

    /// A lock by its hash, as JSON.
    async fn lock(&self, scope: &Scope, lock_hash: &str) -> Result<Option<String>, StoreError>;
}
