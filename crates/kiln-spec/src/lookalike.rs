//! Documents of other tools that people give for an environment: what each is, and what to give instead.

use std::collections::HashSet;

use crate::document::{Entry, Value};

/// A document that is something else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lookalike {
    pub(crate) reason: &'static str,
    pub(crate) remedy: &'static str,
}

const fn other(reason: &'static str, remedy: &'static str) -> Lookalike {
    Lookalike { reason, remedy }
}

const THREE: &str = "give an Azure ML environment, a conda environment.yml or a requirements.txt";
const CONDA_AND_BASE: &str = "give the conda file that it names, with `--base` for its image";
const NAMED: &str = "give the environment that it names";

pub(crate) const EMPTY: Lookalike = other("the document is empty", THREE);
pub(crate) const NO_MAP: Lookalike = other(
    "this is no map, and so neither a conda nor an Azure ML environment",
    THREE,
);
pub(crate) const MANIFEST: Lookalike = other(
    "this is the manifest of another package manager: its `dependencies` are a map, not a list",
    THREE,
);

const ARM: Lookalike = other(
    "this is an ARM template, not an environment",
    "give the environment that it deploys: its conda file, with `--base` for its image",
);
const RESOURCE: Lookalike = other(
    "this is an environment resource of Azure Resource Manager",
    "give its conda file, with `--base` for its image",
);
const DEPLOYMENT: Lookalike = other("this is a deployment, not an environment", NAMED);
const ENDPOINT: Lookalike = other("this is an endpoint, not an environment", NAMED);
const JOB: Lookalike = other("this is a job or a workflow, not an environment", NAMED);
const CLI_V2: Lookalike = other(
    "this is an environment of the Azure ML CLI v2, which names its files",
    CONDA_AND_BASE,
);
const ASSET: Lookalike = other(
    "this is the asset file of a registry, not an environment",
    "give the conda file of its context, with `--base` for its image",
);
const REFERENCE: Lookalike = other(
    "this is a reference to an environment, by name and version, and has no content",
    "give the environment itself, or ask a kiln that knows the name",
);
const UNKNOWN: Lookalike = other(
    "this is none of the environments kiln knows: it has neither `dependencies` nor `python` or `docker`",
    THREE,
);

/// Keys that all stand in a document, and what it then is; the first rule that holds counts.
const RULES: [(&[&str], Lookalike); 22] = [
    (&["resources", "contentversion"], ARM),
    (&["condafile"], RESOURCE),
    (&["properties", "id"], RESOURCE),
    (&["properties", "systemdata"], RESOURCE),
    (
        &["build_dependencies"],
        other(
            "this is MLflow's python_env.yaml, not an environment",
            "give the requirements.txt or conda.yaml beside it",
        ),
    ),
    (&["flavors"], MLFLOW_MODEL),
    (&["artifact_path"], MLFLOW_MODEL),
    (
        &["entry_points"],
        other(
            "this is an MLflow project, not an environment",
            "give the conda file that it names",
        ),
    ),
    (
        &["metadata", "package"],
        other(
            "this is a lock of conda-lock, not an environment",
            "give the environment.yml it was made from",
        ),
    ),
    (
        &["environments", "packages"],
        other(
            "this is a lock of pixi, not an environment",
            "give an environment.yml (`pixi project export conda-environment`)",
        ),
    ),
    (
        &["package", "requirements"],
        other(
            "this is the recipe of a conda package, not an environment",
            "give an environment.yml",
        ),
    ),
    (
        &["_meta", "default"],
        other(
            "this is a Pipfile.lock, not an environment",
            "give a requirements.txt (`pipenv requirements`)",
        ),
    ),
    (&["endpoint_name"], DEPLOYMENT),
    (&["code_configuration"], DEPLOYMENT),
    (&["auth_mode"], ENDPOINT),
    (&["traffic"], ENDPOINT),
    (
        &["services"],
        other("this is a compose file, not an environment", THREE),
    ),
    (
        &["apiversion", "kind"],
        other("this is a Kubernetes resource, not an environment", THREE),
    ),
    (
        &["repos"],
        other(
            "this is a pre-commit configuration, not an environment",
            THREE,
        ),
    ),
    (
        &["cells", "nbformat"],
        other("this is a notebook, not an environment", THREE),
    ),
    (&["sphinx"], READ_THE_DOCS),
    (&["mkdocs"], READ_THE_DOCS),
];

const MLFLOW_MODEL: Lookalike = other(
    "this is an MLflow model, not an environment",
    "give the conda.yaml or requirements.txt beside it",
);
const READ_THE_DOCS: Lookalike = other(
    "this is a configuration of Read the Docs, not an environment",
    THREE,
);

