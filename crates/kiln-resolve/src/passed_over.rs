//! Newer versions that a resolution passed over because they have no wheel.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use kiln_conda::Credentials;
use kiln_lock::Wheel;
use pep440_rs::{Version, VersionSpecifiers};
use url::Url;

use crate::simple_index::{IndexFile, project};
use crate::tags::{TagRanks, WheelName};

/// How many pages are read, how many at a time, and for how long.
const MOST_PAGES: usize = 48;
const AT_A_TIME: usize = 6;
const TIME: Duration = Duration::from_secs(20);

/// Sentences about newer releases of the definition's own requirements that have no usable wheel. What
/// can't be read is left out: a note is not worth a failure.
pub(crate) async fn notes(
    client: &reqwest::Client,
    credentials: &Credentials,
    pages: &[(String, Url)],
    wheels: &[Wheel],
    python: &str,
    ranks: &TagRanks,
) -> Vec<String> {
    // Boxed, because the compiler can't tell that futures over borrowed pages are `Send`.
    let reads: Vec<BoxFuture<'_, _>> = pages
        .iter()
        .take(MOST_PAGES)
        .map(|(name, page)| {
            let read = async move {
                let files = project(client, credentials, page).await.unwrap_or_default();
                (name.clone(), files)
            };
            read.boxed()
        })
        .collect();
    let read = futures::stream::iter(reads)
        .buffered(AT_A_TIME)
        .collect::<Vec<(String, Vec<IndexFile>)>>();
    let Ok(read) = tokio::time::timeout(TIME, read).await else {
        return Vec::new();
    };
    let mut notes = BTreeSet::new();
    for (name, files) in read {
        let locked = wheels.iter().find(|wheel| wheel.name == name);
        let locked = locked.and_then(|wheel| wheel.version.parse::<Version>().ok());
        if let Some(locked) = locked
            && let Some((version, why)) = passed_over(&name, &files, &locked, python, ranks)
        {
            notes.insert(format!(
                "pip: passed over {name} {version}, {why}; {locked} is locked"
            ));
        }
    }
    notes.into_iter().collect()
}

/// The newest release above the locked one for which only the lack of a wheel speaks.
fn passed_over(
    name: &str,
    files: &[IndexFile],
    locked: &Version,
    python: &str,
    ranks: &TagRanks,
) -> Option<(Version, &'static str)> {
    let python: Option<Version> = python.parse().ok();
    let mut releases: BTreeMap<Version, (bool, bool)> = BTreeMap::new();
    for file in files.iter().filter(|file| !file.yanked) {
        let suits = file
            .requires_python
            .as_deref()
            .and_then(|wanted| wanted.parse::<VersionSpecifiers>().ok())
            .zip(python.as_ref())
            .is_none_or(|(wanted, python)| wanted.contains(python));
        let Some(version) = version_of(name, &file.file_name).filter(|_| suits) else {
            continue;
        };
        let (any_wheel, usable) = releases.entry(version).or_default();
        if let Some(wheel) = WheelName::parse(&file.file_name) {
            *any_wheel = true;
            *usable |= ranks.rank(&wheel).is_some();
        }
    }
    releases
        .into_iter()
        .rev()
        .take_while(|(version, _)| version > locked)
        .find(|(version, (_, usable))| !usable && !version.any_prerelease())
        .map(|(version, (any_wheel, _))| {
            let why = if any_wheel {
                "which has no wheel for this platform"
            } else {
                "which has no wheel"
            };
            (version, why)
        })
}

/// The version that a wheel's or source archive's name tells.
fn version_of(name: &str, file_name: &str) -> Option<Version> {
    if let Some(wheel) = WheelName::parse(file_name) {
        return wheel.version.parse().ok();
    }
    let stem = file_name
        .strip_suffix(".tar.gz")
        .or_else(|| file_name.strip_suffix(".zip"))?;
    let folded = stem.to_lowercase().replace(['_', '.'], "-");
    folded.strip_prefix(name)?.strip_prefix('-')?;
    stem.get(name.len() + 1..)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, requires_python: Option<&str>, yanked: bool) -> IndexFile {
        IndexFile {
            file_name: name.into(),
            url: Url::parse("http://localhost/x").expect("a URL"),
            requires_python: requires_python.map(str::to_owned),
            yanked,
        }
    }

    #[test]
    fn a_newer_release_without_a_wheel_is_named() {
        let ranks = TagRanks::new(11, Some((2, 36)), "x86_64");
        let files = [
            file("a_b-1.0-py3-none-any.whl", None, false),
            file("a_b-2.0.tar.gz", None, false),
            file("a_b-3.0.tar.gz", Some(">=3.99"), false),
            file("a_b-4.0.tar.gz", None, true),
            file("a_b-5.0rc1.tar.gz", None, false),
        ];
        let found = |files: &[IndexFile], locked: &str| {
            let locked = locked.parse().expect("a version");
            passed_over("a-b", files, &locked, "3.11", &ranks)
                .map(|(version, why)| format!("{version} {why}"))
        };
        assert_eq!(
            found(&files, "1.0").as_deref(),
            Some("2.0 which has no wheel")
        );
        assert_eq!(found(&files, "2.0"), None);
        let foreign = [file("a_b-1.1-cp311-cp311-win_amd64.whl", None, false)];
        assert_eq!(
            found(&foreign, "1.0").as_deref(),
            Some("1.1 which has no wheel for this platform")
        );
    }
}
