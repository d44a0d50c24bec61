//! A proxy in front of a real registry that injects faults by script.

mod line;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::line::{Breaker, Lines};

/// What happens to a request in place of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 500.
    Fails,
    /// 429 with `Retry-After: 1`.
    TooMany,
    /// 429 that tells nothing of when to come again.
    TooManyAtAll,
    /// The connection is reset before anybody hears of the request.
    Resets,
    /// The registry does what was asked, and the connection is reset before its answer.
    Loses,
    /// The connection breaks in the middle of the answer's body.
    Truncates,
    /// The answer's body has one byte changed.
    Corrupt,
    /// The request waits before it goes on.
    Delays(Duration),
    /// The manifest that was pushed is answered as taken, but isn't.
    Forgets,
}

type Script = Box<dyn FnMut(&Method, &str) -> Option<Fault> + Send>;

struct Shared {
    upstream: String,
    http: reqwest::Client,
    script: Mutex<Script>,
    seen: Mutex<Vec<String>>,
}

/// A running proxy; it stops when dropped.
pub struct Proxy {
    /// `127.0.0.1:PORT`.
    pub host: String,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

impl Proxy {
    /// Starts a proxy before `upstream` (`HOST:PORT`) that asks the script for each request.
    pub async fn start(
        upstream: &str,
        script: impl FnMut(&Method, &str) -> Option<Fault> + Send + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            http: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()?,
            script: Mutex::new(Box::new(script)),
            seen: Mutex::default(),
        });
        let app = axum::Router::new()
            .fallback(forward)
            .with_state(Arc::clone(&shared))
            .into_make_service_with_connect_info::<Breaker>();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        #[expect(clippy::disallowed_methods, reason = "the drop guard ends the task")]
        tokio::spawn(async move {
            let server = axum::serve(Lines(listener), app);
            tokio::select! {
                result = async { server.await } => drop(result),
                () = stopped.cancelled() => {}
            }
        });
        Ok(Self {
            host,
            shared,
            _stop: stop.drop_guard(),
        })
    }

    /// Replaces the script.
    pub fn script(&self, script: impl FnMut(&Method, &str) -> Option<Fault> + Send + 'static) {
        *self.shared.script.lock().expect("no script panics") = Box::new(script);
    }

    /// The requests so far, `METHOD path`.
    pub fn seen(&self) -> Vec<String> {
        self.shared
            .seen
            .lock()
            .expect("nothing panics here")
            .clone()
    }
}

async fn forward(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(breaker): ConnectInfo<Breaker>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    shared
        .seen
        .lock()
        .expect("nothing panics here")
        .push(format!("{} {path}", parts.method));
    let fault = (shared.script.lock().expect("no script panics"))(&parts.method, &path);
    match fault {
        Some(Fault::Fails) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some(Fault::TooMany) => {
            return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")]).into_response();
        }
        Some(Fault::TooManyAtAll) => return StatusCode::TOO_MANY_REQUESTS.into_response(),
        Some(Fault::Forgets) => return (StatusCode::CREATED, "").into_response(),
        Some(Fault::Resets) => {
            breaker.trip();
            return StatusCode::BAD_GATEWAY.into_response();
        }
        Some(Fault::Delays(time)) => tokio::time::sleep(time).await,
        Some(Fault::Corrupt | Fault::Truncates | Fault::Loses) | None => {}
    }
    let answer = pass(
        &shared,
        parts.method,
        &parts.uri,
        parts.headers,
        body,
        fault,
    );
    let response = answer
        .await
        .unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, error.to_string()).into_response());
    if fault == Some(Fault::Loses) {
        breaker.trip();
    }
    response
}

async fn pass(
    shared: &Shared,
    method: Method,
    uri: &Uri,
    mut headers: HeaderMap,
    body: Body,
    fault: Option<Fault>,
) -> Result<Response> {
    let own_host = headers.remove(header::HOST);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let url = format!("http://{}{path}", shared.upstream);
    let head = method == Method::HEAD;
    let body = reqwest::Body::wrap_stream(body.into_data_stream());
    let answer = shared
        .http
        .request(method, url)
        .headers(headers)
        .body(body)
        .send()
        .await?;
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        let mut value = value.clone();
        if name == header::LOCATION
            && let (Ok(text), Some(own)) = (
                value.to_str(),
                own_host.as_ref().and_then(|h| h.to_str().ok()),
            )
        {
            value = text.replace(&shared.upstream, own).parse()?;
        }
        if name != header::TRANSFER_ENCODING {
            response = response.header(name, value);
        }
    }
    if head {
        return Ok(response.body(Body::empty())?);
    }
    let body = match fault {
        Some(Fault::Corrupt) => {
            let mut bytes = answer.bytes().await?.to_vec();
            if let Some(byte) = bytes.last_mut() {
                *byte ^= 1;
            }
            Body::from(bytes)
        }
        Some(Fault::Truncates) => {
            let bytes = answer.bytes().await?;
            let half = bytes.slice(..bytes.len() / 2);
            let ends: std::io::Result<Bytes> = Err(std::io::ErrorKind::ConnectionReset.into());
            Body::from_stream(futures::stream::iter([Ok(half), ends]))
        }
        _ => Body::from_stream(answer.bytes_stream()),
    };
    Ok(response.body(body)?)
}
