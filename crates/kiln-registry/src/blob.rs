//! Fetching blobs.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use http::{HeaderValue, Method, header};
use kiln_oci::{Descriptor, Digest, Reference};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncRead;
use tokio::time::Instant;
use tokio_util::io::StreamReader;

use crate::client::{Exchange, RegistryClient};
use crate::error::{Operation, RegistryError};
use crate::fault::Fault;
use crate::retry::Attempts;
use crate::scope::Scopes;
use crate::transport::{Answer, Request};

/// The bytes of a blob as they arrive.
///
/// Size and digest are checked on the way: what is not the blob ends with an error, never with a plain
/// end. A connection that breaks is taken up again where it broke, inside the budget. Bytes that were
/// handed out must not be trusted before the end is reached.
pub struct BlobStream(BoxStream<'static, Result<Bytes, RegistryError>>);

impl BlobStream {
    /// The same bytes as a reader; its errors carry the [`RegistryError`] inside.
    pub fn into_async_read(self) -> impl AsyncRead + Send + Unpin + 'static {
        StreamReader::new(self.0.map_err(io::Error::other))
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, RegistryError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobStream")
    }
}

impl RegistryClient {
    /// Asks whether a blob is in a repository.
    pub async fn blob_exists(
        &self,
        repository: &Reference,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let scopes = Scopes::pull(repository.repository());
        let subject = Some(digest.to_string());
        let exchange = Exchange::new(self, repository, Operation::CheckBlob, subject, scopes);
        exchange
            .retrying(|deadline| exchange.exists_once(digest, deadline))
            .await
    }

    /// Fetches a blob of at most `limit` bytes whole. Bytes with a wrong digest are fetched again, three
    /// times in all.
    pub async fn blob_bytes(
        &self,
        repository: &Reference,
        blob: &Descriptor,
        limit: u64,
    ) -> Result<Bytes, RegistryError> {
        self.fetch_bytes(Operation::FetchBlob, repository, blob, limit)
            .await
    }

    pub(crate) async fn fetch_bytes(
        &self,
        operation: Operation,
        repository: &Reference,
        blob: &Descriptor,
        limit: u64,
    ) -> Result<Bytes, RegistryError> {
        let exchange = blob_exchange(self, operation, repository, blob);
        if blob.size > limit {
            return Err(exchange.error(Fault::TooLarge { limit }));
        }
        let mut attempts = exchange.attempts();
        loop {
            match Download::new(exchange.clone(), blob).collect().await {
                Ok(bytes) => return Ok(bytes),
                // Everything else was tried again by the download itself.
                Err(error) => {
                    let integrity =
                        matches!(error.fault(), Fault::Digest { .. } | Fault::Size { .. });
                    attempts.pause_if(integrity, error).await?;
                }
            }
        }
    }

    /// Fetches a blob as a stream; returns when its first answer is there. The descriptor's `urls` are not
    /// followed.
    pub async fn blob_stream(
        &self,
        repository: &Reference,
        blob: &Descriptor,
    ) -> Result<BlobStream, RegistryError> {
        let exchange = blob_exchange(self, Operation::FetchBlob, repository, blob);
        let mut download = Download::new(exchange, blob);
        download.open().await?;
        let stream = futures::stream::try_unfold(download, |mut download| async move {
            Ok(download.next().await?.map(|bytes| (bytes, download)))
        });
        Ok(BlobStream(stream.boxed()))
    }
}

fn blob_exchange(
    client: &RegistryClient,
    operation: Operation,
    repository: &Reference,
    blob: &Descriptor,
) -> Exchange {
    let subject = Some(blob.digest.to_string());
    Exchange::new(
        client,
        repository,
        operation,
        subject,
        Scopes::pull(repository.repository()),
    )
}

impl Exchange {
    /// One HEAD of a blob.
    pub(crate) async fn exists_once(
        &self,
        digest: &Digest,
        deadline: Instant,
    ) -> Result<bool, Fault> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let request = Request::new(Method::HEAD, url, &[200, 404]);
        Ok(self.send(&request, deadline).await?.status == 200)
    }
}

