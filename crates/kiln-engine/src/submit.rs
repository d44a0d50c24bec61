//! Get-or-create: an answer that is known, a build that runs, or a new one.

use std::sync::Arc;

use kiln_api::{BuildState, BuildStatus};
use kiln_spec::SpecHash;
use kiln_store::{
    Answer, BuildRow, EventType, NewBuild, NewEvent, Received, Scope, Started, Terms,
};

use crate::active::{Ticket, Waiting};
use crate::backend::Backend;
use crate::engine::{Engine, Inner, Key};
use crate::error::{EngineError, of_io};
use crate::failpoint::failpoint;
use crate::lookup::repository;
use crate::run::cancelled;
use crate::submission::Submission;

impl Engine {
    /// Gets the image of a definition, or starts or joins the build that makes it.
    pub async fn submit(&self, mut submission: Submission) -> Result<Ticket, EngineError> {
        let engine = &self.inner;
        if !engine.taking_work() {
            return Err(EngineError::Stopping);
        }
        let key = (submission.scope.clone(), submission.spec_hash);
        let destination = engine.destination(&submission)?;
        if let Some(ticket) = self.answered_before(&submission).await? {
            return Ok(ticket);
        }
        self.register_with(&mut submission).await?;
        if !submission.options.refresh
            && let Some(hit) = engine.known(&key, &destination)
        {
            return engine
                .kept(
                    &submission,
                    Ticket::known(hit.status(submission.status(BuildState::Ready))),
                )
                .await;
        }
        if let Some(ticket) = engine.join(&key, &submission) {
            return engine.kept(&submission, ticket).await;
        }
        let gate = engine.gate(&key);
        let ticket = {
            let _one_at_a_time = gate.lock().await;
            self.look_and_start(&key, &destination, &submission).await
        };
        engine.leave_gate(&key, gate);
        ticket
    }

    async fn look_and_start(
        &self,
        key: &Key,
        destination: &str,
        submission: &Submission,
    ) -> Result<Ticket, EngineError> {
        let engine = &self.inner;
        if let Some(ticket) = engine.join(key, submission) {
            return engine.kept(submission, ticket).await;
        }
        if !submission.options.refresh {
            if let Some(hit) = engine.find(key, destination, submission).await? {
                let ticket = Ticket::known(hit.status(submission.status(BuildState::Ready)));
                return engine.kept(submission, ticket).await;
            }
            if !submission.options.dry_run {
                let credentials = &submission.parsed.credentials;
                engine.keep_credentials(&key.0, credentials).await?;
            }
            if let Some(ticket) = engine.remembered(key, submission).await? {
                return engine.kept(submission, ticket).await;
            }
        }
        let backend = self.choose(submission.options.backend)?;
        if submission.options.dry_run {
            return Ok(Ticket::known(BuildStatus {
                backend: Some(backend.name().to_owned()),
                ..submission.status(BuildState::Queued)
            }));
        }
        self.start(key, destination, backend.as_ref(), submission)
            .await
    }

    /// Writes the build's row, which is committed when this returns, and wakes the worker.
    async fn start(
        &self,
        key: &Key,
        destination: &str,
        backend: &dyn Backend,
        submission: &Submission,
    ) -> Result<Ticket, EngineError> {
        let inner = &self.inner;
        inner.check_room()?;
        inner
            .keep_credentials(&key.0, &submission.parsed.credentials)
            .await?;
        let new = NewBuild {
            canonical: submission.parsed.definition.canonical_json(),
            repository: repository(destination, &key.1),
            backend: backend.name().to_owned(),
            refresh: submission.options.refresh,
            actor: submission.origin.actor.clone(),
            via: submission.origin.via.clone(),
            terms: Terms {
                queue_bound: Some(inner.settings.queue_bound),
                scope_bound: Some(inner.settings.scope_bound),
                request: submission.options.request.clone(),
                callbacks: submission.options.callbacks.clone(),
            },
        };
        let records = inner.store.records();
        failpoint("before-accepted");
        let started = records.begin_build(&key.0, &key.1, &new).await?;
        failpoint("after-accepted");
        let (row, joined) = match started {
            Started::New(row) => (row, false),
            Started::Joined(row) => (row, true),
            Started::Repeated(answer) => return self.repeated(&answer, submission).await,
            Started::Conflict => return Err(EngineError::Conflict),
            Started::Full { queued, in_scope } => {
                return Err(EngineError::Full { queued, in_scope });
            }
        };
        let status = BuildStatus {
            build_id: Some(row.id.clone()),
            backend: Some(row.backend.clone()),
            joined,
            ..submission.status(BuildState::Queued)
        };
        let active = inner.activate(key, &row.id, status.clone());
        inner.work.notify_one();
        inner.outbox.notify_one();
        Ok(Ticket::attached(&active, &submission.origin.actor, status))
    }

