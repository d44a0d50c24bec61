//! Fetches the archives of a lock, each verified by its digest.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _};
use kiln_conda::Credentials;
use kiln_lock::{CondaPackage, Lock, Wheel};
use kiln_oci::Digest;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{ArchiveStore, HoldError, PutError};

/// Waits between the tries of one archive.
const WAITS: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(4),
];
/// The longest `Retry-After` that is waited for.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How long a download may bring nothing.
const IDLE: Duration = Duration::from_mins(1);
/// The most bytes of an archive whose size nobody told.
const MOST_BYTES: u64 = 32 << 30;

/// An archive to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The file's name, for people.
    pub file_name: String,
    /// Its address without credentials.
    pub url: String,
    /// Its digest.
    pub sha256: Digest,
    /// Its size in bytes, where it is known.
    pub size_bytes: Option<u64>,
}

impl From<&CondaPackage> for Archive {
    fn from(package: &CondaPackage) -> Self {
        Self {
            file_name: package.file_name.clone(),
            url: package.url.clone(),
            sha256: package.sha256,
            size_bytes: package.size_bytes,
        }
    }
}

impl From<&Wheel> for Archive {
    fn from(wheel: &Wheel) -> Self {
        Self {
            file_name: wheel.file_name.clone(),
            url: wheel.url.clone(),
            sha256: wheel.sha256,
            size_bytes: wheel.size_bytes,
        }
    }
}

