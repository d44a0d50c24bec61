//! What is installed in a conda environment, read without conda: `conda-meta` and the metadata that pip
//! writes (PEP 376, 610).

mod find;
mod pip;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use fs_err as fs;
use serde::Deserialize;
use url::Url;

pub(crate) use find::find;

use crate::error::CliError;

/// The largest record that is read, in bytes.
const RECORD_LIMIT: u64 = 64 << 20;

/// A conda environment as it is installed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    /// A conda `environment.yml` of exactly these packages.
    pub(crate) yaml: String,
    /// `os/arch`, where the packages tell.
    pub(crate) platform: Option<&'static str>,
    /// What could not be taken over, a sentence each.
    pub(crate) warnings: Vec<String>,
}

/// A file of `conda-meta`.
#[derive(Debug, Deserialize)]
struct Record {
    name: String,
    version: String,
    #[serde(default)]
    channel: String,
    #[serde(default)]
    subdir: Option<String>,
    #[serde(default)]
    files: Vec<String>,
}

/// Reads an environment.
pub(crate) fn read(prefix: &Path) -> Result<Installed, CliError> {
    let records = records(prefix)?;
    let owned: BTreeSet<&str> = records
        .iter()
        .flat_map(|record| &record.files)
        .map(String::as_str)
        .collect();
    let mut warnings = Vec::new();
    let pip = pip::installed(prefix, &owned, &mut warnings);
    let mut yaml = String::from("channels:\n");
    for channel in channels(&records) {
        let _ = writeln!(yaml, "  - {}", quoted(&channel));
    }
    yaml.push_str("dependencies:\n");
    for record in &records {
        let _ = writeln!(yaml, "  - {}={}", record.name, record.version);
    }
    if !pip.is_empty() {
        yaml.push_str("  - pip:\n");
    }
    for requirement in &pip {
        let _ = writeln!(yaml, "      - {}", quoted(requirement));
    }
    Ok(Installed {
        yaml,
        platform: platform(&records),
        warnings,
    })
}

/// The packages, by name.
fn records(prefix: &Path) -> Result<Vec<Record>, CliError> {
    let folder = prefix.join("conda-meta");
    let unreadable = |error: std::io::Error| {
        CliError::input(
            format!("{} is no conda environment: {error}", prefix.display()),
            "give the folder of a conda environment, the one that has `conda-meta`, or its name",
        )
    };
    let mut records = Vec::new();
    for entry in fs::read_dir(&folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        if fs::metadata(&path).map_err(unreadable)?.len() > RECORD_LIMIT {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(unreadable)?;
        let record: Record = serde_json::from_str(&text).map_err(|error| {
            CliError::input(
                format!(
                    "{} is no record of a conda package: {error}",
                    path.display()
                ),
                "repair the environment with conda, or export it with `conda env export`",
            )
        })?;
        let plain = |text: &str| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-+!".contains(c))
        };
        if !plain(&record.name) || !plain(&record.version) {
            return Err(CliError::input(
                format!("{} names no conda package", path.display()),
                "repair the environment with conda",
            ));
        }
        records.push(record);
    }
    if records.is_empty() {
        return Err(CliError::input(
            format!("{} has no packages", folder.display()),
            "give the folder of a conda environment that conda installed packages into",
        ));
    }
    records.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(records)
}

/// The channels, those of most packages first, without platform and credentials.
fn channels(records: &[Record]) -> Vec<String> {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for record in records {
        let channel = channel(&record.channel);
        if channel.is_empty() {
            continue;
        }
        match counted.iter_mut().find(|(known, _)| *known == channel) {
            Some((_, count)) => *count += 1,
            None => counted.push((channel, 1)),
        }
    }
    counted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counted.into_iter().map(|(channel, _)| channel).collect()
}

/// A channel as a record names it: a name, or an address that ends in a platform.
fn channel(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else {
        return text.trim_matches('/').to_owned();
    };
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    let path = url.path().trim_end_matches('/').to_owned();
    // A token is its own part of the path, behind `t`.
    let path = match path
        .strip_prefix("/t/")
        .and_then(|rest| rest.split_once('/'))
    {
        Some((_, rest)) => format!("/{rest}"),
        None => path,
    };
    let is_platform = |last: &str| {
        last == "noarch"
            || ["linux-", "osx-", "win-"]
                .iter()
                .any(|os| last.starts_with(os))
    };
    let path = match path.rsplit_once('/') {
        Some((rest, last)) if is_platform(last) => rest.to_owned(),
        _ => path,
    };
    url.set_path(&path);
    url.to_string().trim_end_matches('/').to_owned()
}