    /// The answer to the same request under the same key, when it came before.
    async fn answered_before(
        &self,
        submission: &Submission,
    ) -> Result<Option<Ticket>, EngineError> {
        let Some(request) = &submission.options.request else {
            return Ok(None);
        };
        match self.inner.store.records().receive(request).await? {
            Received::New => Ok(None),
            Received::Same(answer) => self.repeated(&answer, submission).await.map(Some),
            Received::Conflict => Err(EngineError::Conflict),
        }
    }

    /// The build of an earlier answer, as it is now.
    async fn repeated(&self, id: &str, submission: &Submission) -> Result<Ticket, EngineError> {
        let missing = || EngineError::NotFound {
            what: format!("build `{id}`"),
        };
        let row = self
            .inner
            .store
            .records()
            .build(id)
            .await?
            .ok_or_else(missing)?;
        let status = BuildStatus {
            warnings: submission.warnings(),
            joined: true,
            ..self.inner.status_of_row(&row)
        };
        if row.is_over() {
            return Ok(Ticket::known(status));
        }
        let active = self
            .inner
            .activate(&(row.scope, row.spec_hash), id, status.clone());
        Ok(Ticket::attached(&active, &submission.origin.actor, status))
    }

    /// Withdraws waiters from a build. When that leaves nobody, the build is stopped, and has stopped
    /// when this returns.
    pub async fn withdraw(&self, id: &str, who: &Waiting) -> Result<BuildStatus, EngineError> {
        let missing = || EngineError::NotFound {
            what: format!("build `{id}`"),
        };
        let records = self.inner.store.records();
        let row = records.build(id).await?.ok_or_else(missing)?;
        if row.is_over() {
            return Ok(self.inner.status_of_row(&row));
        }
        let key = (row.scope.clone(), row.spec_hash);
        let active = self
            .inner
            .activate(&key, id, self.inner.status_of_row(&row));
        if active.withdraw(who) {
            let mut updates = active.status.subscribe();
            active.cancel.cancel();
            self.end_waiting(&key, id).await?;
            // Whoever works on it tells the end; the sender lives in `active`.
            let _ = updates.wait_for(|status| status.state.is_final()).await;
        }
        let row = records.build(id).await?.ok_or_else(missing)?;
        Ok(self.inner.status_of_row(&row))
    }

    /// Ends a cancelled build that no worker has begun; one that is begun is ended by its worker.
    async fn end_waiting(&self, key: &Key, id: &str) -> Result<(), EngineError> {
        let inner = &self.inner;
        let records = inner.store.records();
        let waits = |row: &BuildRow| row.state == BuildState::Queued.as_str();
        if !records.build(id).await?.as_ref().is_some_and(waits) {
            return Ok(());
        }
        // A worker that claims it at this moment finds its fence stale, and leaves it alone.
        let Some(row) = records.take_over(id).await? else {
            return Ok(());
        };
        let json = serde_json::to_string(&cancelled()).expect("a failure is plain data");
        let state = BuildState::Cancelled.as_str();
        records
            .finish_failed(id, row.fence, state, &json, None)
            .await?;
        let active = inner.active.get(key).map(|entry| Arc::clone(&entry));
        if let (Some(active), Some(row)) = (active, records.build(id).await?) {
            inner.over(key, &active, inner.status_of_row(&row));
        }
        Ok(())
    }
}

