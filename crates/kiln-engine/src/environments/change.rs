//! Labels and the archive.

use kiln_spec::{EnvironmentName, EnvironmentVersion, Label, Which};
use kiln_store::{Action, Done, Scope};

use super::read::missing;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::submission::Origin;

/// Whether something goes to the archive or comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archived {
    /// It is neither listed nor `latest`; who names it still gets it.
    Yes,
    /// It is as it was before.
    No,
}

fn done(action: Action, detail: Option<String>, origin: &Origin) -> Done {
    Done {
        action,
        detail,
        actor: origin.actor.clone(),
        via: origin.via.clone(),
    }
}

/// Refuses to change what kiln ships.
fn changeable(name: &EnvironmentName) -> Result<(), EngineError> {
    if !name.is_curated() {
        return Ok(());
    }
    Err(EngineError::Invalid {
        message: format!("the environment `{name}` is curated, and can't be changed"),
        remedy: "clone it to a name of your own".into(),
    })
}

impl Engine {
    /// Sets labels on a version; a label that another version has moves.
    pub async fn label_environment(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        version: &EnvironmentVersion,
        labels: &[Label],
        origin: &Origin,
    ) -> Result<(), EngineError> {
        changeable(name)?;
        let texts: Vec<&str> = labels.iter().map(Label::as_str).collect();
        let done = done(Action::Labelled, Some(texts.join(", ")), origin);
        let records = self.inner.store.records();
        let labelled = records.label_environment(scope, name, version, labels, &done);
        if labelled.await? {
            return Ok(());
        }
        Err(missing(name, &Which::Version(version.clone())))
    }

    /// Takes a label away.
    pub async fn unlabel_environment(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        label: &Label,
        origin: &Origin,
    ) -> Result<(), EngineError> {
        changeable(name)?;
        let done = done(Action::Unlabelled, Some(label.to_string()), origin);
        let records = self.inner.store.records();
        let taken = records.unlabel_environment(scope, name, label, &done);
        if taken.await? {
            return Ok(());
        }
        Err(missing(name, &Which::Label(label.clone())))
    }

    /// Archives or restores a version, or the whole name; what is so already stays so.
    pub async fn archive_environment(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        version: Option<&EnvironmentVersion>,
        archived: Archived,
        origin: &Origin,
    ) -> Result<(), EngineError> {
        changeable(name)?;
        let archived = archived == Archived::Yes;
        let action = if archived {
            Action::Archived
        } else {
            Action::Restored
        };
        let done = done(action, None, origin);
        let records = self.inner.store.records();
        self.inner.known_documents.forget(scope, name);
        let changed = records
            .archive_environment(scope, name, version, archived, &done)
            .await?;
        self.inner.known_documents.forget(scope, name);
        if changed {
            return Ok(());
        }
        // Nothing changed: it is so already, or it is not there.
        match version {
            Some(version) => {
                let which = Which::Version(version.clone());
                self.environment(scope, name, &which).await.map(drop)
            }
            None => self
                .environment_versions(scope, name, 1, None)
                .await
                .map(drop),
        }
    }
}
