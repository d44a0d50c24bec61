//! Small readers of what distributions write about themselves.

use std::collections::BTreeMap;

/// What `os-release` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OsRelease {
    pub(super) id: Option<String>,
    pub(super) version_id: Option<String>,
}

/// Reads `os-release` (freedesktop.org, os-release(5)).
pub(super) fn os_release(content: &[u8]) -> OsRelease {
    let text = String::from_utf8_lossy(content);
    let value = |name: &str| {
        text.lines().find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix('=')?.trim();
            let value = value.trim_matches(['"', '\'']);
            (!value.is_empty() && value.len() < 64).then(|| value.to_owned())
        })
    };
    OsRelease {
        id: value("ID"),
        version_id: value("VERSION_ID"),
    }
}

/// Versions of installed packages in dpkg's status file.
pub(super) fn dpkg_versions(content: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(content);
    let mut versions = BTreeMap::new();
    for paragraph in text.split("\n\n") {
        let value = |name: &str| {
            paragraph
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        // Distroless images have files without a Status field.
        let installed = value("Status").is_none_or(|status| status.ends_with(" installed"));
        if let (true, Some(name), Some(version)) = (installed, value("Package"), value("Version")) {
            versions.insert(name.trim().to_owned(), version.trim().to_owned());
        }
    }
    versions
}

/// At most `parts` numbers of a Debian version's upstream part: `1:2.36-9+deb12u10` is `2.36`.
pub(super) fn upstream(version: &str, parts: usize) -> Option<String> {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let numbers: Vec<&str> = version
        .split(['-', '+', '~'])
        .next()?
        .split('.')
        .take(parts)
        .take_while(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        .collect();
    (numbers.len() >= 2).then(|| numbers.join("."))
}

/// The version that glibc's own library carries in its banner.
pub(super) fn glibc_of_library(content: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"GNU C Library";
    const VERSION: &[u8] = b"release version ";
    let start = find(content, BANNER)?;
    let banner = &content[start..content.len().min(start + 200)];
    let version = &banner[find(banner, VERSION)? + VERSION.len()..];
    let end = version
        .iter()
        .position(|b| !b.is_ascii_digit() && *b != b'.')?;
    let text = std::str::from_utf8(&version[..end]).ok()?;
    upstream(text.trim_end_matches('.'), 2)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// `major.minor` of the CUDA release an image is made for, from NVIDIA's variables.
pub(super) fn cuda(env: &BTreeMap<String, String>) -> Option<String> {
    let plain = env
        .get("CUDA_VERSION")
        .and_then(|version| upstream(version, 2));
    plain.or_else(|| {
        let required = env.get("NVIDIA_REQUIRE_CUDA")?;
        let version = required
            .split_whitespace()
            .find_map(|word| word.strip_prefix("cuda>="))?;
        upstream(version, 2)
    })
}