impl Inner {
    /// Where a submission's image goes: `HOST[/PREFIX]`.
    fn destination(&self, submission: &Submission) -> Result<String, EngineError> {
        let registry = submission
            .options
            .registry
            .as_ref()
            .or(self.settings.registry.as_ref());
        registry.cloned().ok_or_else(|| EngineError::Invalid {
            message: "no registry is configured for images".into(),
            remedy: "give --registry HOST[/PREFIX], or set `registry` in the configuration".into(),
        })
    }

    /// The build of this definition that is not over.
    fn join(&self, key: &Key, submission: &Submission) -> Option<Ticket> {
        let active = self.active.get(key)?;
        if active.cancel.is_cancelled() {
            // It ends; the next look finds it ended.
            return None;
        }
        let own = BuildStatus {
            joined: true,
            ..submission.status(BuildState::Queued)
        };
        if submission.options.dry_run {
            // Who only looks is nobody who waits.
            let now = active.status.borrow().clone();
            return Some(Ticket::known(BuildStatus {
                joined: true,
                cached: false,
                warnings: own.warnings,
                environment: own.environment,
                ..now
            }));
        }
        Some(Ticket::attached(&active, &submission.origin.actor, own))
    }

    /// Keeps which build answered a request that may come again, and lets its receivers hear the end:
    /// who asks by a message hears of a hit as of a build.
    async fn kept(&self, submission: &Submission, ticket: Ticket) -> Result<Ticket, EngineError> {
        let options = &submission.options;
        if options.dry_run || (options.request.is_none() && options.callbacks.is_empty()) {
            return Ok(ticket);
        }
        let answer = Answer {
            request: options.request.clone(),
            build_id: ticket.status().build_id.clone(),
            callbacks: options.callbacks.clone(),
            known: known(&submission.scope, ticket.status()),
        };
        let records = self.store.records();
        match records.answer(&submission.scope, &answer).await? {
            Received::Conflict => return Err(EngineError::Conflict),
            Received::New if !answer.callbacks.is_empty() => self.outbox.notify_one(),
            Received::New | Received::Same(_) => {}
        }
        Ok(ticket)
    }

    /// Refuses work that would fail for want of space, before it is accepted.
    pub(crate) fn check_room(&self) -> Result<(), EngineError> {
        let folder = self.store.data().root();
        let free = crate::room::free_bytes(folder).map_err(EngineError::Data)?;
        if free >= self.settings.disk_reserve_bytes {
            return Ok(());
        }
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        Err(EngineError::Failed(of_io("new builds", &full)))
    }
}

/// The event that tells a known end.
fn known(scope: &Scope, status: &BuildStatus) -> Option<NewEvent> {
    let kind = match status.state {
        BuildState::Ready => EventType::Ready,
        BuildState::Failed => EventType::Failed,
        BuildState::Cancelled => EventType::Cancelled,
        BuildState::Queued | BuildState::Resolving | BuildState::Building | BuildState::Pushing => {
            return None;
        }
    };
    let payload = serde_json::json!({
        "build_id": status.build_id,
        "workspace": scope.as_str(),
        "name": status.name,
        "spec_hash": status.spec_hash,
        "state": status.state,
        "backend": status.backend,
        "attempt": null,
        "image": status.image,
        "generation": status.generation,
        "error": status.error,
    });
    Some(NewEvent {
        kind,
        build_id: status.build_id.clone(),
        payload: payload.to_string(),
    })
}

impl Submission {
    /// A status with nothing but the identity and the document's warnings.
    pub(crate) fn status(&self, state: BuildState) -> BuildStatus {
        BuildStatus {
            environment: self.environment.clone(),
            ..status_of(&self.spec_hash, &self.warnings(), state)
        }
    }
}

/// A status with nothing but the identity and warnings.
pub(crate) fn status_of(
    spec_hash: &SpecHash,
    warnings: &[String],
    state: BuildState,
) -> BuildStatus {
    BuildStatus {
        name: spec_hash.image_name(),
        image: None,
        spec_hash: spec_hash.to_hex(),
        environment: None,
        build_id: None,
        state,
        generation: None,
        cached: false,
        joined: false,
        waiter: None,
        error: None,
        warnings: warnings.to_vec(),
        backend: None,
    }
}
