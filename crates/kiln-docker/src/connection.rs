//! The Docker Engine: its address, its version, and a second connection for the build's progress.

use std::path::Path;

use bollard::Docker;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint};

/// Where a local engine listens.
pub const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// An answer to the upgrade request is shorter than this.
const UPGRADE_LIMIT_BYTES: usize = 8 << 10;
/// The engine's answers of a build are streams; only the connection itself has a limit.
const TIMEOUT_SECONDS: u64 = 120;

/// An engine's address.
#[derive(Debug, Clone)]
pub struct Connection {
    host: String,
}

/// Why an engine can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is of no known kind.
    #[error("`{0}` is no address of a Docker Engine: use unix:///PATH or tcp://HOST:PORT")]
    Address(String),
    /// Nothing answers there.
    #[error("no Docker Engine answers at {host}")]
    Down {
        /// The address.
        host: String,
        /// The cause.
        #[source]
        source: bollard::errors::Error,
    },
    /// Something answers, but does not switch to BuildKit's protocol.
    #[error("the Docker Engine at {host} has no BuildKit")]
    NoBuildKit {
        /// The address.
        host: String,
    },
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EngineVersion {
    pub(crate) version: String,
    pub(crate) api: String,
}

impl Connection {
    /// An engine's address, `unix:///PATH` or `tcp://HOST:PORT`.
    pub fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
        }
    }

    /// The address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A client of the engine's API; nothing is connected yet.
    pub(crate) fn client(&self) -> Result<Docker, ConnectError> {
        let version = bollard::API_DEFAULT_VERSION;
        let client = if self.host.starts_with("unix://") {
            // A missing socket is told as a connection that failed, like every other fault of the kind.
            Docker::connect_with_unix(&self.host, TIMEOUT_SECONDS, version)
        } else if self.host.starts_with("tcp://") || self.host.starts_with("http://") {
            Docker::connect_with_http(&self.host, TIMEOUT_SECONDS, version)
        } else {
            return Err(ConnectError::Address(self.host.clone()));
        };
        client.map_err(|source| ConnectError::Down {
            host: self.host.clone(),
            source,
        })
    }

    /// A client that speaks a version the engine knows, and the engine's version.
    pub(crate) async fn open(&self) -> Result<(Docker, EngineVersion), ConnectError> {
        let down = |source| ConnectError::Down {
            host: self.host.clone(),
            source,
        };
        let client = self.client()?.negotiate_version().await.map_err(down)?;
        let version = client.version().await.map_err(down)?;
        let version = EngineVersion {
            version: version.version.unwrap_or_default(),
            api: version.api_version.unwrap_or_default(),
        };
        Ok((client, version))
    }

    /// BuildKit's control service on a connection of its own, for the progress of a build that another
    /// connection runs.
    pub(crate) async fn control(&self) -> Result<ControlClient<Channel>, ConnectError> {
        let connection = self.clone();
        let connector = tower::service_fn(move |_: http::Uri| {
            let connection = connection.clone();
            async move { connection.upgraded().await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://buildkit")
            .connect_with_connector(connector)
            .await
            .map_err(|_| ConnectError::NoBuildKit {
                host: self.host.clone(),
            })?;
        Ok(ControlClient::new(channel).max_decoding_message_size(64 << 20))
    }

    /// A raw connection that was switched to HTTP/2 by `POST /grpc`.
    async fn upgraded(&self) -> std::io::Result<Box<dyn Stream>> {
        let mut stream: Box<dyn Stream> = if let Some(path) = self.host.strip_prefix("unix://") {
            Box::new(UnixStream::connect(Path::new(path)).await?)
        } else {
            let address = self
                .host
                .trim_start_matches("tcp://")
                .trim_start_matches("http://");
            Box::new(TcpStream::connect(address).await?)
        };
        let request = "POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() > UPGRADE_LIMIT_BYTES {
                return Err(std::io::Error::other("the engine's answer has no end"));
            }
            answer.push(stream.read_u8().await?);
        }
        if answer.starts_with(b"HTTP/1.1 101") {
            return Ok(stream);
        }
        Err(std::io::Error::other(
            "the engine does not switch to BuildKit's protocol",
        ))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
