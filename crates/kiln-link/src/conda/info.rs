//! A package's own metadata: `index.json`, the list of its paths, `link.json`.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::FileMode;
use super::archive::Metadata;
use super::entry_point::EntryPoint;
use crate::error::{Found, Problem};
use crate::path::PrefixPath;

/// The placeholder of packages that don't name their own.
fn default_placeholder() -> String {
    // In two parts, so that replacing it in kiln's own binary would change nothing.
    ["/opt/anaconda1anaconda2", "anaconda3"].concat()
}

/// `info/index.json`, as far as the installed record repeats it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Index {
    pub name: String,
    pub version: String,
    #[serde(default)]
    pub build: String,
    #[serde(default)]
    pub arch: Option<String>,
    #[serde(default)]
    pub platform: Option<String>,
    #[serde(default)]
    pub constrains: Vec<String>,
    #[serde(default)]
    pub license: Option<String>,
    #[serde(default)]
    pub license_family: Option<String>,
    #[serde(default)]
    pub timestamp: Option<f64>,
    #[serde(default)]
    pub track_features: Option<Words>,
    #[serde(default)]
    pub features: Option<Words>,
    #[serde(default)]
    pub noarch: Option<serde_json::Value>,
    #[serde(default)]
    pub python_site_packages_path: Option<String>,
}

/// A list of words, or one text with blanks or commas between them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Words {
    Text(String),
    List(Vec<String>),
}

impl Words {
    /// The words with blanks between, as conda writes them; `None` without any.
    pub(super) fn joined(&self) -> Option<String> {
        let words: Vec<&str> = match self {
            Self::Text(text) => text
                .split([' ', ','])
                .filter(|word| !word.is_empty())
                .collect(),
            Self::List(words) => words.iter().map(String::as_str).collect(),
        };
        (!words.is_empty()).then(|| words.join(" "))
    }
}

/// Where a package that is not tied to a platform goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noarch {
    Generic,
    Python,
}

/// One path that a package lists.
#[derive(Debug, Clone)]
pub(super) struct ListedPath {
    pub path: PrefixPath,
    pub directory: bool,
    pub placeholder: Option<(String, FileMode)>,
    pub no_link: Option<bool>,
    pub sha256: Option<[u8; 32]>,
    pub size: Option<u64>,
}

#[derive(Deserialize)]
struct PathsFile {
    paths_version: u64,
    paths: Vec<PathsEntry>,
}

#[derive(Deserialize)]
struct PathsEntry {
    #[serde(rename = "_path")]
    path: String,
    #[serde(default)]
    path_type: Option<String>,
    #[serde(default)]
    prefix_placeholder: Option<String>,
    #[serde(default)]
    file_mode: Option<String>,
    #[serde(default)]
    no_link: Option<bool>,
    #[serde(default)]
    sha256: Option<String>,
    #[serde(default)]
    size_in_bytes: Option<u64>,
}

#[derive(Deserialize)]
struct LinkFile {
    package_metadata_version: u64,
    #[serde(default)]
    noarch: Option<LinkNoarch>,
}

#[derive(Deserialize)]
struct LinkNoarch {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    entry_points: Option<Vec<String>>,
}

/// What the metadata files say.
pub(super) struct Info {
    pub index: Index,
    pub paths: Vec<ListedPath>,
    pub noarch: Option<Noarch>,
    pub entry_points: Vec<EntryPoint>,
}

