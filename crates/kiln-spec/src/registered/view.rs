//! Any document as the Azure ML SDK reads it.

use super::build_tree::{flag, list, map, null, text};
use super::sections::{Section, spelled};
use super::stored::StoredDocument;
use crate::document::{self, Node};
use crate::input::Kind;
use crate::requirements;

/// The conda file and the Dockerfile beside `azureml_environment.json` in a folder that the SDK saved.
const SAVED_CONDA_FILE: &str = "conda_dependencies.yml";
const SAVED_DOCKERFILE: &str = "BaseDockerfile";
/// The name of the conda environment that the SDK gives.
const CONDA_NAME: &str = "project_environment";

impl StoredDocument {
    /// The whole environment as JSON in the SDK's spelling, every section there, with a name and a
    /// version.
    pub fn azureml_json(
        &self,
        name: &str,
        version: Option<&str>,
        asset_id: Option<&str>,
    ) -> String {
        let mut tree = spelled(&self.azureml_tree(), Section::Environment);
        tree.set("name", text(name));
        tree.set("version", version.map_or_else(null, text));
        tree.set("assetId", asset_id.map_or_else(null, text));
        complete(&mut tree);
        tree.to_json()
    }

    /// The document as an Azure ML environment, with its files and overrides in it.
    pub(super) fn azureml_tree(&self) -> Node {
        let mut tree = match self.kind {
            Kind::AzureMl => {
                let tree = document::read_json(&self.text).unwrap_or_else(|_| map([]));
                let mut tree = spelled(&tree, Section::Environment);
                self.inline_files(&mut tree);
                tree
            }
            Kind::Conda => {
                let file = document::read_yaml(&self.text).unwrap_or_else(|_| map([]));
                of_conda(file)
            }
            Kind::Requirements => {
                let lines = requirements::logical(&self.text);
                let lines = lines.iter().map(|line| text(&line.text)).collect();
                of_conda(map([
                    ("name", text(CONDA_NAME)),
                    ("dependencies", list(vec![map([("pip", list(lines))])])),
                ]))
            }
        };
        self.override_docker(&mut tree);
        tree
    }

    /// Puts the files of a saved folder where the SDK puts them when it loads one.
    fn inline_files(&self, tree: &mut Node) {
        let field = |tree: &Node, section: &str, key: &str| {
            let section = tree.field(section)?;
            let entry = section.value.field(key)?;
            entry.value.scalar().map(str::to_owned)
        };
        let file = field(tree, "python", "condaDependenciesFile");
        let file = self.files.get(file.as_deref().unwrap_or(SAVED_CONDA_FILE));
        let file = file.and_then(|text| document::read_yaml(text).ok());
        if let (Some(file), Some(python)) = (file, section(tree, "python")) {
            python.set_default("condaDependencies", file);
        }
        let others = ["baseImage", "baseDockerfile", "buildContext"];
        let dockerfile = self.files.get(SAVED_DOCKERFILE);
        if let (Some(dockerfile), Some(docker)) = (dockerfile, section(tree, "docker"))
            && others
                .iter()
                .all(|key| docker.field(key).is_none_or(|entry| entry.value.is_null()))
        {
            docker.set("baseDockerfile", text(dockerfile));
        }
    }

    /// What the caller said beside the document, in its docker section.
    fn override_docker(&self, tree: &mut Node) {
        let overrides = &self.overrides;
        if overrides.base.is_none() && !overrides.gpu && overrides.platform.is_none() {
            return;
        }
        tree.set_default("docker", map([]));
        let Some(docker) = section(tree, "docker") else {
            return;
        };
        if let Some(base) = &overrides.base {
            docker.set("baseImage", text(base));
            docker.set("baseImageRegistry", null());
        }
        if overrides.gpu {
            docker.set("gpuSupport", flag(true));
        }
        if let Some(platform) = &overrides.platform {
            let (os, architecture) = platform.split_once('/').unwrap_or(("linux", platform));
            docker.set(
                "platform",
                map([("os", text(os)), ("architecture", text(architecture))]),
            );
        }
    }
}

fn section<'a>(tree: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    let entries = tree.fields_mut()?;
    let entry = entries.iter_mut().find(|entry| entry.key == key)?;
    entry.value.map().is_some().then_some(&mut entry.value)
}

fn of_conda(file: Node) -> Node {
    map([
        ("environmentVariables", map([])),
        (
            "python",
            map([
                ("userManagedDependencies", flag(false)),
                ("interpreterPath", text("python")),
                ("condaDependenciesFile", null()),
                ("baseCondaEnvironment", null()),
                ("condaDependencies", file),
            ]),
        ),
        ("docker", docker()),
    ])
}

fn docker() -> Node {
    let registry = ["address", "username", "password", "registryIdentity"];
    map([
        ("enabled", flag(false)),
        ("baseImage", null()),
        ("baseDockerfile", null()),
        ("buildContext", null()),
        ("sharedVolumes", flag(true)),
        ("shmSize", null()),
        ("arguments", list(Vec::new())),
        ("baseImageRegistry", map(registry.map(|key| (key, null())))),
        (
            "platform",
            map([("os", text("Linux")), ("architecture", text("amd64"))]),
        ),
    ])
}

/// Adds the sections that are missing: an SDK can't read an environment without them.
fn complete(tree: &mut Node) {
    tree.set_default("environmentVariables", map([]));
    tree.set_default(
        "python",
        map([
            ("userManagedDependencies", flag(false)),
            ("interpreterPath", text("python")),
            ("condaDependenciesFile", null()),
            ("baseCondaEnvironment", null()),
        ]),
    );
    tree.set_default("docker", docker());
    tree.set_default(
        "spark",
        map([
            ("repositories", list(Vec::new())),
            ("packages", list(Vec::new())),
            ("precachePackages", flag(true)),
        ]),
    );
    let libraries = [
        "mavenLibraries",
        "pypiLibraries",
        "rcranLibraries",
        "jarLibraries",
        "eggLibraries",
    ];
    tree.set_default(
        "databricks",
        map(libraries.map(|key| (key, list(Vec::new())))),
    );
    tree.set_default("r", null());
    tree.set_default("inferencingStackVersion", null());
}
