//! What a document is, by its shape.

use crate::document::Node;
use crate::input::Kind;

/// A document that is something else: what it is, and what to give instead.
pub(crate) struct Lookalike {
    pub(crate) reason: &'static str,
    pub(crate) remedy: &'static str,
}

/// What the text of a document is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    Json,
    Yaml,
    Requirements,
    Dockerfile,
}

/// Tells JSON, YAML, requirements and Dockerfiles apart.
pub(crate) fn syntax(text: &str) -> Syntax {
    let mut lines = text.lines().map(str::trim_end);
    let is_blank = |line: &&str| {
        let line = line.trim_start();
        line.is_empty() || line.starts_with('#')
    };
    let Some(first) = lines.clone().find(|line| !is_blank(line)) else {
        return Syntax::Requirements;
    };
    if first.trim_start().starts_with('{') || first.trim_start().starts_with('[') {
        return Syntax::Json;
    }
    let word = first.split_whitespace().next().unwrap_or_default();
    if ["FROM", "ARG"].contains(&word) && lines.clone().any(|line| line.starts_with("FROM ")) {
        return Syntax::Dockerfile;
    }
    // A requirement never has `key:` at the beginning of a line.
    let is_key = |line: &str| {
        let key: String = line
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || "_$-.\"' /".contains(*c))
            .collect();
        let rest = &line[key.len()..];
        !key.is_empty()
            && !line.starts_with([' ', '-'])
            && (rest == ":" || rest.starts_with(": ") || rest.starts_with(":\t"))
    };
    if first == "---" || first.starts_with("%YAML") || lines.any(|line| is_key(line)) {
        return Syntax::Yaml;
    }
    Syntax::Requirements
}

/// The kind of a tree, or what else it is.
pub(crate) fn kind(root: &Node) -> Result<Kind, Lookalike> {
    let Some(entries) = root.map() else {
        return Err(Lookalike {
            reason: "this is no map, and so neither a conda nor an Azure ML environment",
            remedy: "give an Azure ML environment, a conda environment.yml or a requirements.txt",
        });
    };
    let has = |key: &str| {
        entries
            .iter()
            .any(|entry| entry.key.eq_ignore_ascii_case(key))
    };
    let text = |key: &str| {
        root.field(key)
            .and_then(|entry| entry.value.scalar())
            .unwrap_or_default()
    };
    let schema = text("$schema");
    if schema.contains("deploymentTemplate") || (has("resources") && has("contentVersion")) {
        return Err(Lookalike {
            reason: "this is an ARM template, not an environment",
            remedy: "give the environment that it deploys: its conda file, with --base for its image",
        });
    }
    if has("properties") && (has("id") || has("systemData")) || has("condaFile") {
        return Err(Lookalike {
            reason: "this is an environment resource of Azure Resource Manager",
            remedy: "give its conda file, with --base for its image",
        });
    }
    if has("dependencies") && !has("python") && !has("docker") && !has("image") {
        return Ok(Kind::Conda);
    }
    if ["python", "docker", "environmentVariables", "spark"]
        .iter()
        .any(|key| has(key))
        && entries.iter().all(|entry| is_azureml_field(&entry.key))
    {
        return Ok(Kind::AzureMl);
    }
    Err(lookalike(&has, text("type"), schema))
}

/// The fields of an Azure ML environment, in any letter case.
pub(crate) fn is_azureml_field(key: &str) -> bool {
    const FIELDS: [&str; 11] = [
        "name",
        "version",
        "environmentVariables",
        "python",
        "docker",
        "spark",
        "databricks",
        "r",
        "inferencingStackVersion",
        "assetId",
        "location",
    ];
    FIELDS.iter().any(|field| field.eq_ignore_ascii_case(key))
}

fn lookalike(has: &dyn Fn(&str) -> bool, kind: &str, schema: &str) -> Lookalike {
    let (reason, remedy) = if has("build_dependencies") && has("python") {
        (
            "this is MLflow's python_env.yaml, not an environment",
            "give the requirements.txt or conda.yaml beside it",
        )
    } else if has("flavors") || has("artifact_path") || has("model_uuid") {
        (
            "this is an MLflow model, not an environment",
            "give the conda.yaml or requirements.txt beside it",
        )
    } else if has("package") && has("metadata") {
        (
            "this is a lock of conda-lock, not an environment",
            "give the environment.yml it was made from",
        )
    } else if has("traffic")
        || has("code_configuration")
        || has("endpoint_name")
        || schema.contains("Deployment")
        || schema.contains("Endpoint")
        || has("instance_type")
        || has("auth_mode")
    {
        (
            "this is a deployment or an endpoint, not an environment",
            "give the environment that it names",
        )
    } else if has("conda_file")
        || has("image")
        || schema.contains("environment.schema")
        || has("build")
    {
        (
            "this is an environment of the Azure ML CLI v2, which names its files",
            "give the conda file that it names, with --base for its image",
        )
    } else if kind == "environment" || (has("type") && has("spec")) {
        (
            "this is an asset of a registry, not an environment",
            "give the conda file of its context",
        )
    } else if has("command") || has("experiment_name") || has("jobs") || schema.contains("Job") {
        (
            "this is a job, not an environment",
            "give the environment that it names",
        )
    } else if has("apiVersion") && has("kind") {
        (
            "this is a Kubernetes resource, not an environment",
            "give an environment file",
        )
    } else if has("name") && has("version") {
        (
            "this is a reference to an environment, by name and version, and has no content",
            "give the environment itself, or ask a kiln that knows the name",
        )
    } else {
        (
            "this is none of the environments kiln knows: it has neither `dependencies` nor `python` or `docker`",
            "give an Azure ML environment, a conda environment.yml or a requirements.txt",
        )
    };
    Lookalike { reason, remedy }
}
