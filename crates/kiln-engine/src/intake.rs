//! Messages as requests: what a webhook or a queue brings.

use async_trait::async_trait;
use kiln_api::BuildRequest;
use kiln_oci::Digest;
use kiln_store::RequestKey;

use crate::engine::Engine;
use crate::trigger::{Accepted, Intake, Message, Refused};

#[async_trait]
impl Intake for Engine {
    async fn accept(&self, message: Message) -> Result<Accepted, Refused> {
        let request: BuildRequest = serde_json::from_slice(&message.body).map_err(|error| {
            Refused::invalid(
                format!("the message is no request for a build: {error}"),
                "send the body of POST /v1/builds, as /v1/openapi.json describes it",
            )
        })?;
        // Who sends messages by program has lost something where nothing is left to build.
        if !request.has_document() && request.name.is_none() {
            return Err(Refused::invalid(
                "the message names no environment",
                "give one of `environment`, `conda`, `requirements`, or the `name` of a registered one",
            ));
        }
        let key = RequestKey::message(&message.source, &message.id, Digest::of(&message.body));
        let submission = self.submission(request, message.origin).await;
        let mut submission = submission.map_err(|error| Refused::from(&error))?;
        submission.options.request = Some(key);
        submission.options.callbacks.extend(message.reply_to);
        let ticket = self.submit(submission).await;
        let ticket = ticket.map_err(|error| Refused::from(&error))?;
        Ok(Accepted {
            status: ticket.status().clone(),
        })
    }
}
