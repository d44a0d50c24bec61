//! What builds an image without kiln: the plan of its lock, and the archives.

use std::sync::Arc;

use kiln_api::{Failure, FailureClass};
use kiln_dockerfile::{BaseImage, Installer, Plan, PlanInput, plan};
use kiln_resolve::Resolved;

use crate::backend::Archives;
use crate::engine::Engine;
use crate::error::of_resolve;
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
        let plan = self
            .planned(submission, &locked.resolved, installer)
            .await?;
        Ok(Ejected {
            plan,
            archives: locked.archives,
        })
    }
    /// The Dockerfile of a definition's image by its lock, after the user's own where there is one; none where
    /// the definition has no lock yet. Nothing is resolved, kept or started.
    pub async fn known_dockerfile(
        &self,
        submission: &Submission,
    ) -> Result<Option<String>, Failure> {
        let inner = &self.inner;
        let key = (submission.scope.clone(), submission.spec_hash);
        let Some(lock) = inner.stored_lock(&key).await? else {
            return Ok(None);
        };
        let access = inner.build_access(&key.0).await?;
        let definition = &submission.parsed.definition;
        let archives = inner.held_archives(None);
        let request = inner.resolve_request(&key.0, definition, archives, &access);
        let resolved = inner.resolver.reuse(&request, lock).await;
        let resolved = resolved.map_err(|error| of_resolve(&error))?;
        let plan = self.planned(submission, &resolved, Installer::Kiln).await?;
        let own = plan.dockerfile.to_text();
        Ok(Some(match &plan.user_dockerfile {
            Some(user) => format!("{}\n\n{own}", user.text.trim_end()),
            None => own,
        }))
    }

    async fn planned(
        &self,
        submission: &Submission,
        resolved: &Resolved,
        installer: Installer,
    ) -> Result<Plan, Failure> {
        let pinned = resolved
            .base
            .as_ref()
            .map(|base| base.reference.with_digest(base.manifest_digest));
        let context = self
            .inner
            .user_context(&submission.scope, &submission.parsed.definition.base)
            .await?;
        let plan = plan(&PlanInput {
            definition: &submission.parsed.definition,
            spec_hash: submission.spec_hash,
            lock: &resolved.lock,
            facts: &resolved.facts,
            base: pinned
                .as_ref()
                .map_or(BaseImage::UserDockerfile, BaseImage::Pinned),
            context: context.as_ref(),
            installer,
            extra_ca: self.inner.settings.extra_ca.is_some(),
            private: !submission.parsed.credentials.is_empty(),
        });
        plan.map_err(|error| {
            let remedy = "change the environment as the message says";
            Failure::new(FailureClass::Invalid, error.to_string(), remedy)
        })
    }
}
