//! A build's log as its followers see it: also over the times at which nobody works on the build.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kiln_api::LogEvent;

use crate::engine::Engine;

/// How long a follower sleeps at most before it looks whether the build is over.
const LOOK: Duration = Duration::from_secs(2);

impl Engine {
    /// The events of a build's log after a sequence number, in order, until the build is over or kiln
    /// stops.
    pub fn follow_log(&self, id: &str, after: u64) -> impl Stream<Item = LogEvent> + Send + use<> {
        let follower = Follower {
            engine: self.clone(),
            id: id.to_owned(),
            after,
            events: None,
            last: false,
        };
        futures::stream::unfold(follower, |mut follower| async move {
            follower.next().await.map(|event| (event, follower))
        })
    }
}

struct Follower {
    engine: Engine,
    id: String,
    after: u64,
    events: Option<Pin<Box<dyn Stream<Item = LogEvent> + Send>>>,
    /// Nothing comes after the events that are being read.
    last: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<LogEvent> {
        let mut opened = self.engine.logs().opened();
        // Whether the log has nothing new for now.
        let mut idle = false;
        loop {
            if let Some(events) = &mut self.events {
                if let Some(event) = events.next().await {
                    self.after = event.id;
                    return Some(event);
                }
                self.events = None;
                idle = true;
                if self.last {
                    return None;
                }
            }
            opened.mark_unchanged();
            self.last = is_over(&self.engine, &self.id).await;
            if idle && !self.last {
                let _ = tokio::time::timeout(LOOK, opened.changed()).await;
                self.last = is_over(&self.engine, &self.id).await;
            }
            match self.engine.logs().read(&self.id, self.after).await {
                Ok(events) => self.events = Some(Box::pin(events)),
                Err(_) if self.last => return None,
                // Nobody has begun the build yet.
                Err(_) => idle = true,
            }
        }
    }
}

/// Whether nothing more is written: the build is over, or kiln stops.
async fn is_over(engine: &Engine, id: &str) -> bool {
    let inner = &engine.inner;
    match inner.store.records().build(id).await {
        Ok(Some(row)) => row.is_over() || inner.stop.is_cancelled(),
        Ok(None) => true,
        Err(_) => inner.stop.is_cancelled(),
    }
}
