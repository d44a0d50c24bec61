//! One exchange with a registry: gate, credentials, redirects, time limits, errors.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, header};
use kiln_oci::Digest;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use url::Url;

use crate::auth::{Authenticator, Granted};
use crate::builder::Timeouts;
use crate::error_body::DistributionError;
use crate::fault::Fault;
use crate::gate::Gate;
use crate::policy::{HostPolicy, is_loopback, same_origin};
use crate::redirect;
use crate::retry;
use crate::scope::Scopes;
use crate::secret::Secret;
use crate::upload::UploadBody;

/// The largest error body that is read, in bytes.
const ERROR_LIMIT: u64 = 64 * 1024;

/// What all clients of one configuration share.
pub(crate) struct Transport {
    /// For everything but loopback; takes the proxy of the environment.
    pub(crate) outside: reqwest::Client,
    /// For loopback, which no proxy can reach.
    pub(crate) inside: reqwest::Client,
    pub(crate) policy: HostPolicy,
    pub(crate) auth: Authenticator,
    pub(crate) timeouts: Timeouts,
    pub(crate) requests_per_host: usize,
    pub(crate) uploads_per_host: usize,
    pub(crate) gates: Mutex<HashMap<String, Arc<Gate>>>,
}

/// A request to a registry.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Body>,
    /// The statuses that are an answer; any other is a fault.
    pub(crate) accept: &'static [u16],
}

/// A request's body, which can be sent more than once.
pub(crate) enum Body {
    Bytes(Bytes),
    Upload(Arc<UploadBody>),
}

/// One HTTP request as it goes out.
pub(crate) struct Hop<'h> {
    pub(crate) method: &'h Method,
    pub(crate) url: &'h Url,
    pub(crate) headers: &'h HeaderMap,
    pub(crate) body: Option<&'h Body>,
    pub(crate) deadline: Instant,
}

/// The head of an answer; its body is still to come.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) url: Url,
    response: reqwest::Response,
    idle: Duration,
}

impl Request {
    pub(crate) fn new(method: Method, url: Url, accept: &'static [u16]) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            accept,
        }
    }
}

impl Transport {
    /// Sends a request of a registry: with what is known to be granted, and once more with a fresh grant
    /// when the registry answers 401.
    pub(crate) async fn send(
        &self,
        host: &str,
        request: &Request,
        scopes: &Scopes,
        deadline: Instant,
    ) -> Result<Answer, Fault> {
        let own = self.policy.base(host)?;
        let mut renewed = false;
        loop {
            let granted = self
                .auth
                .authorization(self, host, scopes, deadline)
                .await?;
            let answer = self
                .follow(&own, request, granted.as_deref(), deadline)
                .await?;
            if answer.status == 401 && !renewed && same_origin(&own, &answer.url) {
                renewed = true;
                self.auth
                    .refused(host, scopes, &answer.headers, granted.as_ref())?;
                continue;
            }
            return self.judge(&own, request, granted.as_deref(), answer).await;
        }
    }

    /// Follows redirects of requests that only read. Credentials go to the registry's own origin alone.
    async fn follow(
        &self,
        own: &Url,
        request: &Request,
        granted: Option<&Granted>,
        deadline: Instant,
    ) -> Result<Answer, Fault> {
        let mut url = request.url.clone();
        let mut redirects = 0;
        loop {
            let mut headers = request.headers.clone();
            if let Some(granted) = granted.filter(|_| same_origin(own, &url)) {
                headers.insert(header::AUTHORIZATION, granted.header.clone());
            }
            let (method, body) = (&request.method, request.body.as_ref());
            let answer = self
                .hop(Hop {
                    method,
                    url: &url,
                    headers: &headers,
                    body,
                    deadline,
                })
                .await?;
            let Some(next) = redirect::target(request, &answer, redirects)? else {
                return Ok(answer);
            };
            self.policy.check_target(&url, &next)?;
            redirects += 1;
            url = next;
        }
    }

