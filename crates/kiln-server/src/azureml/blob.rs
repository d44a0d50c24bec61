//! Blobs as a storage account has them, as far as the SDKs use one: a whole upload, one in blocks (2019),
//! and a look.
//!
//! Addresses are signed and live for an hour; nobody needs a token at them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt as _, TryStreamExt as _};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use kiln_engine::{KeptWheel, Origin, Scope};
use kiln_oci::Digest;
use serde::Deserialize;
use tokio_util::io::ReaderStream;

use super::place::Place;
use crate::error::ApiError;
use crate::router::AppState;

/// What signatures of these addresses are for.
const PURPOSE: &str = "private wheel";
/// How long an address lives.
const LIFE: Duration = Duration::from_hours(1);
/// Blocks that wait for their list at once, and the most bytes of one.
const BLOCKS: usize = 4096;
const BLOCK_BYTES: u64 = 128 << 20;

/// Blocks that were sent and stand in no list yet: blob by address and block's id.
#[derive(Debug, Default)]
pub(crate) struct Staged(Mutex<HashMap<(String, String), Digest>>);

/// A wheel's address for the SDK, which may write there; none where no host is set for it.
pub(super) fn address(state: &AppState, place: &Place, file: &str) -> Option<String> {
    let host = state.blob_host.as_deref()?;
    Some(signed(state, place, file, &format!("https://{host}"), "rw"))
}

/// A wheel's address at this server, for who reads it.
pub(super) fn read_address(state: &AppState, place: &Place, file: &str) -> String {
    signed(state, place, file, &place.server, "r")
}

fn signed(state: &AppState, place: &Place, file: &str, server: &str, may: &str) -> String {
    let path = place.blob_path(file);
    let expires = now() + LIFE.as_secs();
    let signature = state
        .engine
        .store()
        .links()
        .sign(PURPOSE, &text(&path, expires, may));
    format!("{server}{path}?se={expires}&sp={may}&sig={signature}")
}

fn text(path: &str, expires: u64, may: &str) -> String {
    format!("{may} {expires} {path}")
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// The query of an address, and what the operation adds to it.
#[derive(Debug, Deserialize)]
pub(super) struct Signed {
    se: u64,
    sp: String,
    sig: String,
    comp: Option<String>,
    blockid: Option<String>,
}

/// An address whose signature is good.
pub(super) struct Address {
    scope: Scope,
    file: String,
    path: String,
    query: Signed,
}

impl FromRequestParts<AppState> for Address {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &AppState,
    ) -> Result<Self, Self::Rejection> {
        let denied = || {
            told(
                StatusCode::FORBIDDEN,
                "AuthenticationFailed",
                "the address is not signed, or too old",
            )
        };
        let query = Query::<Signed>::from_request_parts(parts, state).await;
        let Query(query) = query.map_err(|_| denied())?;
        let path = parts.uri.path().to_owned();
        let text = text(&path, query.se, &query.sp);
        let may = parts.method != Method::PUT || query.sp == "rw";
        let links = state.engine.store().links();
        if !may || query.se < now() || !links.is_valid(PURPOSE, &text, &query.sig) {
            return Err(denied());
        }
        let segments = Path::<Vec<String>>::from_request_parts(parts, state).await;
        let segments = segments.map(|Path(all)| all).unwrap_or_default();
        let [subscription, group, workspace, file] = segments.as_slice() else {
            return Err(denied());
        };
        let scope = format!("{subscription}/{group}/{workspace}").parse();
        Ok(Self {
            scope: scope.map_err(|_| denied())?,
            file: file.clone(),
            path,
            query,
        })
    }
}

/// Takes a blob, one block of it, or the list of its blocks.
pub(super) async fn put(
    State(state): State<AppState>,
    address: Address,
    body: Body,
) -> Result<Response, Response> {
    let bytes = body.into_data_stream().map_err(std::io::Error::other);
    match address.query.comp.as_deref() {
        Some("block") => {
            let put = state.engine.store().blobs().put_new(BLOCK_BYTES, bytes);
            let (digest, _) = put.await.map_err(|error| {
                told(StatusCode::BAD_REQUEST, "InvalidInput", &error.to_string())
            })?;
            let id = address.query.blockid.clone().unwrap_or_default();
            let mut staged = state.staged.0.lock().expect("no insertion panics");
            if staged.len() >= BLOCKS {
                staged.clear();
            }
            staged.insert((address.path, id), digest);
            Ok(created(digest))
        }
        Some("blocklist") => {
            let list: Vec<_> = bytes.try_collect().await.unwrap_or_default();
            let digests = state.staged.take(&address.path, &ids(&list.concat()));
            let digests = digests.ok_or_else(|| {
                told(
                    StatusCode::BAD_REQUEST,
                    "InvalidBlockList",
                    "a block of the list was not sent",
                )
            })?;
            let blobs = state.engine.store().blobs().clone();
            let content = futures::stream::iter(digests)
                .then(move |digest| {
                    let path = blobs.path(&digest);
                    async move { tokio::fs::File::open(path).await.map(ReaderStream::new) }
                })
                .try_flatten();
            keep(&state, &address, Box::pin(content)).await
        }
        _ => keep(&state, &address, Box::pin(bytes)).await,
    }
}

