//! Sending a blob's bytes, and taking a broken upload up again.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream};
use http::{HeaderMap, HeaderValue, Method, header};
use kiln_oci::{Descriptor, Digest};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::builder::Timeouts;
use crate::client::Exchange;
use crate::error::{ErrorKind, RegistryError};
use crate::fault::Fault;
use crate::mount::UploadSession;
use crate::source::BlobSource;
use crate::transport::{Body, Request};

/// How much is read at a time, in bytes.
const PIECE: usize = 256 * 1024;

/// Is told how many bytes of a blob are sent; the number goes back when an upload starts anew.
pub(crate) type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// The bytes of a blob from an offset on, as a request's body that can be sent again.
pub(crate) struct UploadBody {
    source: BlobSource,
    digest: Digest,
    size: u64,
    offset: u64,
    progress: Option<Progress>,
    pulse: Arc<Pulse>,
}

/// What the sender of a body tells the one who waits for the answer.
struct Pulse {
    moved: Mutex<Instant>,
    all_sent: AtomicBool,
    /// Wakes the waiter when the last byte is sent: another limit counts from there.
    last_sent: Notify,
    fault: Mutex<Option<Fault>>,
}

impl UploadBody {
    fn new(
        blob: &Descriptor,
        source: &BlobSource,
        offset: u64,
        progress: Option<&Progress>,
    ) -> Self {
        let pulse = Pulse {
            moved: Mutex::new(Instant::now()),
            all_sent: AtomicBool::new(false),
            last_sent: Notify::new(),
            fault: Mutex::new(None),
        };
        Self {
            source: source.clone(),
            digest: blob.digest,
            size: blob.size,
            offset,
            progress: progress.cloned(),
            pulse: Arc::new(pulse),
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.size - self.offset
    }

    /// The body; each call gives the same bytes anew.
    pub(crate) fn body(&self) -> reqwest::Body {
        self.pulse.all_sent.store(false, Ordering::Relaxed);
        reqwest::Body::wrap_stream(self.pieces())
    }

    fn pieces(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let reading = Reading {
            source: self.source.clone(),
            reader: None,
            // Only bytes from the start on make the digest.
            hasher: (self.offset == 0).then(Sha256::new),
            digest: self.digest,
            at: self.offset,
            size: self.size,
            progress: self.progress.clone(),
            pulse: Arc::clone(&self.pulse),
        };
        stream::try_unfold(reading, |mut reading| async move {
            let piece = reading.next().await?;
            Ok(piece.map(|piece| (piece, reading)))
        })
    }

    /// Waits for the answer as long as bytes move, and after the last one as long as a commit may take.
    pub(crate) async fn watch(
        &self,
        sending: impl Future<Output = reqwest::Result<reqwest::Response>>,
        timeouts: &Timeouts,
    ) -> Result<reqwest::Response, Fault> {
        tokio::pin!(sending);
        *lock(&self.pulse.moved) = Instant::now();
        loop {
            let all_sent = self.pulse.all_sent.load(Ordering::Relaxed);
            let limit = if all_sent {
                timeouts.commit
            } else {
                timeouts.idle
            };
            let until = *lock(&self.pulse.moved) + limit;
            if until <= Instant::now() {
                return Err(Fault::Timeout(limit));
            }
            tokio::select! {
                sent = &mut sending => {
                    return match lock(&self.pulse.fault).take() {
                        // What was wrong here explains what the registry says about it.
                        Some(fault) => Err(fault),
                        None => sent.map_err(Fault::from),
                    };
                }
                () = self.pulse.last_sent.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }
}

/// A source being read for one request.
struct Reading {
    source: BlobSource,
    reader: Option<Box<dyn AsyncRead + Send + Unpin>>,
    hasher: Option<Sha256>,
    digest: Digest,
    at: u64,
    size: u64,
    progress: Option<Progress>,
    pulse: Arc<Pulse>,
}

impl Reading {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.at == self.size {
            return Ok(None);
        }
        let piece = match self.read().await {
            Ok(piece) => piece,
            Err(error) => {
                let copy = io::Error::new(error.kind(), error.to_string());
                *lock(&self.pulse.fault) = Some(Fault::Source(error));
                return Err(copy);
            }
        };
        self.at += piece.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        if self.at == self.size {
            self.check()?;
        }
        *lock(&self.pulse.moved) = Instant::now();
        if self.at == self.size {
            self.pulse.all_sent.store(true, Ordering::Relaxed);
            self.pulse.last_sent.notify_one();
        }
        if let Some(progress) = &self.progress {
            progress(self.at);
        }
        Ok(Some(piece))
    }

    async fn read(&mut self) -> io::Result<Bytes> {
        if self.reader.is_none() {
            self.reader = Some(self.source.open(self.at).await?);
        }
        let reader = self.reader.as_mut().expect("was set above");
        let rest = usize::try_from(self.size - self.at).unwrap_or(usize::MAX);
        let mut piece = BytesMut::with_capacity(PIECE.min(rest));
        // One read is one piece: waiting for more would hold back what a slow source has.
        reader.read_buf(&mut piece).await?;
        piece.truncate(rest);
        if piece.is_empty() {
            let message = format!("it ends after {} bytes instead of {}", self.at, self.size);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        Ok(piece.freeze())
    }

    /// Compares the digest before the last piece goes out, so that wrong content is never complete.
    fn check(&self) -> io::Result<()> {
        let Some(hasher) = &self.hasher else {
            return Ok(());
        };
        let actual = Digest::from_bytes(hasher.clone().finalize().into());
        if actual == self.digest {
            return Ok(());
        }
        *lock(&self.pulse.fault) = Some(Fault::SourceDigest {
            expected: self.digest,
            actual,
        });
        Err(io::Error::other("the content has another digest"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Exchange {
    /// Sends a blob into a session, or into a new one; breaks are taken up where the registry says, or
    /// the upload starts anew, inside the budget.
    pub(crate) async fn upload(
        &self,
        blob: &Descriptor,
        source: &BlobSource,
        session: Option<UploadSession>,
        progress: Option<&Progress>,
    ) -> Result<(), RegistryError> {
        // The budget starts with the turn: a queue that moves is no failure.
        let turn = self
            .transport()
            .upload_turn(self.reference.registry())
            .await;
        let _turn = turn.map_err(|fault| self.error(fault))?;
        let mut attempts = self.attempts();
        let mut session = session;
        let mut offset = 0;
        loop {
            let into = match session.take() {
                Some(session) => session,
                None => self.retrying(|deadline| self.begin_once(deadline)).await?,
            };
            let deadline = attempts.deadline();
            let sent = self
                .upload_once(blob, source, &into, offset, progress, deadline)
                .await;
            let Err(fault) = sent else {
                if let Some(entry) = into.entry {
                    entry.close();
                }
                return Ok(());
            };
            let error = self.error(fault);
            let retryable = error.is_retryable() || lost_session(&error);
            let unanswered = matches!(error.kind(), ErrorKind::Network | ErrorKind::Timeout);
            attempts.pause_if(retryable, error).await?;
            let deadline = attempts.deadline();
            // The answer to a finished upload may be what was lost.
            if unanswered
                && self
                    .exists_once(&blob.digest, deadline)
                    .await
                    .unwrap_or(false)
            {
                return Ok(());
            }
            let before = offset;
            (session, offset) = self.resume_point(into, blob.size, deadline).await;
            attempts.progress(offset.saturating_sub(before));
        }
    }

    async fn upload_once(
        &self,
        blob: &Descriptor,
        source: &BlobSource,
        session: &UploadSession,
        offset: u64,
        progress: Option<&Progress>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let location = &session.location;
        let mut closing = location.clone();
        let mut body = Body::Upload(Arc::new(UploadBody::new(blob, source, offset, progress)));
        if offset > 0 {
            // The rest goes by PATCH, and an empty PUT closes the upload.
            let mut request = Request::new(Method::PATCH, location.clone(), &[202, 201, 204]);
            request.headers = octets();
            let range = HeaderValue::from_str(&format!("{offset}-{}", blob.size - 1));
            request
                .headers
                .insert(header::CONTENT_RANGE, range.expect("numbers are ASCII"));
            request.body = Some(body);
            let answer = self.send(&request, deadline).await?;
            closing = self.location(&answer)?;
            body = Body::Bytes(Bytes::new());
        }
        closing
            .query_pairs_mut()
            .append_pair("digest", &blob.digest.to_string());
        let mut request = Request::new(Method::PUT, closing, &[200, 201, 204]);
        request.headers = octets();
        request.body = Some(body);
        let answer = self.send(&request, deadline).await?;
        match answer.digest().filter(|actual| *actual != blob.digest) {
            Some(actual) => Err(Fault::Digest {
                expected: blob.digest,
                actual,
            }),
            None => Ok(()),
        }
    }

    /// Asks how far an upload has come. Whatever is not a clear answer starts anew.
    async fn resume_point(
        &self,
        session: UploadSession,
        size: u64,
        deadline: Instant,
    ) -> (Option<UploadSession>, u64) {
        let request = Request::new(Method::GET, session.location.clone(), &[204]);
        let Ok(answer) = self.send(&request, deadline).await else {
            return (None, 0);
        };
        let session = match answer.header("location") {
            Some(_) => self.location(&answer).ok().map(|location| UploadSession {
                location,
                ..session
            }),
            None => Some(session),
        };
        let end = answer
            .header("range")
            .and_then(|range| range.trim_start_matches("bytes=").strip_prefix("0-"))
            .and_then(|end| end.parse::<u64>().ok());
        match (session, end) {
            // `0-0` also stands for nothing at all.
            (Some(session), Some(end)) if end > 0 && end < size - 1 => (Some(session), end + 1),
            _ => (None, 0),
        }
    }
}

fn octets() -> HeaderMap {
    let kind = HeaderValue::from_static("application/octet-stream");
    HeaderMap::from_iter([(header::CONTENT_TYPE, kind)])
}

/// Whether the registry no longer knows the upload, which a new one cures.
fn lost_session(error: &RegistryError) -> bool {
    let codes = [
        "BLOB_UPLOAD_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "RANGE_INVALID",
    ];
    error.status() == Some(416) || codes.iter().any(|code| error.has_code(code))
}
