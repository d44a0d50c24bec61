//! `conda-meta/NAME-VERSION-BUILD.json`: what conda and rattler read of an installed package.
//!
//! Keys stand in conda's order, which is the alphabet's. What depends on the machine or the clock
//! is left out: the paths of package caches, link sources, index times.

use serde::Serialize;

/// The record; empty values are left out where conda leaves them out.
#[derive(Serialize)]
pub(super) struct Record<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<&'a str>,
    pub build: &'a str,
    pub build_number: u64,
    pub channel: &'a str,
    pub constrains: &'a [String],
    pub depends: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<String>,
    pub files: Vec<&'a str>,
    #[serde(rename = "fn")]
    pub file_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license_family: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub md5: Option<&'a str>,
    pub name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noarch: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_type: Option<&'static str>,
    pub paths_data: PathsData,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<&'a str>,
    pub requested_spec: &'a str,
    pub sha256: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    pub subdir: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track_features: Option<String>,
    pub url: &'a str,
    pub version: &'a str,
}

/// The installed paths with what is known of each.
#[derive(Serialize)]
pub(super) struct PathsData {
    pub paths: Vec<PathData>,
    pub paths_version: u32,
}

/// One installed path.
#[derive(Serialize, Default)]
pub(super) struct PathData {
    #[serde(rename = "_path")]
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_link: Option<bool>,
    pub path_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_placeholder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256_in_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_in_bytes: Option<u64>,
}

impl Record<'_> {
    /// The record's text, as conda lays it out.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a record has only text keys")
    }
}

/// A URL without user information and without the `/t/TOKEN` of private channels.
pub(super) fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut out = format!("{scheme}://{host}");
    let mut segments = path.split('/').skip(1);
    while let Some(segment) = segments.next() {
        if segment == "t" && out.len() == scheme.len() + 3 + host.len() {
            segments.next();
            continue;
        }
        out.push('/');
        out.push_str(segment);
    }
    out
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        "https://u:p@h.example/c/linux-64/a.conda",
        "https://h.example/c/linux-64/a.conda"
    )]
    #[case(
        "https://h.example/t/tk-123/c/linux-64/",
        "https://h.example/c/linux-64/"
    )]
    #[case("https://h.example/c/t/x?sig=secret#md5", "https://h.example/c/t/x")]
    #[case("file:///srv/c", "file:///srv/c")]
    #[case("conda-forge", "conda-forge")]
    #[case("http://h.example", "http://h.example")]
    fn credentials_leave_a_url(#[case] url: &str, #[case] clean: &str) {
        assert_eq!(without_credentials(url), clean);
    }
}
