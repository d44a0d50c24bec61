//! Environments that kiln ships: readable in every workspace, and changed by nobody.

use std::collections::BTreeMap;

use kiln_spec::{EnvironmentName, Input, Kind, Overrides, StoredDocument, Which};
use kiln_store::EnvironmentRow;

/// The curated environments that are files, by name.
const FILES: [(&str, &str); 2] = [
    (
        "AzureML-Minimal",
        include_str!("../../curated/AzureML-Minimal.json"),
    ),
    (
        "AzureML-Scikit-Learn",
        include_str!("../../curated/AzureML-Scikit-Learn.json"),
    ),
];
/// The curated environment that the settings decide.
pub(crate) const DEFAULT: &str = "AzureML-Default";

/// The environment of a build that names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultEnvironment {
    /// The base image; none is the default base.
    pub base: Option<String>,
    /// The version of python, `major.minor[.patch]`.
    pub python: String,
}

impl Default for DefaultEnvironment {
    fn default() -> Self {
        Self {
            base: None,
            python: "3.11".into(),
        }
    }
}

impl DefaultEnvironment {
    fn document(&self) -> String {
        serde_json::json!({
            "name": DEFAULT,
            "python": {
                "condaDependencies": {
                    "name": "azureml-default",
                    "channels": ["conda-forge"],
                    "dependencies": [format!("python={}", self.python), "pip"],
                },
            },
            "docker": { "baseImage": self.base },
        })
        .to_string()
    }
}

/// All curated environments, by name; each has one version.
#[derive(Debug)]
pub(crate) struct Curated(BTreeMap<EnvironmentName, EnvironmentRow>);

impl Curated {
    /// Those of kiln's files, and the default one; a default that is not usable is left out, and told.
    pub(crate) fn new(default: &DefaultEnvironment) -> Self {
        let files = FILES.map(|(name, text)| (name, text.to_owned(), "1".to_owned()));
        let default = default.document();
        let version = kiln_oci::Digest::of(default.as_bytes()).to_hex()[..8].to_owned();
        let all = files
            .into_iter()
            .chain([(DEFAULT, default, version)])
            .filter_map(|(name, text, version)| {
                row(name, &text, &version)
                    .inspect_err(|error| tracing::error!(name, "not usable: {error}"))
                    .ok()
            });
        Self(all.map(|row| (row.name.clone(), row)).collect())
    }

    /// The environment of this name; it has no labels.
    pub(crate) fn get(&self, name: &EnvironmentName, which: &Which) -> Option<&EnvironmentRow> {
        self.0.get(name).filter(|row| match which {
            Which::Latest => true,
            Which::Version(version) => row.version == *version,
            Which::Label(_) => false,
        })
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &EnvironmentRow> {
        self.0.values()
    }
}

fn row(name: &str, text: &str, version: &str) -> Result<EnvironmentRow, String> {
    let (files, overrides) = (BTreeMap::new(), Overrides::default());
    let input = Input {
        file_name: name,
        bytes: text.as_bytes(),
        kind: Some(Kind::AzureMl),
        files: &files,
        overrides: &overrides,
    };
    let parsed = kiln_spec::parse(&input).map_err(|error| error.to_string())?;
    let document = StoredDocument::of(&input, &parsed).map_err(|error| error.to_string())?;
    let invalid = |error: kiln_spec::NameError| error.to_string();
    Ok(EnvironmentRow {
        name: name.parse().map_err(invalid)?,
        version: version.parse().map_err(invalid)?,
        digest: document.digest(),
        document,
        spec_hash: parsed.definition.spec_hash(),
        generation: None,
        labels: Vec::new(),
        is_latest: true,
        archived_ms: None,
        actor: "kiln".into(),
        via: "curated".into(),
        created_ms: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_curated_environments_are_valid_and_reserved() {
        let curated = Curated::new(&DefaultEnvironment::default());
        let names: Vec<&str> = curated.all().map(|row| row.name.as_str()).collect();
        assert_eq!(
            names,
            ["AzureML-Default", "AzureML-Minimal", "AzureML-Scikit-Learn"]
        );
        for row in curated.all() {
            assert!(row.name.is_curated());
            assert_eq!(curated.get(&row.name, &Which::Latest), Some(row));
            let label = Which::Label("stable".parse().unwrap());
            assert_eq!(curated.get(&row.name, &label), None);
        }
    }

    #[test]
    fn another_default_is_another_version() {
        let version = |python: &str, base: Option<&str>| {
            let default = DefaultEnvironment {
                base: base.map(str::to_owned),
                python: python.to_owned(),
            };
            let name = DEFAULT.parse().unwrap();
            let curated = Curated::new(&default);
            curated
                .get(&name, &Which::Latest)
                .map(|row| row.version.clone())
        };
        assert_ne!(version("3.11", None), version("3.12", None));
        assert_ne!(
            version("3.11", None),
            version("3.11", Some("h.example.org/b:1"))
        );
        assert_eq!(version("3.11", Some("not an image")), None);
    }
}
