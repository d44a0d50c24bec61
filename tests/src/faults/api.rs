//! A client that lives through the end of its server.

use std::time::Duration;

use kiln_api::BuildStatus;
use serde_json::Value;

/// What came of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// The status of a build, by 200 or 202.
    Status(Box<BuildStatus>),
    /// Anything else, with its code.
    Refused(u16, Value),
    /// No answer.
    Broken,
}

/// The API of a kiln.
#[derive(Debug, Clone)]
pub(super) struct Api {
    http: reqwest::Client,
    builds: String,
}

impl Api {
    pub(super) fn new(url: &str) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_mins(5));
        Self {
            http: http.build().expect("a client without options of its own"),
            builds: format!("{url}/v1/builds"),
        }
    }

    /// Asks for an environment.
    pub(super) async fn post(&self, body: &Value) -> Answer {
        answer(self.http.post(&self.builds).json(body)).await
    }

    /// Asks where a build is.
    pub(super) async fn show(&self, id: &str) -> Answer {
        answer(self.http.get(format!("{}/{id}", self.builds))).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let Ok(response) = request.send().await else {
        return Answer::Broken;
    };
    let code = response.status().as_u16();
    let Ok(bytes) = response.bytes().await else {
        return Answer::Broken;
    };
    if matches!(code, 200 | 202)
        && let Ok(status) = serde_json::from_slice(&bytes)
    {
        return Answer::Status(Box::new(status));
    }
    Answer::Refused(code, serde_json::from_slice(&bytes).unwrap_or_default())
}
