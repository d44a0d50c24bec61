//! The sections of an Azure ML environment and the SDK's spelling of their fields.

use super::build_tree;
use crate::document::{Entry, Node, Scalar, Value};

/// A map of an environment whose fields are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Environment,
    Python,
    Docker,
    Registry,
    Identity,
    Context,
    Platform,
    Spark,
    SparkPackage,
    Databricks,
    Library,
    R,
    Cran,
    GitHub,
    /// The user's own content, or a plain value.
    Free,
}

use Section::{
    Context, Cran, Databricks, Docker, Environment, Free, GitHub, Identity, Library, Platform,
    Python, R, Registry, Spark, SparkPackage,
};

impl Section {
    /// The known fields, and what their values are; of a list, what its items are.
    fn fields(self) -> &'static [(&'static str, Self)] {
        match self {
            Environment => &[
                ("name", Free),
                ("version", Free),
                ("environmentVariables", Free),
                ("python", Python),
                ("docker", Docker),
                ("spark", Spark),
                ("databricks", Databricks),
                ("r", R),
                ("inferencingStackVersion", Free),
                ("assetId", Free),
            ],
            Python => &[
                ("userManagedDependencies", Free),
                ("interpreterPath", Free),
                ("condaDependenciesFile", Free),
                ("baseCondaEnvironment", Free),
                ("condaDependencies", Free),
            ],
            Docker => &[
                ("enabled", Free),
                ("baseImage", Free),
                ("baseDockerfile", Free),
                ("buildContext", Context),
                ("sharedVolumes", Free),
                ("shmSize", Free),
                ("arguments", Free),
                ("baseImageRegistry", Registry),
                ("platform", Platform),
                ("gpuSupport", Free),
            ],
            Registry => &[
                ("address", Free),
                ("username", Free),
                ("password", Free),
                ("registryIdentity", Identity),
            ],
            Identity => &[("resourceId", Free), ("clientId", Free)],
            Context => &[
                ("locationType", Free),
                ("location", Free),
                ("dockerfilePath", Free),
            ],
            Platform => &[("os", Free), ("architecture", Free)],
            Spark => &[
                ("repositories", Free),
                ("packages", SparkPackage),
                ("precachePackages", Free),
            ],
            SparkPackage => &[("group", Free), ("artifact", Free), ("version", Free)],
            Databricks => &[
                ("mavenLibraries", Library),
                ("pypiLibraries", Library),
                ("rcranLibraries", Library),
                ("jarLibraries", Library),
                ("eggLibraries", Library),
            ],
            Library => &[
                ("coordinates", Free),
                ("repo", Free),
                ("exclusions", Free),
                ("package", Free),
                ("library", Free),
            ],
            R => &[
                ("rVersion", Free),
                ("userManaged", Free),
                ("rscriptPath", Free),
                ("snapshotDate", Free),
                ("cranPackages", Cran),
                ("githubPackages", GitHub),
                ("customUrlPackages", Free),
                ("bioconductorPackages", Free),
            ],
            Cran => &[("name", Free), ("version", Free), ("repository", Free)],
            GitHub => &[("repository", Free), ("authToken", Free)],
            Free => &[],
        }
    }

    /// The SDK's spelling of a field and what its value is.
    pub(super) fn field(self, key: &str) -> (String, Self) {
        let known = self
            .fields()
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key));
        known.map_or((key.to_owned(), Free), |&(name, value)| {
            (name.to_owned(), value)
        })
    }
}

/// The same tree in the SDK's spelling; a registry that is a plain text becomes the object it stands for.
pub(super) fn spelled(node: &Node, section: Section) -> Node {
    if section == Free {
        return node.clone();
    }
    let value = match &node.value {
        Value::Map(entries) => Value::Map(
            entries
                .iter()
                .map(|entry| {
                    let (key, value) = section.field(&entry.key);
                    let value = if section == Context && key == "locationType" {
                        location_type(&entry.value)
                    } else {
                        spelled(&entry.value, value)
                    };
                    Entry {
                        key,
                        line: entry.line,
                        value,
                    }
                })
                .collect(),
        ),
        Value::List(items) => {
            Value::List(items.iter().map(|item| spelled(item, section)).collect())
        }
        Value::Scalar(address, Scalar::Text) if section == Registry => {
            return build_tree::map([
                ("address", build_tree::text(address)),
                ("username", build_tree::null()),
                ("password", build_tree::null()),
                ("registryIdentity", build_tree::null()),
            ]);
        }
        scalar @ Value::Scalar(..) => scalar.clone(),
    };
    Node {
        line: node.line,
        value,
    }
}

/// The SDK's own words for where a context is: it takes no other spelling.
fn location_type(node: &Node) -> Node {
    let words = ["git", "storageAccount"];
    let known = node
        .scalar()
        .and_then(|text| words.iter().find(|word| word.eq_ignore_ascii_case(text)));
    known.map_or_else(|| node.clone(), |word| build_tree::text(word))
}