impl Info {
    /// Reads the metadata files; `noarch` is what the channel says and comes first.
    pub(super) fn read(metadata: &Metadata, noarch: Option<&str>) -> Result<Self, Found> {
        let index: Index = json(metadata, "info/index.json")?.ok_or_else(|| {
            Problem::Metadata("the package has no info/index.json".to_owned()).at("info/index.json")
        })?;
        let link = link_file(metadata)?;
        let noarch = match (noarch, &link, &index.noarch) {
            (Some(text), ..) => noarch_of_text(text)?,
            (
                None,
                Some(LinkFile {
                    noarch: Some(link), ..
                }),
                _,
            ) => noarch_of_text(&link.kind)?,
            (None, _, Some(serde_json::Value::String(text))) => noarch_of_text(text)?,
            (None, _, Some(serde_json::Value::Bool(true))) => Some(Noarch::Generic),
            _ => None,
        };
        let texts = link
            .and_then(|link| link.noarch)
            .and_then(|noarch| noarch.entry_points);
        let entry_points = match noarch {
            Some(Noarch::Python) => texts.unwrap_or_default(),
            _ => Vec::new(),
        };
        let entry_points = entry_points
            .iter()
            .map(|text| EntryPoint::parse(text))
            .collect::<Result<_, _>>()
            .map_err(|problem| problem.at("info/link.json"))?;
        let paths = match json::<PathsFile>(metadata, "info/paths.json")? {
            Some(file) => listed_paths(file)?,
            None => old_lists(metadata)?,
        };
        let mut seen = HashSet::new();
        if let Some(twice) = paths.iter().find(|listed| !seen.insert(&listed.path)) {
            return Err(Problem::Duplicate.at(twice.path.as_str()));
        }
        Ok(Self {
            index,
            paths,
            noarch,
            entry_points,
        })
    }
}

fn json<T: serde::de::DeserializeOwned>(
    metadata: &Metadata,
    file: &str,
) -> Result<Option<T>, Found> {
    let Some(bytes) = metadata.get(file) else {
        return Ok(None);
    };
    serde_json::from_slice(bytes)
        .map(Some)
        .map_err(|error| Problem::Metadata(error.to_string()).at(file))
}

fn link_file(metadata: &Metadata) -> Result<Option<LinkFile>, Found> {
    for file in ["info/link.json", "info/package_metadata.json"] {
        if let Some(link) = json::<LinkFile>(metadata, file)? {
            if link.package_metadata_version != 1 {
                let version = link.package_metadata_version;
                return Err(Problem::Metadata(format!("version {version} is not known")).at(file));
            }
            return Ok(Some(link));
        }
    }
    Ok(None)
}

fn noarch_of_text(text: &str) -> Result<Option<Noarch>, Found> {
    match text.to_ascii_lowercase().as_str() {
        "python" => Ok(Some(Noarch::Python)),
        "generic" => Ok(Some(Noarch::Generic)),
        _ => Err(Problem::Metadata(format!("the noarch kind {text:?} is not known")).into()),
    }
}

fn file_mode(text: Option<&str>) -> Result<FileMode, Problem> {
    match text {
        Some("text") => Ok(FileMode::Text),
        Some("binary") => Ok(FileMode::Binary),
        other => Err(Problem::Metadata(format!(
            "the file mode {other:?} is not known"
        ))),
    }
}

fn listed_paths(file: PathsFile) -> Result<Vec<ListedPath>, Found> {
    const FILE: &str = "info/paths.json";
    if file.paths_version != 1 {
        let version = file.paths_version;
        return Err(Problem::Metadata(format!("version {version} is not known")).at(FILE));
    }
    file.paths
        .into_iter()
        .map(|entry| {
            let name = entry.path.clone();
            listed_path(entry).map_err(|problem| problem.at(name))
        })
        .collect()
}

fn listed_path(entry: PathsEntry) -> Result<ListedPath, Problem> {
    let directory = match entry.path_type.as_deref() {
        Some("directory") => true,
        Some("hardlink" | "softlink") | None => false,
        Some(other) => {
            return Err(Problem::Metadata(format!(
                "the path type {other:?} is not known"
            )));
        }
    };
    let placeholder = match entry.prefix_placeholder {
        Some(text) if !text.is_empty() => Some((text, file_mode(entry.file_mode.as_deref())?)),
        _ => None,
    };
    let sha256 = match &entry.sha256 {
        Some(text) if !text.is_empty() => {
            let bytes = hex::decode(text)
                .ok()
                .and_then(|bytes| bytes.try_into().ok());
            let wrong = || Problem::Metadata(format!("the sha256 {text:?} is none"));
            Some(bytes.ok_or_else(wrong)?)
        }
        _ => None,
    };
    Ok(ListedPath {
        path: PrefixPath::from_archive(&entry.path)?,
        directory,
        placeholder,
        no_link: entry.no_link,
        sha256,
        size: entry.size_in_bytes,
    })
}

