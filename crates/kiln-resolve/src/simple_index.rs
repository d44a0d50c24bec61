//! Reads a project's page of a package index: PEP 503 (HTML) and PEP 691 (JSON).

use futures::TryStreamExt as _;
use kiln_conda::Credentials;
use serde::Deserialize;
use url::Url;

/// The most bytes of one page; the largest real ones have some 20 MB.
const MOST_BYTES: usize = 64 << 20;
const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

/// A file that a project's page offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexFile {
    pub(crate) file_name: String,
    pub(crate) url: Url,
    pub(crate) requires_python: Option<String>,
    pub(crate) yanked: bool,
}

/// Says why a page can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexPageError {
    /// The request failed.
    #[error("asking the package index at {host} failed")]
    Request {
        /// The index's host.
        host: String,
        /// Why; its address is left out.
        #[source]
        source: reqwest::Error,
    },
    /// The index answered with an error.
    #[error("the package index at {host} answered HTTP {status}")]
    Status {
        /// The index's host.
        host: String,
        /// The status.
        status: u16,
    },
    /// The page is too large or not readable.
    #[error("the package index at {host} gave a page that is not readable")]
    Page {
        /// The index's host.
        host: String,
    },
}

/// Fetches and reads a project's page.
pub(crate) async fn project(
    client: &reqwest::Client,
    credentials: &Credentials,
    page: &Url,
) -> Result<Vec<IndexFile>, IndexPageError> {
    let host = || page.host_str().unwrap_or("?").to_owned();
    let failed = |source: reqwest::Error| IndexPageError::Request {
        host: host(),
        source: source.without_url(),
    };
    let authorized = credentials.authorize(page);
    let mut request = client
        .get(authorized.url)
        .header(reqwest::header::ACCEPT, ACCEPT);
    if let Some(header) = authorized.header {
        request = request.header(reqwest::header::AUTHORIZATION, header);
    }
    let response = request.send().await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(IndexPageError::Status {
            host: host(),
            status: response.status().as_u16(),
        });
    }
    let json = response
        .headers()
        .get(reqwest::header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.contains("json"));
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.try_next().await.map_err(failed)? {
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(IndexPageError::Page { host: host() });
        }
        body.extend_from_slice(&chunk);
    }
    let files = if json {
        from_json(&body, page)
    } else {
        Some(from_html(&String::from_utf8_lossy(&body), page))
    };
    files.ok_or_else(|| IndexPageError::Page { host: host() })
}

#[derive(Deserialize)]
struct Project {
    files: Vec<ProjectFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ProjectFile {
    filename: String,
    url: String,
    requires_python: Option<String>,
    #[serde(default)]
    yanked: Yanked,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Yanked {
    Is(bool),
    Why(String),
}

impl Default for Yanked {
    fn default() -> Self {
        Self::Is(false)
    }
}

fn from_json(body: &[u8], page: &Url) -> Option<Vec<IndexFile>> {
    let project: Project = serde_json::from_slice(body).ok()?;
    let files = project.files.into_iter().filter_map(|file| {
        Some(IndexFile {
            url: page.join(&file.url).ok()?,
            file_name: file.filename,
            requires_python: file.requires_python,
            yanked: match file.yanked {
                Yanked::Is(yanked) => yanked,
                Yanked::Why(reason) => {
                    let _ = reason;
                    true
                }
            },
        })
    });
    Some(files.collect())
}

/// Reads the anchors of a page; the text between them is the file's name.
fn from_html(html: &str, page: &Url) -> Vec<IndexFile> {
    let mut files = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find("<a ") {
        rest = &rest[start + 3..];
        let Some(end) = rest.find('>') else { break };
        let attributes = &rest[..end];
        rest = &rest[end + 1..];
        let Some(url) = attribute(attributes, "href").and_then(|href| page.join(&href).ok()) else {
            continue;
        };
        let text = rest[..rest.find('<').unwrap_or(rest.len())].trim();
        let file_name = if text.is_empty() {
            url.path().rsplit('/').next().unwrap_or_default().to_owned()
        } else {
            unescape(text)
        };
        let mut url = url;
        url.set_fragment(None);
        files.push(IndexFile {
            file_name,
            url,
            requires_python: attribute(attributes, "data-requires-python"),
            yanked: attributes.contains("data-yanked"),
        });
    }
    files
}

fn attribute(attributes: &str, name: &str) -> Option<String> {
    let start = attributes.find(&format!("{name}="))? + name.len() + 1;
    let rest = &attributes[start..];
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let value = &rest[1..];
    Some(unescape(&value[..value.find(quote)?]))
}

fn unescape(text: &str) -> String {
    text.replace("&gt;", ">")
        .replace("&lt;", "<")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&#x27;", "'")
        .replace("&amp;", "&")
}

/// The page of a project below an index's address.
pub(crate) fn page_of(index: &Url, name: &str) -> Option<Url> {
    let mut base = index.clone();
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", index.path()));
    }
    base.join(&format!("{name}/")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_page_say_the_same() {
        let page = Url::parse("http://localhost/simple/foo/").expect("a URL");
        let html = r#"<html><body><a href="foo-1.0-py3-none-any.whl#sha256=00" data-requires-python="&gt;=3.8">foo-1.0-py3-none-any.whl</a>
            <a data-yanked="broken" href='../../files/foo-2.0.tar.gz'>foo-2.0.tar.gz</a></body></html>"#;
        let json = br#"{"files": [
            {"filename": "foo-1.0-py3-none-any.whl", "url": "foo-1.0-py3-none-any.whl", "hashes": {}, "requires-python": ">=3.8"},
            {"filename": "foo-2.0.tar.gz", "url": "/files/foo-2.0.tar.gz", "hashes": {}, "yanked": "broken"}]}"#;
        let files = from_html(html, &page);
        assert_eq!(Some(&files), from_json(json, &page).as_ref());
        assert_eq!(files.len(), 2);
        assert_eq!(files[0].requires_python.as_deref(), Some(">=3.8"));
        assert_eq!(
            files[1].url.as_str(),
            "http://localhost/files/foo-2.0.tar.gz"
        );
        assert!(files[1].yanked && !files[0].yanked);
    }
}