/// A blob on its way.
struct Download {
    exchange: Exchange,
    attempts: Attempts,
    digest: Digest,
    size: u64,
    offset: u64,
    hasher: Sha256,
    answer: Option<Answer>,
    /// Bytes of the answer that are here already.
    skip: u64,
}

impl Download {
    fn new(exchange: Exchange, blob: &Descriptor) -> Self {
        Self {
            attempts: exchange.attempts(),
            exchange,
            digest: blob.digest,
            size: blob.size,
            offset: 0,
            hasher: Sha256::new(),
            answer: None,
            skip: 0,
        }
    }

    async fn collect(mut self) -> Result<Bytes, RegistryError> {
        let mut all = BytesMut::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }

    /// Asks for the rest of the blob, as often as the budget allows.
    async fn open(&mut self) -> Result<(), RegistryError> {
        while self.answer.is_none() {
            if let Err(fault) = self.open_once().await {
                self.attempts.pause(self.exchange.error(fault)).await?;
            }
        }
        Ok(())
    }

    async fn open_once(&mut self) -> Result<(), Fault> {
        let url = self.exchange.url(&format!("blobs/{}", self.digest))?;
        let mut request = Request::new(Method::GET, url, &[200, 206]);
        if self.offset > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.offset));
            request
                .headers
                .insert(header::RANGE, range.expect("a number is ASCII"));
        }
        let answer = self
            .exchange
            .send(&request, self.attempts.deadline())
            .await?;
        self.skip = match answer.status {
            206 if starts_at(&answer, self.offset) => 0,
            206 => return Err(Fault::Malformed("another range than was asked for".into())),
            _ => self.offset,
        };
        let expected = self.size - self.offset + self.skip;
        if let Some(actual) = answer.content_length().filter(|actual| *actual != expected) {
            return Err(Fault::Size { expected, actual });
        }
        self.answer = Some(answer);
        Ok(())
    }

    /// The next bytes; `None` when all have come and are right.
    async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            self.open().await?;
            let Some(answer) = &mut self.answer else {
                continue;
            };
            let fault = match answer.chunk().await {
                Ok(Some(bytes)) => match self.take(bytes).map_err(|f| self.exchange.error(f))? {
                    Some(bytes) => return Ok(Some(bytes)),
                    None => continue,
                },
                Ok(None) if self.offset == self.size => {
                    return self.finish().map_err(|fault| self.exchange.error(fault));
                }
                Ok(None) => Fault::Truncated {
                    expected: self.size,
                    actual: self.offset,
                },
                Err(fault) => fault,
            };
            self.answer = None;
            self.attempts.pause(self.exchange.error(fault)).await?;
        }
    }

    /// Takes bytes in: drops those that were here before, and more than there may be is a fault.
    fn take(&mut self, mut bytes: Bytes) -> Result<Option<Bytes>, Fault> {
        let skipped = self.skip.min(bytes.len() as u64);
        self.skip -= skipped;
        let bytes = bytes.split_off(usize::try_from(skipped).unwrap_or(usize::MAX));
        if bytes.is_empty() {
            return Ok(None);
        }
        let count = bytes.len() as u64;
        if self.offset + count > self.size {
            return Err(Fault::Size {
                expected: self.size,
                actual: self.offset + count,
            });
        }
        self.offset += count;
        self.hasher.update(&bytes);
        self.attempts.progress(count);
        Ok(Some(bytes))
    }

    fn finish(&mut self) -> Result<Option<Bytes>, Fault> {
        let actual = Digest::from_bytes(self.hasher.clone().finalize().into());
        if actual == self.digest {
            Ok(None)
        } else {
            Err(Fault::Digest {
                expected: self.digest,
                actual,
            })
        }
    }
}

/// Whether a partial answer starts at an offset: `Content-Range: bytes 5-9/10`.
fn starts_at(answer: &Answer, offset: u64) -> bool {
    answer
        .header("content-range")
        .and_then(|range| range.strip_prefix("bytes "))
        .and_then(|range| range.split_once('-'))
        .is_some_and(|(start, _)| start.trim().parse() == Ok(offset))
}