/// The keys of a document in lower case, and the few values that tell what it is.
pub(crate) struct Keys<'a> {
    names: HashSet<String>,
    schema: &'a str,
    kind: &'a str,
    image_is_map: bool,
    inner: Vec<&'a Entry>,
}

impl<'a> Keys<'a> {
    pub(crate) fn of(entries: &'a [Entry]) -> Self {
        let find = |key: &str| {
            entries
                .iter()
                .find(|entry| entry.key.eq_ignore_ascii_case(key))
        };
        let text = |key: &str| {
            find(key)
                .and_then(|entry| entry.value.scalar())
                .unwrap_or_default()
        };
        Self {
            names: entries
                .iter()
                .map(|entry| entry.key.to_ascii_lowercase())
                .collect(),
            schema: text("$schema"),
            kind: text("type"),
            image_is_map: find("image").is_some_and(|e| matches!(e.value.value, Value::Map(_))),
            inner: find("properties")
                .and_then(|e| e.value.map())
                .unwrap_or_default()
                .iter()
                .collect(),
        }
    }

    pub(crate) fn any(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.names.contains(*key))
    }

    /// What a document is whose keys leave no doubt, even beside `dependencies`.
    pub(crate) fn certainly_other(&self) -> Option<Lookalike> {
        if self.schema.contains("deploymentTemplate") {
            return Some(ARM);
        }
        if self
            .inner
            .iter()
            .any(|entry| entry.key.eq_ignore_ascii_case("condaFile"))
        {
            return Some(RESOURCE);
        }
        let by_schema = [
            ("Deployment", DEPLOYMENT),
            ("Endpoint", ENDPOINT),
            ("environment.schema", CLI_V2),
            ("Job", JOB),
            ("pipeline", JOB),
            ("command", JOB),
        ];
        if let Some((_, other)) = by_schema
            .iter()
            .find(|(word, _)| self.schema.contains(word))
        {
            return Some(*other);
        }
        let holds = |keys: &[&str]| keys.iter().all(|key| self.names.contains(*key));
        RULES
            .iter()
            .find(|(keys, _)| holds(keys))
            .map(|(_, other)| *other)
    }

    /// What a document is that is no environment.
    pub(crate) fn other(&self) -> Lookalike {
        let all = |keys: &[&str]| keys.iter().all(|key| self.names.contains(*key));
        if self.kind == "environment" || all(&["type", "spec"]) || self.image_is_map {
            ASSET
        } else if self.any(&["conda_file", "image", "build"]) {
            CLI_V2
        } else if self.any(&["instance_type", "scoring_script"]) {
            DEPLOYMENT
        } else if self.any(&["command", "experiment_name", "jobs", "trial"]) {
            JOB
        } else if !self.names.is_empty() && self.names.iter().all(|k| k == "name" || k == "version")
        {
            REFERENCE
        } else {
            UNKNOWN
        }
    }
}

/// What a text is by its first line that says something.
pub(crate) fn of_text(text: &str, first: &str) -> Option<Lookalike> {
    let word = first.split_whitespace().next().unwrap_or_default();
    let from = |line: &str| {
        line.trim_start()
            .get(..5)
            .is_some_and(|w| w.eq_ignore_ascii_case("from "))
    };
    let dockerfile = from(first) || (word == "ARG" && text.lines().any(from));
    if dockerfile && !first.contains(" import ") {
        return Some(other(
            "this is a Dockerfile, not an environment",
            "give it as `docker.baseDockerfile` of an Azure ML environment",
        ));
    }
    if text.starts_with("#!") {
        return Some(other("this is a script, not an environment", THREE));
    }
    if first.starts_with('<') {
        return Some(other("this is markup, not an environment", THREE));
    }
    if text.lines().any(|line| line.trim() == "@EXPLICIT") {
        return Some(other(
            "this is an explicit list of conda packages, not an environment",
            "give the environment.yml it was made from",
        ));
    }
    let table = first.trim_start_matches('[').trim_end_matches(']');
    let bare = |c: char| c.is_ascii_alphanumeric() || "._-\"".contains(c);
    if first.starts_with('[')
        && first.ends_with(']')
        && table.starts_with(|c: char| c.is_ascii_alphabetic())
        && table.chars().all(bare)
    {
        return Some(other(
            "this is TOML (a pyproject, Pipfile or lock file), not an environment",
            "export a requirements.txt or an environment.yml from it",
        ));
    }
    None
}