async fn keep(
    state: &AppState,
    address: &Address,
    bytes: impl futures::Stream<Item = std::io::Result<axum::body::Bytes>> + Unpin,
) -> Result<Response, Response> {
    let url = state
        .blob_host
        .as_deref()
        .map(|host| format!("https://{host}{}", address.path));
    let origin = Origin {
        actor: "signed address".into(),
        via: "sdk".into(),
    };
    let kept = state
        .engine
        .upload_wheel(
            &address.scope,
            &address.file,
            bytes,
            url.as_deref(),
            &origin,
        )
        .await;
    match kept {
        Ok(KeptWheel::New(row) | KeptWheel::Same(row) | KeptWheel::Taken(row)) => {
            Ok(created(row.digest))
        }
        Err(error) => {
            let error = ApiError::from(error);
            let failure = error.failure();
            let message = format!("{}: {}", failure.message, failure.remedy);
            Err(told(error.status(), "InvalidInput", &message))
        }
    }
}

/// Tells a blob's size, or gives it.
pub(super) async fn get(
    State(state): State<AppState>,
    method: Method,
    address: Address,
) -> Result<Response, Response> {
    let missing = || {
        told(
            StatusCode::NOT_FOUND,
            "BlobNotFound",
            "there is no such blob",
        )
    };
    let row = state.engine.wheel(&address.scope, &address.file).await;
    let row = row.map_err(|_| missing())?;
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        let file = tokio::fs::File::open(state.engine.wheel_path(&row)).await;
        Body::from_stream(ReaderStream::new(file.map_err(|_| missing())?))
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(row.size_bytes));
    headers.extend(about(row.digest));
    Ok(response)
}

impl Staged {
    /// Takes the blocks of a list; none where one is missing.
    fn take(&self, path: &str, ids: &[String]) -> Option<Vec<Digest>> {
        let mut staged = self.0.lock().expect("no insertion panics");
        let key = |id: &String| (path.to_owned(), id.clone());
        let found: Option<Vec<_>> = ids.iter().map(|id| staged.get(&key(id)).copied()).collect();
        for id in ids {
            staged.remove(&key(id));
        }
        found
    }
}

/// The ids of a list of blocks: `<Latest>`, `<Uncommitted>` or `<Committed>`, in order.
fn ids(xml: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(xml);
    let parts = text.split('<').filter_map(|part| {
        let (tag, id) = part.split_once('>')?;
        ["Latest", "Uncommitted", "Committed"]
            .contains(&tag)
            .then(|| id.trim().to_owned())
    });
    parts.collect()
}

fn created(digest: Digest) -> Response {
    let mut response = StatusCode::CREATED.into_response();
    response.headers_mut().extend(about(digest));
    response
}

/// The headers that the SDKs read of every answer.
fn about(digest: Digest) -> http::HeaderMap {
    let mut headers = http::HeaderMap::new();
    let text = |text: &str| HeaderValue::from_str(text).expect("the text is plain ASCII");
    headers.insert(
        header::ETAG,
        text(&format!("\"{}\"", &digest.to_hex()[..16])),
    );
    // Blobs never change: any time will do.
    headers.insert(header::LAST_MODIFIED, text("Thu, 01 Jan 2026 00:00:00 GMT"));
    headers.insert("x-ms-version", text("2019-12-12"));
    headers.insert("x-ms-blob-type", text("BlockBlob"));
    headers.insert("x-ms-request-server-encrypted", text("false"));
    headers
}

/// An error as a storage account tells it.
fn told(status: StatusCode, code: &str, message: &str) -> Response {
    let escaped = message.replace('&', "&amp;").replace('<', "&lt;");
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{escaped}</Message></Error>"
    );
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/xml"),
        ("x-ms-error-code", code),
        (header::CONNECTION.as_str(), "close"),
    ];
    (status, headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_a_list_come_in_its_order() {
        let xml = b"<?xml version='1.0'?>\n<BlockList><Latest>MDA=</Latest><Uncommitted>MDE=</Uncommitted></BlockList>";
        assert_eq!(ids(xml), ["MDA=", "MDE="]);
        assert!(ids(b"no list").is_empty());
    }

    #[test]
    fn a_list_with_a_block_that_was_not_sent_gives_nothing() {
        let staged = Staged::default();
        let put = |id: &str| {
            let mut all = staged.0.lock().unwrap();
            all.insert(("/p".into(), id.into()), Digest::of(id.as_bytes()));
        };
        put("a");
        assert_eq!(staged.take("/p", &["a".into(), "b".into()]), None);
        put("a");
        put("b");
        let both = vec![Digest::of(b"b"), Digest::of(b"a")];
        assert_eq!(staged.take("/p", &["b".into(), "a".into()]), Some(both));
        assert_eq!(staged.take("/other", &["a".into()]), None);
    }
}
