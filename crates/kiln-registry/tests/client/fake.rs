//! A registry in memory that speaks the distribution protocol, notes all it sees, and fails on demand.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use kiln_oci::{Descriptor, Digest, Reference};
use tokio::task::JoinHandle;

pub(crate) type Answer = Response<Body>;
/// Looks at a request and may answer in the registry's place.
type Rule = Box<dyn FnMut(&Seen) -> Option<Answer> + Send>;

/// A request as it came in; the body of uploads is left out.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) form: String,
    pub(crate) at: std::time::Instant,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    pub(crate) fn is(&self, method: &Method, part: &str) -> bool {
        self.method == *method && format!("{}?{}", self.path, self.query).contains(part)
    }
}

/// What the registry wants before it answers.
#[derive(Clone)]
pub(crate) enum Guard {
    Open,
    Basic {
        user: String,
        password: String,
    },
    /// `{realm}` is where tokens are had; empty is the registry's own `/token`.
    Bearer {
        realm: String,
        login: Option<(String, String)>,
        refresh: Option<String>,
        life: u64,
    },
}

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) blobs: BTreeMap<(String, Digest), Bytes>,
    pub(crate) manifests: BTreeMap<(String, String), (String, Bytes)>,
    uploads: HashMap<String, Vec<u8>>,
    tokens: HashMap<String, Vec<String>>,
    next: usize,
}

struct Shared {
    store: Mutex<Store>,
    seen: Mutex<Vec<Seen>>,
    rules: Mutex<Vec<Rule>>,
    guard: Mutex<Guard>,
    mounts: Mutex<bool>,
    ranges: Mutex<bool>,
    /// After how many bytes of an upload's body the registry fails, and how it answers then.
    upload_break: Mutex<Option<(usize, u16)>>,
    host: String,
}

pub(crate) struct Fake {
    pub(crate) host: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("localhost:{}", listener.local_addr().unwrap().port());
        let shared = Arc::new(Shared {
            store: Mutex::default(),
            seen: Mutex::default(),
            rules: Mutex::default(),
            guard: Mutex::new(Guard::Open),
            mounts: Mutex::new(true),
            ranges: Mutex::new(true),
            upload_break: Mutex::new(None),
            host: host.clone(),
        });
        let app = axum::Router::new()
            .fallback(serve)
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            host,
            shared,
            server,
        }
    }

    pub(crate) fn repo(&self, name: &str) -> Reference {
        format!("{}/{name}", self.host).parse().unwrap()
    }

    pub(crate) fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        self.shared.store.lock().unwrap()
    }

    pub(crate) fn put_blob(&self, repo: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.store()
            .blobs
            .insert((repo.into(), digest), Bytes::copy_from_slice(bytes));
        digest
    }

    pub(crate) fn put_manifest(
        &self,
        repo: &str,
        tag: &str,
        kind: &str,
        bytes: &[u8],
    ) -> Descriptor {
        let descriptor = Descriptor::of(kind, bytes);
        let entry = (kind.to_owned(), Bytes::copy_from_slice(bytes));
        for name in [tag.to_owned(), descriptor.digest.to_string()] {
            self.store()
                .manifests
                .insert((repo.into(), name), entry.clone());
        }
        descriptor
    }

    pub(crate) fn guard(&self, guard: Guard) {
        *self.shared.guard.lock().unwrap() = guard;
    }

    pub(crate) fn without_mounts(&self) {
        *self.shared.mounts.lock().unwrap() = false;
    }

    pub(crate) fn without_ranges(&self) {
        *self.shared.ranges.lock().unwrap() = false;
    }

    pub(crate) fn break_next_upload(&self, after: usize, status: u16) {
        *self.shared.upload_break.lock().unwrap() = Some((after, status));
    }

    pub(crate) fn revoke_tokens(&self) {
        self.store().tokens.clear();
    }

    /// Answers requests in the registry's place; the first rule that has an answer gives it.
    pub(crate) fn rule(&self, rule: impl FnMut(&Seen) -> Option<Answer> + Send + 'static) {
        self.shared.rules.lock().unwrap().push(Box::new(rule));
    }

    /// Answers the first `times` requests of a kind.
    pub(crate) fn fail(
        &self,
        times: usize,
        method: Method,
        part: &'static str,
        answer: fn() -> Answer,
    ) {
        let mut left = times;
        self.rule(move |seen| {
            if left == 0 || !seen.is(&method, part) {
                return None;
            }
            left -= 1;
            Some(answer())
        });
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, method: &Method, part: &str) -> usize {
        self.seen()
            .iter()
            .filter(|seen| seen.is(method, part))
            .count()
    }
}

