//! From a channel's record to the lock's package, with every check a hostile channel calls for.

use kiln_lock::CondaPackage;
use kiln_oci::Digest;
use rattler_conda_types::{NoArchKind, RepoDataRecord};
use url::Url;

use crate::CondaError;
use crate::channel::NamedChannel;

/// Why a record must not be chosen, in words for the solver's explanation.
pub(crate) fn refusal(record: &RepoDataRecord) -> Option<&'static str> {
    let package = &record.package_record;
    let file_name = record.identifier.to_file_name();
    if package.sha256.is_none() {
        Some("the channel gives no sha256 for it")
    } else if !is_plain(package.name.as_normalized())
        || !is_plain(&package.version.to_string())
        || !is_plain(package.build.as_str())
        || !is_plain(&file_name)
    {
        Some("its name or file name is not a plain one")
    } else if !is_known_subdir(&package.subdir) {
        Some("its subdir is not a plain one")
    } else if !is_fetchable(record, &file_name) {
        Some("its address is not one of a channel's file")
    } else {
        None
    }
}

/// Makes the lock's package of a record that was chosen.
pub(crate) fn package(
    record: &RepoDataRecord,
    channels: &[NamedChannel],
) -> Result<CondaPackage, CondaError> {
    let package = &record.package_record;
    let file_name = record.identifier.to_file_name();
    let refused = |reason: &str| CondaError::Record {
        package: file_name
            .chars()
            .filter(|c| !c.is_control())
            .take(120)
            .collect(),
        reason: reason.to_owned(),
    };
    if let Some(reason) = refusal(record) {
        return Err(refused(reason));
    }
    let sha256 = package
        .sha256
        .ok_or_else(|| refused("the channel gives no sha256 for it"))?;
    let sha256 =
        Digest::from_hex(&hex::encode(sha256)).map_err(|_| refused("its sha256 is none"))?;
    Ok(CondaPackage {
        name: package.name.as_normalized().to_owned(),
        version: package.version.to_string(),
        build: package.build.as_str().to_owned(),
        build_number: package.build_number,
        subdir: package.subdir.clone(),
        channel: channel_of(record, channels),
        url: record.url.to_string(),
        file_name,
        sha256,
        md5: package.md5.map(hex::encode),
        size_bytes: package.size,
        noarch: package.noarch.kind().map(|kind| match kind {
            NoArchKind::Python => "python".to_owned(),
            NoArchKind::Generic => "generic".to_owned(),
        }),
        depends: package.depends.clone(),
    })
}

/// The channel's text as it was asked for; its address where it was not asked for by name.
fn channel_of(record: &RepoDataRecord, channels: &[NamedChannel]) -> String {
    let recorded = record.channel.as_deref().unwrap_or_default();
    channels
        .iter()
        .find(|known| {
            known.channel.base_url.as_str().trim_end_matches('/') == recorded.trim_end_matches('/')
        })
        .map_or_else(
            || recorded.trim_end_matches('/').to_owned(),
            |known| known.text.clone(),
        )
}

/// Names, versions, builds and file names: one path segment, visible ASCII, no leading dot or dash.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+' | b'!' | b'=')
        })
}

fn is_known_subdir(subdir: &str) -> bool {
    subdir == "noarch" || subdir.parse::<rattler_conda_types::Subdir>().is_ok()
}

/// Whether the address is the file's own, without credentials, and no local file of a remote channel.
fn is_fetchable(record: &RepoDataRecord, file_name: &str) -> bool {
    let url = &record.url;
    let remote = record
        .channel
        .as_deref()
        .and_then(|channel| Url::parse(channel).ok())
        .is_none_or(|channel| channel.scheme() != "file");
    let last = url
        .path_segments()
        .and_then(|mut segments| segments.next_back());
    let named = last.is_some_and(|last| last == file_name || unescaped_plus(last) == file_name);
    let scheme = match url.scheme() {
        "https" | "http" => true,
        "file" => !remote,
        _ => false,
    };
    scheme && named && url.username().is_empty() && url.password().is_none()
}

/// Versions with an epoch or a local part are written with escapes by some indexers.
fn unescaped_plus(segment: &str) -> String {
    segment
        .replace("%2B", "+")
        .replace("%2b", "+")
        .replace("%21", "!")
        .replace("%3D", "=")
        .replace("%3d", "=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_texts_are_one_safe_path_segment() {
        for fine in [
            "numpy",
            "1!0.5",
            "1.0+cu118",
            "py311h_0",
            "_libgcc_mutex",
            "a-1-0.tar.bz2",
        ] {
            assert!(is_plain(fine), "{fine}");
        }
        for hostile in [
            "", ".", "..", "../x", "a/b", "a\\b", "-rf", "a b", "a\n", "ä", ".hidden",
        ] {
            assert!(!is_plain(hostile), "{hostile}");
        }
    }
}