    /// Sends one HTTP request and waits for the head of its answer.
    pub(crate) async fn hop(&self, hop: Hop<'_>) -> Result<Answer, Fault> {
        let gate = self.gate(hop.url);
        let closed = |wait: Duration| {
            if wait.is_zero() {
                Fault::Busy
            } else {
                Fault::Wait(wait)
            }
        };
        let place = if let Some(Body::Upload(_)) = hop.body {
            gate.open(hop.deadline).await.map_err(closed)?;
            None
        } else {
            Some(gate.enter(hop.deadline).await.map_err(closed)?)
        };
        let client = if is_loopback(hop.url) {
            &self.inside
        } else {
            &self.outside
        };
        let mut builder = client
            .request(hop.method.clone(), hop.url.clone())
            .headers(hop.headers.clone());
        let sending = match hop.body {
            Some(Body::Upload(upload)) => {
                builder = builder
                    .header(header::CONTENT_LENGTH, upload.length())
                    .body(upload.body());
                upload.watch(builder.send(), &self.timeouts).await
            }
            body => {
                if let Some(Body::Bytes(bytes)) = body {
                    builder = builder.body(bytes.clone());
                }
                let limit = (Instant::now() + self.timeouts.idle).min(hop.deadline);
                match tokio::time::timeout_at(limit, builder.send()).await {
                    Ok(sent) => sent.map_err(Fault::from),
                    Err(_) => Err(Fault::Timeout(self.timeouts.idle)),
                }
            }
        };
        drop(place);
        let response = sending?;
        let status = response.status().as_u16();
        tracing::debug!(
            method = %hop.method,
            host = hop.url.host_str(),
            path = hop.url.path(),
            status,
            "registry request"
        );
        if status == 429 {
            let asked = retry::retry_after(response.headers(), SystemTime::now());
            gate.limited(asked, self.timeouts.longest_pause);
        } else if status < 500 {
            gate.answered();
        }
        Ok(Answer {
            status,
            headers: response.headers().clone(),
            url: hop.url.clone(),
            response,
            idle: self.timeouts.idle,
        })
    }

    /// Tells answers from faults.
    async fn judge(
        &self,
        own: &Url,
        request: &Request,
        granted: Option<&Granted>,
        answer: Answer,
    ) -> Result<Answer, Fault> {
        let (status, good) = (answer.status, (200..300).contains(&answer.status));
        if !good && !same_origin(own, &answer.url) && !same_origin(&request.url, &answer.url) {
            let host = answer.url.host_str().unwrap_or_default().to_owned();
            return Err(Fault::Storage { host, status });
        }
        if request.accept.contains(&status) {
            return Ok(answer);
        }
        let retry_after = retry::retry_after(&answer.headers, SystemTime::now());
        // The status is what counts; a body that can't be read says nothing more.
        let body = answer.bytes(ERROR_LIMIT).await.unwrap_or_default();
        let secrets: Vec<&str> = granted
            .iter()
            .flat_map(|granted| &granted.secrets)
            .map(Secret::expose)
            .collect();
        let codes = DistributionError::read(&body, &secrets);
        Err(Fault::Status {
            status,
            codes,
            retry_after,
        })
    }

    /// Waits for the turn of an upload to a registry.
    pub(crate) async fn upload_turn(&self, host: &str) -> Result<OwnedSemaphorePermit, Fault> {
        Ok(self.gate(&self.policy.base(host)?).upload_turn().await)
    }

    fn gate(&self, url: &Url) -> Arc<Gate> {
        let port = url.port_or_known_default().unwrap_or_default();
        let key = format!("{}:{port}", url.host_str().unwrap_or_default());
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        // Storage hosts come and go; an idle gate holds nothing worth keeping.
        if gates.len() >= 256 {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        let (requests, uploads) = (self.requests_per_host, self.uploads_per_host);
        let new = || Arc::new(Gate::new(requests, uploads));
        Arc::clone(gates.entry(key).or_insert_with(new))
    }
}

impl Answer {
    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body's announced size in bytes.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The digest the registry gives its content, when it is a sha256.
    pub(crate) fn digest(&self) -> Option<Digest> {
        self.header("docker-content-digest")?.parse().ok()
    }

    /// The next piece of the body.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        match tokio::time::timeout(self.idle, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(Fault::from),
            Err(_) => Err(Fault::Timeout(self.idle)),
        }
    }

    /// The whole body, up to `limit` bytes.
    pub(crate) async fn bytes(mut self, limit: u64) -> Result<Bytes, Fault> {
        if self.content_length().is_some_and(|length| length > limit) {
            return Err(Fault::TooLarge { limit });
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() as u64 + chunk.len() as u64 > limit {
                return Err(Fault::TooLarge { limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}