pub(crate) fn status(code: u16) -> Answer {
    Response::builder()
        .status(code)
        .body(Body::empty())
        .unwrap()
}

pub(crate) fn error(code: u16, name: &str) -> Answer {
    let body = format!(r#"{{"errors":[{{"code":"{name}","message":"as told"}}]}}"#);
    Response::builder().status(code).body(body.into()).unwrap()
}

pub(crate) fn with_header(code: u16, name: &str, value: &str) -> Answer {
    Response::builder()
        .status(code)
        .header(name, value)
        .body(Body::empty())
        .unwrap()
}

/// Sends some bytes, then breaks the connection.
pub(crate) fn broken(announced: usize, bytes: &[u8]) -> Answer {
    let pieces = [
        Ok(Bytes::copy_from_slice(bytes)),
        Err(std::io::Error::other("as told")),
    ];
    let body = Body::from_stream(futures::stream::iter(pieces));
    Response::builder()
        .header("content-length", announced)
        .body(body)
        .unwrap()
}

/// Never answers.
pub(crate) fn silent() -> Answer {
    Response::builder()
        .status(599)
        .header("x-silent", "1")
        .body(Body::empty())
        .unwrap()
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let mut seen = Seen {
        method,
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers,
        form: String::new(),
        at: std::time::Instant::now(),
    };
    let is_token = seen.path == "/token";
    let body = read_body(&shared, &mut seen, body).await;
    shared.seen.lock().unwrap().push(seen.clone());
    let ruled = shared
        .rules
        .lock()
        .unwrap()
        .iter_mut()
        .find_map(|rule| rule(&seen));
    if let Some(answer) = ruled {
        if answer.headers().contains_key("x-silent") {
            std::future::pending::<()>().await;
        }
        return answer;
    }
    match body {
        Err(answer) => answer,
        Ok(_) if is_token => token(&shared, &seen),
        Ok(body) => match refused(&shared, &seen) {
            Some(answer) => answer,
            None => registry(&shared, &seen, body),
        },
    }
}

/// Reads a body; the upload that is to break keeps what came until then.
async fn read_body(shared: &Shared, seen: &mut Seen, body: Body) -> Result<Bytes, Answer> {
    use futures::StreamExt as _;
    let upload =
        matches!(seen.method, Method::PUT | Method::PATCH) && seen.path.contains("/uploads/");
    let cut = if upload {
        shared.upload_break.lock().unwrap().take()
    } else {
        None
    };
    let Some((after, code)) = cut else {
        let bytes = axum::body::to_bytes(body, usize::MAX)
            .await
            .unwrap_or_default();
        if seen.path == "/token" {
            seen.form = String::from_utf8(bytes.to_vec()).unwrap();
        }
        return Ok(bytes);
    };
    let mut stream = body.into_data_stream();
    let mut got = Vec::new();
    while got.len() < after {
        match stream.next().await {
            Some(Ok(piece)) => got.extend_from_slice(&piece),
            _ => break,
        }
    }
    got.truncate(after);
    let id = seen.path.rsplit('/').next().unwrap_or_default().to_owned();
    shared
        .store
        .lock()
        .unwrap()
        .uploads
        .entry(id)
        .or_default()
        .extend(got);
    Err(status(code))
}

/// The scope a request needs.
fn needed(seen: &Seen) -> Vec<(String, &'static str)> {
    let Some(path) = seen.path.strip_prefix("/v2/") else {
        return Vec::new();
    };
    let end = ["/manifests/", "/blobs/", "/tags/"]
        .iter()
        .find_map(|part| path.find(part));
    let Some(end) = end else { return Vec::new() };
    let action = match seen.method {
        Method::GET | Method::HEAD => "pull",
        Method::DELETE => "delete",
        _ => "push",
    };
    vec![(path[..end].to_owned(), action)]
}

fn refused(shared: &Shared, seen: &Seen) -> Option<Answer> {
    let authorization = seen.header("authorization");
    match &*shared.guard.lock().unwrap() {
        Guard::Open => None,
        Guard::Basic { user, password } => {
            let right = format!("Basic {}", base64(&format!("{user}:{password}")));
            (authorization != right)
                .then(|| with_header(401, "www-authenticate", "Basic realm=\"r\""))
        }
        Guard::Bearer { realm, .. } => {
            let store = shared.store.lock().unwrap();
            let token = authorization.strip_prefix("Bearer ").unwrap_or_default();
            let needed = needed(seen);
            let has = |(name, action): &(String, &str)| {
                store.tokens.get(token).is_some_and(|scopes| {
                    scopes.iter().any(|scope| {
                        scope
                            .strip_prefix(&format!("repository:{name}:"))
                            .is_some_and(|actions| actions.split(',').any(|a| a == *action))
                    })
                })
            };
            if store.tokens.contains_key(token) && needed.iter().all(has) {
                return None;
            }
            let own = format!("http://{}/token", shared.host);
            let realm = if realm.is_empty() { &own } else { realm };
            let scope = needed
                .first()
                .map(|(name, action)| format!(",scope=\"repository:{name}:{action}\""))
                .unwrap_or_default();
            let challenge = format!("Bearer realm=\"{realm}\",service=\"fake\"{scope}");
            Some(with_header(401, "www-authenticate", &challenge))
        }
    }
}

fn token(shared: &Shared, seen: &Seen) -> Answer {
    let Guard::Bearer {
        login,
        refresh,
        life,
        ..
    } = shared.guard.lock().unwrap().clone()
    else {
        return status(404);
    };
    let text = if seen.method == Method::POST {
        &seen.form
    } else {
        &seen.query
    };
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect();
    let all = |name: &str| {
        pairs
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
            .collect::<Vec<_>>()
    };
    let good = match (seen.method == Method::POST, &login, &refresh) {
        (true, _, Some(refresh)) => all("refresh_token") == [refresh.clone()],
        (true, ..) => false,
        (false, Some((user, password)), _) => {
            seen.header("authorization")
                == format!("Basic {}", base64(&format!("{user}:{password}")))
        }
        (false, None, _) => true,
    };
    if !good {
        let echo = format!(
            r#"{{"errors":[{{"code":"UNAUTHORIZED","message":"no: {} {}"}}]}}"#,
            seen.header("authorization"),
            all("refresh_token").join("")
        );
        return Response::builder().status(401).body(echo.into()).unwrap();
    }
    let scopes = all("scope")
        .iter()
        .flat_map(|s| s.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let mut store = shared.store.lock().unwrap();
    store.next += 1;
    let token = format!("token-{}", store.next);
    store.tokens.insert(token.clone(), scopes);
    let name = if seen.method == Method::POST {
        "access_token"
    } else {
        "token"
    };
    Response::builder()
        .body(format!(r#"{{"{name}":"{token}","expires_in":{life}}}"#).into())
        .unwrap()
}

pub(crate) fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn registry(shared: &Shared, seen: &Seen, body: Bytes) -> Answer {
    let Some(path) = seen.path.strip_prefix("/v2/") else {
        return status(404);
    };
    if path.is_empty() {
        return status(200);
    }
    if let Some((repo, name)) = path.split_once("/manifests/") {
        return manifests(shared, seen, repo, name, body);
    }
    if let Some((repo, id)) = path.split_once("/blobs/uploads/") {
        return uploads(shared, seen, repo, id, &body);
    }
    if let Some((repo, digest)) = path.split_once("/blobs/") {
        return blobs(shared, seen, repo, digest);
    }
    if let Some((repo, _)) = path.split_once("/tags/list") {
        let store = shared.store.lock().unwrap();
        let names: Vec<_> = store
            .manifests
            .keys()
            .filter(|(r, n)| r == repo && !n.contains(':'))
            .map(|(_, n)| n)
            .collect();
        let list = format!(r#"{{"name":"{repo}","tags":{names:?}}}"#);
        return Response::builder().body(list.into()).unwrap();
    }
    status(404)
}

fn manifests(shared: &Shared, seen: &Seen, repo: &str, name: &str, body: Bytes) -> Answer {
    let mut store = shared.store.lock().unwrap();
    let key = (repo.to_owned(), name.to_owned());
    match seen.method {
        Method::PUT => {
            let digest = Digest::of(&body).to_string();
            let entry = (seen.header("content-type").to_owned(), body);
            store
                .manifests
                .insert((repo.to_owned(), digest.clone()), entry.clone());
            store.manifests.insert(key, entry);
            with_header(201, "docker-content-digest", &digest)
        }
        Method::DELETE => match store.manifests.remove(&key) {
            Some(_) => status(202),
            None => error(404, "MANIFEST_UNKNOWN"),
        },
        _ => match store.manifests.get(&key) {
            None => error(404, "MANIFEST_UNKNOWN"),
            Some((kind, bytes)) => Response::builder()
                .header("content-type", kind)
                .header("docker-content-digest", Digest::of(bytes).to_string())
                .header("content-length", bytes.len())
                .body(if seen.method == Method::HEAD {
                    Body::empty()
                } else {
                    bytes.clone().into()
                })
                .unwrap(),
        },
    }
}

fn blobs(shared: &Shared, seen: &Seen, repo: &str, digest: &str) -> Answer {
    let store = shared.store.lock().unwrap();
    let Some(bytes) = digest
        .parse()
        .ok()
        .and_then(|d| store.blobs.get(&(repo.to_owned(), d)))
    else {
        return error(404, "BLOB_UNKNOWN");
    };
    let start = seen
        .header("range")
        .strip_prefix("bytes=")
        .and_then(|r| r.strip_suffix('-'));
    let start: usize = start.map(|s| s.parse().unwrap()).unwrap_or_default();
    let mut answer = Response::builder().header("docker-content-digest", digest);
    let part = if start > 0 && *shared.ranges.lock().unwrap() {
        let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
        answer = answer.status(206).header("content-range", range);
        bytes.slice(start..)
    } else {
        bytes.clone()
    };
    answer = answer.header("content-length", part.len());
    answer
        .body(if seen.method == Method::HEAD {
            Body::empty()
        } else {
            part.into()
        })
        .unwrap()
}

fn uploads(shared: &Shared, seen: &Seen, repo: &str, id: &str, body: &[u8]) -> Answer {
    let mut store = shared.store.lock().unwrap();
    let query: HashMap<String, String> = url::form_urlencoded::parse(seen.query.as_bytes())
        .into_owned()
        .collect();
    let location = |id: &str| format!("/v2/{repo}/blobs/uploads/{id}?_state=secret-state");
    match seen.method {
        Method::POST => {
            if let (Some(digest), Some(from), true) = (
                query.get("mount"),
                query.get("from"),
                *shared.mounts.lock().unwrap(),
            ) {
                let digest: Digest = digest.parse().unwrap();
                if let Some(bytes) = store.blobs.get(&(from.clone(), digest)).cloned() {
                    store.blobs.insert((repo.to_owned(), digest), bytes);
                    return status(201);
                }
            }
            store.next += 1;
            let id = format!("upload-{}", store.next);
            store.uploads.insert(id.clone(), Vec::new());
            with_header(202, "location", &location(&id))
        }
        Method::GET => match store.uploads.get(id) {
            Some(held) => {
                let range = format!("0-{}", held.len().saturating_sub(1));
                let mut answer = with_header(204, "range", &range);
                answer
                    .headers_mut()
                    .insert("location", location(id).parse().unwrap());
                answer
            }
            None => error(404, "BLOB_UPLOAD_UNKNOWN"),
        },
        Method::PATCH => match store.uploads.get_mut(id) {
            Some(held) => {
                let start = seen
                    .header("content-range")
                    .split('-')
                    .next()
                    .unwrap_or_default();
                if !start.is_empty() && start.parse() != Ok(held.len()) {
                    return error(416, "RANGE_INVALID");
                }
                held.extend_from_slice(body);
                with_header(202, "location", &location(id))
            }
            None => error(404, "BLOB_UPLOAD_UNKNOWN"),
        },
        Method::PUT => {
            let Some(mut held) = store.uploads.remove(id) else {
                return error(404, "BLOB_UPLOAD_UNKNOWN");
            };
            held.extend_from_slice(body);
            let digest = Digest::of(&held);
            if query.get("digest") != Some(&digest.to_string()) {
                return error(400, "DIGEST_INVALID");
            }
            store.blobs.insert((repo.to_owned(), digest), held.into());
            with_header(201, "docker-content-digest", &digest.to_string())
        }
        _ => status(405),
    }
}