/// Every archive of a lock.
pub fn archives(lock: &Lock) -> Vec<Archive> {
    let conda = lock.conda.iter().map(Archive::from);
    conda.chain(lock.pip.iter().map(Archive::from)).collect()
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FetchProgress {
    /// Archives that are in the store.
    pub archives_done: u64,
    /// Archives there are.
    pub archives_total: u64,
    /// Bytes that came or were there, as far as sizes are known.
    pub bytes_done: u64,
    /// Bytes there are, as far as sizes are known.
    pub bytes_total: u64,
}

/// Why an archive could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The address is none.
    #[error("`{file_name}` has no address that can be fetched")]
    Address {
        /// The archive.
        file_name: String,
    },
    /// It is not there any more.
    #[error("`{file_name}` is not at {host} any more (HTTP {status})")]
    Gone {
        /// The archive.
        file_name: String,
        /// The host.
        host: String,
        /// 404 or 410.
        status: u16,
    },
    /// Access is refused.
    #[error("{host} refuses access to `{file_name}` (HTTP {status})")]
    Denied {
        /// The archive.
        file_name: String,
        /// The host.
        host: String,
        /// 401, 403 or 407.
        status: u16,
    },
    /// The server answers with an error.
    #[error("fetching `{file_name}` from {host} failed: HTTP {status}")]
    Status {
        /// The archive.
        file_name: String,
        /// The host.
        host: String,
        /// The status.
        status: u16,
    },
    /// The connection fails.
    #[error("fetching `{file_name}` from {host} failed")]
    Network {
        /// The archive.
        file_name: String,
        /// The host.
        host: String,
        /// Why, without an address.
        #[source]
        source: io::Error,
    },
    /// The bytes are others than the lock's.
    #[error("`{file_name}` from {host} has digest {actual}, the lock has {expected}")]
    Digest {
        /// The archive.
        file_name: String,
        /// The host.
        host: String,
        /// What the lock says.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The store's disk fails.
    #[error("storing `{file_name}` failed")]
    Disk {
        /// The archive.
        file_name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store can't keep them.
    #[error("packages can't be held while they are used")]
    Hold(#[source] HoldError),
    /// Somebody cancelled.
    #[error("fetching packages was cancelled")]
    Cancelled,
}

/// Fetches archives into a store.
#[derive(Debug, Clone)]
pub struct Fetcher {
    /// The client; it sends no `Referer`.
    pub client: reqwest::Client,
    /// Credentials by address.
    pub credentials: Credentials,
    /// How many archives are fetched at a time.
    pub concurrency: usize,
}

impl Fetcher {
    /// Fetches all archives that the store does not have; repeating it resumes. The first failure ends
    /// it, and what was stored stays.
    pub async fn fetch(
        &self,
        archives: &[Archive],
        store: &dyn ArchiveStore,
        progress: &(dyn Fn(FetchProgress) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), FetchError> {
        let unique: BTreeMap<Digest, &Archive> = archives
            .iter()
            .map(|archive| (archive.sha256, archive))
            .collect();
        let digests: Vec<Digest> = unique.keys().copied().collect();
        store.hold(&digests).await.map_err(FetchError::Hold)?;
        let known_sizes = unique.values().filter_map(|archive| archive.size_bytes);
        let tally = Tally {
            archives_total: unique.len() as u64,
            bytes_total: known_sizes.sum(),
            archives_done: AtomicU64::new(0),
            bytes_done: AtomicU64::new(0),
            report: progress,
        };
        tally.tell();
        // Boxed, because the compiler can't tell that futures over borrowed archives are `Send`.
        let (tally, archives) = (&tally, unique.into_values());
        let fetches: Vec<BoxFuture<'_, Result<(), FetchError>>> = archives
            .map(|archive| self.one(archive, store, tally).boxed())
            .collect();
        let mut work = futures::stream::iter(fetches).buffer_unordered(self.concurrency.max(1));
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(FetchError::Cancelled),
                next = work.next() => match next {
                    None => return Ok(()),
                    Some(outcome) => outcome?,
                }
            }
        }
    }

    async fn one(
        &self,
        archive: &Archive,
        store: &dyn ArchiveStore,
        tally: &Tally<'_>,
    ) -> Result<(), FetchError> {
        if store.path_of(&archive.sha256).await.is_some() {
            tally.finished(archive);
            return Ok(());
        }
        let url = Url::parse(&archive.url).map_err(|_| FetchError::Address {
            file_name: archive.file_name.clone(),
        })?;
        let mut waits = WAITS.iter();
        loop {
            let (failure, pause) = match self.attempt(archive, &url, store).await {
                Ok(()) => {
                    tally.finished(archive);
                    return Ok(());
                }
                Err(attempt) => (attempt.error, attempt.wait),
            };
            let Some(wait) = waits.next().filter(|_| is_passing(&failure)) else {
                return Err(failure);
            };
            tracing::debug!(file = archive.file_name, error = %failure, "fetching again");
            tokio::time::sleep(pause.unwrap_or(*wait).min(LONGEST_WAIT)).await;
        }
    }

    async fn attempt(
        &self,
        archive: &Archive,
        url: &Url,
        store: &dyn ArchiveStore,
    ) -> Result<(), Attempt> {
        let file_name = archive.file_name.clone();
        let host = url.host_str().unwrap_or("a local folder").to_owned();
        let limit = archive.size_bytes.unwrap_or(MOST_BYTES);
        let stream = match url.scheme() {
            "file" => {
                let path = url.to_file_path().map_err(|()| FetchError::Address {
                    file_name: file_name.clone(),
                })?;
                let file = fs_err::tokio::File::open(path).await.map_err(|source| {
                    if source.kind() == io::ErrorKind::NotFound {
                        FetchError::Gone {
                            file_name: file_name.clone(),
                            host: host.clone(),
                            status: 404,
                        }
                    } else {
                        FetchError::Network {
                            file_name: file_name.clone(),
                            host: host.clone(),
                            source,
                        }
                    }
                })?;
                limited(
                    tokio_util::io::ReaderStream::with_capacity(file, 256 * 1024),
                    limit,
                )
                .boxed()
            }
            "http" | "https" => {
                let response = self.request(archive, url, &host).await?;
                let body = response
                    .bytes_stream()
                    .map_err(|error| io::Error::other(error.without_url()));
                limited(body, limit).boxed()
            }
            _ => return Err(FetchError::Address { file_name }.into()),
        };
        store.put(&archive.sha256, stream).await.map_err(|error| {
            Attempt::from(match error {
                PutError::Stream(source) => FetchError::Network {
                    file_name,
                    host,
                    source,
                },
                PutError::Disk(source) => FetchError::Disk { file_name, source },
                PutError::Digest { actual } => FetchError::Digest {
                    file_name,
                    host,
                    expected: archive.sha256,
                    actual,
                },
            })
        })
    }

    async fn request(
        &self,
        archive: &Archive,
        url: &Url,
        host: &str,
    ) -> Result<reqwest::Response, Attempt> {
        let file_name = archive.file_name.clone();
        let host = host.to_owned();
        let authorized = self.credentials.authorize(url);
        let mut request = self.client.get(authorized.url);
        if let Some(header) = authorized.header {
            request = request.header(reqwest::header::AUTHORIZATION, header);
        }
        let network = |source: io::Error| FetchError::Network {
            file_name: file_name.clone(),
            host: host.clone(),
            source,
        };
        let response = tokio::time::timeout(IDLE, request.send())
            .await
            .map_err(|_| network(io::Error::new(io::ErrorKind::TimedOut, "no answer came")))?
            .map_err(|error| network(io::Error::other(error.without_url())))?;
        let status = response.status().as_u16();
        match status {
            200..=299 => Ok(response),
            404 | 410 => Err(FetchError::Gone {
                file_name,
                host,
                status,
            }
            .into()),
            401 | 403 | 407 => Err(FetchError::Denied {
                file_name,
                host,
                status,
            }
            .into()),
            _ => {
                let wait = response
                    .headers()
                    .get(reqwest::header::RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                    .map(Duration::from_secs);
                Err(Attempt {
                    error: FetchError::Status {
                        file_name,
                        host,
                        status,
                    },
                    wait,
                })
            }
        }
    }
}

/// A try that failed, and how long the server asks to wait.
struct Attempt {
    error: FetchError,
    wait: Option<Duration>,
}

impl From<FetchError> for Attempt {
    fn from(error: FetchError) -> Self {
        Self { error, wait: None }
    }
}

/// Whether the same request may succeed in a moment. Other bytes too: a proxy may have cut them.
fn is_passing(error: &FetchError) -> bool {
    match error {
        FetchError::Network { .. } | FetchError::Digest { .. } => true,
        FetchError::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
        _ => false,
    }
}

/// A stream that fails when nothing comes for a minute or more comes than there should be.
fn limited<S>(stream: S, limit: u64) -> impl Stream<Item = io::Result<Bytes>> + Send
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let state = (Box::pin(stream), limit, false);
    futures::stream::unfold(state, |(mut stream, left, failed)| async move {
        if failed {
            return None;
        }
        match tokio::time::timeout(IDLE, stream.next()).await {
            Err(_) => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "nothing came for a minute");
                Some((Err(error), (stream, left, true)))
            }
            Ok(None) => None,
            Ok(Some(Err(error))) => Some((Err(error), (stream, left, true))),
            Ok(Some(Ok(bytes))) => {
                if let Some(left) = left.checked_sub(bytes.len() as u64) {
                    Some((Ok(bytes), (stream, left, false)))
                } else {
                    let error = io::Error::other("more bytes come than the archive has");
                    Some((Err(error), (stream, 0, true)))
                }
            }
        }
    })
}

struct Tally<'a> {
    archives_total: u64,
    bytes_total: u64,
    archives_done: AtomicU64,
    bytes_done: AtomicU64,
    report: &'a (dyn Fn(FetchProgress) + Send + Sync),
}

impl Tally<'_> {
    fn finished(&self, archive: &Archive) {
        self.archives_done.fetch_add(1, Ordering::Relaxed);
        self.bytes_done
            .fetch_add(archive.size_bytes.unwrap_or(0), Ordering::Relaxed);
        self.tell();
    }

    fn tell(&self) {
        (self.report)(FetchProgress {
            archives_done: self.archives_done.load(Ordering::Relaxed),
            archives_total: self.archives_total,
            bytes_done: self.bytes_done.load(Ordering::Relaxed),
            bytes_total: self.bytes_total,
        });
    }
}
