//! The command line as a client of a running `kiln serve`.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kiln_api::{BuildRequest, BuildStatus, Failure, FailureClass, LogEvent};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::data_lock::ServerAddress;
use crate::error::CliError;

/// Speaks the native API.
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: Failure,
}

impl Client {
    /// A client of a server; the token is sent to it alone.
    pub(crate) fn new(address: &ServerAddress, token: Option<String>) -> Result<Self, CliError> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| CliError::kiln("the HTTP client can't start", &error))?;
        Ok(Self {
            http,
            url: address.url.trim_end_matches('/').to_owned(),
            token,
        })
    }

    /// `POST /v1/builds`.
    pub(crate) async fn build(&self, request: &BuildRequest) -> Result<BuildStatus, CliError> {
        let request = self
            .http
            .post(format!("{}/v1/builds", self.url))
            .json(request);
        self.answer(request).await
    }

    /// `GET /v1/builds/{id}`.
    pub(crate) async fn status(&self, id: &str) -> Result<BuildStatus, CliError> {
        self.answer(self.http.get(format!("{}/v1/builds/{id}", self.url)))
            .await
    }

    /// `DELETE /v1/builds/{id}`.
    pub(crate) async fn cancel(&self, id: &str) -> Result<BuildStatus, CliError> {
        self.answer(self.http.delete(format!("{}/v1/builds/{id}", self.url)))
            .await
    }

    /// Gives each event of a build's log to `show`, until the build is over.
    pub(crate) async fn follow(
        &self,
        id: &str,
        mut show: impl FnMut(&LogEvent),
    ) -> Result<(), CliError> {
        let request = self.http.get(format!("{}/v1/builds/{id}/logs", self.url));
        let response = self.send(request).await?;
        let mut stream = response.bytes_stream();
        let mut pending = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| CliError::kiln("the log broke off", &error))?;
            pending.extend_from_slice(&chunk);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                if let Some(data) = line.strip_prefix(b"data: ")
                    && let Ok(event) = serde_json::from_slice(data)
                {
                    show(&event);
                }
            }
        }
        Ok(())
    }

    /// `GET` of a path.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.answer(self.http.get(format!("{}{path}", self.url)))
            .await
    }

    /// `POST` of a body to a path.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let request = self.http.post(format!("{}{path}", self.url)).json(body);
        self.answer(request).await
    }

    /// `POST` of a tar to a path, while it is written.
    pub(crate) async fn post_tar<T: DeserializeOwned>(
        &self,
        path: &str,
        tar: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<T, CliError> {
        let request = self
            .http
            .post(format!("{}{path}", self.url))
            .header(reqwest::header::CONTENT_TYPE, "application/x-tar")
            .body(reqwest::Body::wrap_stream(tar));
        self.answer(request).await
    }

    /// `PUT` of a file to a path, while it is read.
    pub(crate) async fn put_file<T: DeserializeOwned>(
        &self,
        path: &str,
        file: tokio::fs::File,
    ) -> Result<T, CliError> {
        let body = reqwest::Body::wrap_stream(tokio_util::io::ReaderStream::new(file));
        let request = self.http.put(format!("{}{path}", self.url)).body(body);
        self.answer(request).await
    }

    /// The bytes that a path answers with.
    pub(crate) async fn content(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + use<>, CliError> {
        let response = self
            .send(self.http.get(format!("{}{path}", self.url)))
            .await?;
        Ok(response.bytes_stream().map_err(std::io::Error::other))
    }

    /// `PUT` of a body to a path.
    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let request = self.http.put(format!("{}{path}", self.url)).json(body);
        self.answer(request).await
    }

    /// `PATCH` of a body to a path.
    pub(crate) async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let request = self.http.patch(format!("{}{path}", self.url)).json(body);
        self.answer(request).await
    }

    /// `POST` of a body to a path, for an answer of nothing.
    pub(crate) async fn post_empty(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), CliError> {
        let request = self.http.post(format!("{}{path}", self.url)).json(body);
        self.send(request).await.map(drop)
    }

    /// `POST` of nothing, for an answer of nothing.
    pub(crate) async fn send_empty(&self, path: &str) -> Result<(), CliError> {
        let request = self.http.post(format!("{}{path}", self.url));
        self.send(request).await.map(drop)
    }

    /// `DELETE` of a path.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), CliError> {
        let request = self.http.delete(format!("{}{path}", self.url));
        self.send(request).await.map(drop)
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, CliError> {
        let response = self.send(request).await?;
        response
            .json()
            .await
            .map_err(|error| CliError::kiln("the server's answer is not kiln's", &error))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, CliError> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.map_err(|error| {
            CliError::Failure(Failure::new(
                FailureClass::Network,
                format!(
                    "the server {} does not answer: {}",
                    self.url,
                    error.without_url()
                ),
                "check that `kiln serve` runs there, or leave --server out",
            ))
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body: Option<ErrorBody> = response.json().await.ok();
        Err(CliError::Failure(body.map_or_else(
            || {
                Failure::new(
                    FailureClass::Network,
                    format!("the server {} answers {status}", self.url),
                    "check that it is a `kiln serve`",
                )
            },
            |body| body.error,
        )))
    }
}
