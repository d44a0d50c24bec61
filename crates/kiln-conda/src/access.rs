//! The middleware between rattler and the network: credentials, retries, and what was refused.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Request, Response, ResponseBuilderExt as _, StatusCode};
use reqwest_middleware::{Middleware, Next, Result};
use url::Url;

use crate::Credentials;

/// Waits between the tries of one request.
const WAITS: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_millis(2500),
];
/// The longest `Retry-After` that is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// A refusal that a server gave.
#[derive(Debug, Clone)]
pub(crate) struct Denied {
    /// The address without credentials.
    pub(crate) url: Url,
    /// 401, 403 or 407.
    pub(crate) status: u16,
}

/// Adds credentials to requests of exactly the addresses they are for, and keeps them out of everything
/// that rattler sees: its cache records the address of a response.
pub(crate) struct ChannelAccess {
    credentials: Credentials,
    denied: Arc<Mutex<Option<Denied>>>,
}

impl ChannelAccess {
    pub(crate) fn new(credentials: Credentials, denied: Arc<Mutex<Option<Denied>>>) -> Self {
        Self {
            credentials,
            denied,
        }
    }

    async fn once(
        &self,
        request: &Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let clean = request.url().clone();
        let mut request = request.try_clone().ok_or_else(|| {
            reqwest_middleware::Error::Middleware(anyhow::anyhow!("the request has a body"))
        })?;
        let authorized = self.credentials.authorize(&clean);
        let secret_address = authorized.url != clean;
        *request.url_mut() = authorized.url;
        if let Some(header) = authorized.header {
            request
                .headers_mut()
                .insert(reqwest::header::AUTHORIZATION, header);
        }
        let response = next
            .run(request, extensions)
            .await
            .map_err(|error| error.with_url(clean.clone()))?;
        let status = response.status();
        if matches!(status.as_u16(), 401 | 403 | 407) {
            let mut denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
            denied.get_or_insert(Denied {
                url: clean.clone(),
                status: status.as_u16(),
            });
        }
        Ok(if secret_address {
            renamed(response, clean)
        } else {
            response
        })
    }
}

#[async_trait::async_trait]
impl Middleware for ChannelAccess {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let mut tries = WAITS.iter();
        loop {
            let answer = self.once(&request, extensions, next.clone()).await;
            let pause = match &answer {
                Ok(response) if is_passing(response.status()) => retry_after(response),
                Err(reqwest_middleware::Error::Reqwest(error))
                    if error.is_connect() || error.is_timeout() =>
                {
                    None
                }
                _ => return answer,
            };
            let Some(wait) = tries.next() else {
                return answer;
            };
            tokio::time::sleep(pause.unwrap_or(*wait).min(LONGEST_WAIT)).await;
        }
    }
}

/// Whether the same request may be answered better in a moment.
fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
        || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(reqwest::header::RETRY_AFTER)?;
    text.to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

/// The response under the address that was asked for, without the token that was sent.
fn renamed(response: Response, url: Url) -> Response {
    let (parts, body) = http::Response::<reqwest::Body>::from(response).into_parts();
    let mut built = http::Response::builder()
        .status(parts.status)
        .version(parts.version)
        .url(url);
    if let Some(headers) = built.headers_mut() {
        *headers = parts.headers;
    }
    built
        .body(body)
        .expect("a response's own parts make a response")
        .into()
}