/// The lists of packages older than `paths.json`: `files`, `has_prefix`, `no_link`.
fn old_lists(metadata: &Metadata) -> Result<Vec<ListedPath>, Found> {
    let mut prefixed = has_prefix(metadata)?;
    let mut no_link = HashSet::new();
    for file in ["info/no_link", "info/no_softlink"] {
        no_link.extend(lines(metadata, file)?);
    }
    lines(metadata, "info/files")?
        .into_iter()
        .map(|line| {
            Ok(ListedPath {
                path: PrefixPath::from_archive(&line)
                    .map_err(|error| Problem::from(error).at(line.clone()))?,
                directory: false,
                placeholder: prefixed.remove(&line),
                no_link: no_link.contains(&line).then_some(true),
                sha256: None,
                size: None,
            })
        })
        .collect()
}

/// Lines of `PATH`, or `PLACEHOLDER MODE PATH`, each part maybe in quotes.
fn has_prefix(metadata: &Metadata) -> Result<HashMap<String, (String, FileMode)>, Found> {
    const FILE: &str = "info/has_prefix";
    let mut found = HashMap::new();
    for line in lines(metadata, FILE)? {
        let parts = words(&line);
        let (path, value) = match parts.as_slice() {
            [path] => (path, (default_placeholder(), FileMode::Text)),
            [placeholder, mode, path] => {
                let mode = file_mode(Some(mode)).map_err(|problem| problem.at(FILE))?;
                (path, (placeholder.clone(), mode))
            }
            _ => return Err(Problem::Metadata(format!("the line {line:?} is invalid")).at(FILE)),
        };
        found.insert(path.clone(), value);
    }
    Ok(found)
}

fn lines(metadata: &Metadata, file: &str) -> Result<Vec<String>, Found> {
    let Some(bytes) = metadata.get(file) else {
        return Ok(Vec::new());
    };
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Problem::Metadata("it is not UTF-8".to_owned()).at(file))?;
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// Splits at blanks outside quotes and drops the quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(files: &[(&str, &str)]) -> Metadata {
        let index = ("info/index.json", r#"{"name":"p","version":"1"}"#);
        let all = files.iter().copied().chain([index]);
        all.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn the_old_lists_say_what_paths_json_says() {
        let info = Info::read(
            &metadata(&[
                ("info/files", "bin/a\nlib/b c\nlib/d\n"),
                (
                    "info/has_prefix",
                    "bin/a\n/long/placehold binary \"lib/b c\"\n# note\n",
                ),
                ("info/no_link", "lib/d\n"),
            ]),
            None,
        )
        .unwrap_or_else(|found| panic!("{}", found.of("p")));
        let [a, b, d] = info.paths.as_slice() else {
            panic!("three paths are listed")
        };
        assert_eq!(a.placeholder, Some((default_placeholder(), FileMode::Text)));
        assert_eq!(
            b.placeholder,
            Some(("/long/placehold".to_owned(), FileMode::Binary))
        );
        assert_eq!((d.placeholder.as_ref(), d.no_link), (None, Some(true)));
    }

    #[test]
    fn hostile_metadata_is_refused() {
        let paths = |path: &str| format!(r#"{{"paths_version":1,"paths":[{path}]}}"#);
        for (file, text) in [
            ("info/paths.json", paths(r#"{"_path":"../x","path_type":"hardlink"}"#)),
            ("info/paths.json", paths(r#"{"_path":"/etc/x","path_type":"hardlink"}"#)),
            ("info/paths.json", paths(r#"{"_path":"x","path_type":"device"}"#)),
            ("info/paths.json", paths(r#"{"_path":"x"},{"_path":"./x"}"#)),
            ("info/paths.json", paths(r#"{"_path":"x","sha256":"../.."}"#)),
            ("info/paths.json", paths(r#"{"_path":"x","prefix_placeholder":"/p","file_mode":"raw"}"#)),
            ("info/paths.json", r#"{"paths_version":2,"paths":[]}"#.to_owned()),
            ("info/files", "../../x".to_owned()),
            ("info/has_prefix", "a b".to_owned()),
            ("info/link.json", r#"{"package_metadata_version":9}"#.to_owned()),
            (
                "info/link.json",
                r#"{"package_metadata_version":1,"noarch":{"type":"python","entry_points":["../a = b:c"]}}"#
                    .to_owned(),
            ),
        ] {
            assert!(Info::read(&metadata(&[(file, &text)]), None).is_err(), "{file}: {text}");
        }
    }
}
