//! What builds an image without kiln: the plan of its lock, and the archives.

use std::sync::Arc;

use kiln_api::{Failure, FailureClass};
use kiln_dockerfile::{BaseImage, Installer, Plan, PlanInput, plan};

use crate::backend::Archives;
use crate::engine::Engine;
use crate::submission::Submission;

/// A plan and what it names.
pub struct Ejected {
    /// The Dockerfile and its context.
    pub plan: Plan,
    /// The archives of the context; empty unless they were asked for.
    pub archives: Arc<dyn Archives>,
}

impl Engine {
    /// The plan of a definition's image; the definition is resolved where it has no lock.
    pub async fn eject(
        &self,
        submission: &Submission,
        installer: Installer,
        fetch: bool,
    ) -> Result<Ejected, Failure> {
        let locked = self.lock(submission, fetch).await?;
        let resolved = &locked.resolved;
        let pinned = resolved
            .base
            .as_ref()
            .map(|base| base.reference.with_digest(base.manifest_digest));
        let plan = plan(&PlanInput {
            definition: &submission.parsed.definition,
            spec_hash: submission.spec_hash,
            lock: &resolved.lock,
            facts: &resolved.facts,
            base: pinned
                .as_ref()
                .map_or(BaseImage::UserDockerfile, BaseImage::Pinned),
            installer,
            extra_ca: self.inner.settings.extra_ca.is_some(),
            private: !submission.parsed.credentials.is_empty(),
        });
        let plan = plan.map_err(|error| {
            let remedy = "change the environment as the message says";
            Failure::new(FailureClass::Invalid, error.to_string(), remedy)
        })?;
        Ok(Ejected {
            plan,
            archives: locked.archives,
        })
    }
}
