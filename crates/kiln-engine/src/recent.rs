//! Requests that were hits, by their bytes: the same bytes again need no parsing.

use kiln_api::{BuildState, BuildStatus, EnvironmentId};
use kiln_oci::Digest;
use kiln_spec::SpecHash;
use kiln_store::Scope;
use quick_cache::sync::Cache;

use crate::engine::Engine;
use crate::submission::Submission;
use crate::submit::status_of;

/// Requests that are kept, a few hundred bytes each.
const KEPT: usize = 16_384;

/// What a request asks for, when it asks for an image and nothing else.
#[derive(Debug, Clone)]
pub struct Question {
    scope: Scope,
    spec_hash: SpecHash,
    warnings: Vec<String>,
    /// Of a request that names an environment: how often any was changed before it was looked at.
    changes: Option<u64>,
    /// The environment, once it is answered.
    environment: Option<EnvironmentId>,
}

impl Question {
    /// The workspace: who may not build there gets no answer from memory either.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl Submission {
    /// The plain question; none when the request brings credentials, or wants more than an image.
    pub fn question(&self) -> Option<Question> {
        let options = &self.options;
        let plain = !options.refresh
            && !options.retry
            && !options.dry_run
            && options.registry.is_none()
            && options.request.is_none()
            && options.callbacks.is_empty()
            && self.parsed.credentials.is_empty();
        plain.then(|| Question {
            scope: self.scope.clone(),
            spec_hash: self.spec_hash,
            warnings: self.warnings(),
            changes: self.names_environment().then_some(self.changes),
            environment: None,
        })
    }
}

/// Questions by the digest of the request's body. What a body means changes with nothing but kiln itself
/// and, where it names an environment, with what is registered.
pub(crate) struct Recent(Cache<Digest, Question>);

impl Recent {
    pub(crate) fn new() -> Self {
        Self(Cache::new(KEPT))
    }
}

impl Engine {
    /// What a request of these bytes asks for, when they were a hit before.
    pub fn asked_before(&self, body: &Digest) -> Option<Question> {
        self.inner.recent.0.get(body)
    }

    /// Keeps what a request asked for that was a hit.
    pub fn keep_question(&self, body: Digest, question: Question, answer: &BuildStatus) {
        if answer.cached && answer.state == BuildState::Ready {
            let environment = answer.environment.clone();
            let question = Question {
                environment,
                ..question
            };
            self.inner.recent.0.insert(body, question);
        }
    }

    /// The answer, when memory knows the image.
    pub fn answer_from_memory(&self, question: &Question) -> Option<BuildStatus> {
        let inner = &self.inner;
        if !inner.taking_work() {
            return None;
        }
        let changes = inner.known_documents.changes();
        if question.changes.is_some_and(|known| known != changes) {
            return None;
        }
        let destination = inner.settings.registry.as_ref()?;
        let key = (question.scope.clone(), question.spec_hash);
        let hit = inner.known(&key, destination)?;
        let status = status_of(&question.spec_hash, &question.warnings, BuildState::Ready);
        Some(hit.status(BuildStatus {
            environment: question.environment.clone(),
            ..status
        }))
    }
}