fn platform(records: &[Record]) -> Option<&'static str> {
    records
        .iter()
        .filter_map(|record| record.subdir.as_deref())
        .find_map(|subdir| match subdir {
            "linux-64" => Some("linux/amd64"),
            "linux-aarch64" => Some("linux/arm64"),
            _ => None,
        })
}

/// A YAML string in double quotes, which JSON's are too.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is plain data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_lose_platform_and_credentials() {
        for (text, expected) in [
            ("conda-forge", "conda-forge"),
            (
                "https://h.example/conda-forge/linux-64",
                "https://h.example/conda-forge",
            ),
            (
                "https://h.example/pkgs/main/noarch/",
                "https://h.example/pkgs/main",
            ),
            (
                "https://h.example/t/tk-123/mine/linux-64",
                "https://h.example/mine",
            ),
            (
                "https://me:pw@h.example/mine/osx-arm64",
                "https://h.example/mine",
            ),
        ] {
            assert_eq!(channel(text), expected, "{text}");
        }
    }

    fn prefix(records: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("conda-meta")).unwrap();
        for (name, text) in records {
            fs::write(folder.path().join("conda-meta").join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn packages_of_conda_and_of_pip_are_told_apart() {
        let record = r#"{"name": "python", "version": "3.11.4", "channel": "https://h.example/c/linux-64",
            "subdir": "linux-64", "files": ["lib/python3.11/site-packages/own-1.0.dist-info/METADATA"]}"#;
        let folder = prefix(&[("python-3.11.4-0.json", record), ("history", "==>")]);
        let site = folder.path().join("lib/python3.11/site-packages");
        let distribution = |name: &str, metadata: &str, direct: Option<&str>| {
            let info = site.join(name);
            fs::create_dir_all(&info).unwrap();
            fs::write(info.join("METADATA"), metadata).unwrap();
            if let Some(direct) = direct {
                fs::write(info.join("direct_url.json"), direct).unwrap();
            }
        };
        distribution("own-1.0.dist-info", "Name: own\nVersion: 1.0\n", None);
        distribution(
            "foo-2.0.dist-info",
            "Name: foo\nVersion: 2.0\n\nName: not this\n",
            None,
        );
        let archive =
            r#"{"url": "https://u:p@h.example/bar-1-py3-none-any.whl?sig=x", "archive_info": {}}"#;
        distribution("bar-1.dist-info", "Name: bar\nVersion: 1\n", Some(archive));
        let local = r#"{"url": "file:///home/me/baz", "dir_info": {"editable": true}}"#;
        distribution("baz-1.dist-info", "Name: baz\nVersion: 1\n", Some(local));
        let git = r#"{"url": "https://h.example/q.git", "vcs_info": {"vcs": "git", "commit_id": "0a1b"}}"#;
        distribution("q-1.dist-info", "Name: q\nVersion: 1\n", Some(git));
        let installed = read(folder.path()).unwrap();
        insta::assert_snapshot!(installed.yaml, @r#"
        channels:
          - "https://h.example/c"
        dependencies:
          - python=3.11.4
          - pip:
              - "bar @ https://h.example/bar-1-py3-none-any.whl"
              - "foo==2.0"
              - "q @ git+https://h.example/q.git@0a1b"
        "#);
        assert_eq!(installed.platform, Some("linux/amd64"));
        assert_eq!(installed.warnings.len(), 1, "{:?}", installed.warnings);
        assert!(
            installed.warnings[0].contains("baz"),
            "{:?}",
            installed.warnings
        );
    }

    #[test]
    fn a_folder_that_is_no_environment_or_has_a_hostile_record_is_refused() {
        let empty = tempfile::tempdir().unwrap();
        assert!(read(empty.path()).is_err());
        assert!(read(prefix(&[]).path()).is_err());
        let hostile = r#"{"name": "x\n  - evil", "version": "1"}"#;
        assert!(read(prefix(&[("x.json", hostile)]).path()).is_err());
        assert!(read(prefix(&[("x.json", "{")]).path()).is_err());
    }
}
