//! What a document is, by its shape and never by its name.

use crate::document::{Node, Value};
use crate::input::Kind;
use crate::lookalike::{self, Keys, Lookalike};

/// What the text of a document is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    Json,
    /// YAML's own flow style, which begins as JSON does.
    Flow,
    Yaml,
    Requirements,
}

/// Tells JSON, YAML and requirements apart, and names what is none of them.
pub(crate) fn syntax(text: &str) -> Result<Syntax, Lookalike> {
    let is_blank = |line: &&str| line.is_empty() || line.starts_with('#');
    let mut significant = text.lines().map(str::trim).filter(|line| !is_blank(line));
    let Some(first) = significant.next() else {
        return Err(lookalike::EMPTY);
    };
    if let Some(other) = lookalike::of_text(text, first) {
        return Err(other);
    }
    if let Some(rest) = first.strip_prefix(['{', '[']) {
        let next = rest
            .chars()
            .find(|c| !c.is_whitespace())
            .or_else(|| significant.next().and_then(|line| line.chars().next()));
        let json = next.is_none_or(|c| "\"{[]}".contains(c));
        return Ok(if json { Syntax::Json } else { Syntax::Flow });
    }
    let yaml = first == "---" || first.starts_with("%YAML") || text.lines().any(is_key);
    Ok(if yaml {
        Syntax::Yaml
    } else {
        Syntax::Requirements
    })
}

/// A requirement never has `key:` at the beginning of a line.
fn is_key(line: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_$-.\"' /".contains(c);
    let end = line.find(|c| !allowed(c)).unwrap_or(line.len());
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_end();
    !key.is_empty()
        && !key.starts_with([' ', '-'])
        && (rest == ":" || rest.starts_with(": ") || rest.starts_with(":\t"))
}

/// The kind of a tree, or what else it is.
pub(crate) fn kind(root: &Node) -> Result<Kind, Lookalike> {
    let Some(entries) = root.map() else {
        return Err(lookalike::NO_MAP);
    };
    let keys = Keys::of(entries);
    if let Some(other) = keys.certainly_other() {
        return Err(other);
    }
    let section = |name: &str, fields: &[&str]| {
        entries.iter().any(|entry| {
            entry.key.eq_ignore_ascii_case(name)
                && entry.value.map().is_some_and(|map| {
                    map.iter()
                        .any(|e| fields.iter().any(|f| f.eq_ignore_ascii_case(&e.key)))
                })
        })
    };
    let environment = section(
        "python",
        &[
            "userManagedDependencies",
            "condaDependencies",
            "interpreterPath",
        ],
    ) || section(
        "docker",
        &["baseImage", "baseDockerfile", "buildContext", "gpuSupport"],
    );
    let all_known = entries.iter().all(|entry| is_azureml_field(&entry.key));
    let some_section = keys.any(&["python", "docker", "environmentvariables", "spark"]);
    if environment || (all_known && some_section) {
        return Ok(Kind::AzureMl);
    }
    let dependencies = entries.iter().find(|entry| entry.key == "dependencies");
    match dependencies.map(|entry| &entry.value.value) {
        Some(Value::Map(_)) => Err(lookalike::MANIFEST),
        Some(_) if !keys.any(&["image", "build_dependencies"]) => Ok(Kind::Conda),
        _ => Err(keys.other()),
    }
}

/// The fields of an Azure ML environment, in any letter case.
fn is_azureml_field(key: &str) -> bool {
    const FIELDS: [&str; 10] = [
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
    ];
    FIELDS.iter().any(|field| field.eq_ignore_ascii_case(key))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::document::{read_json, read_yaml};

    #[rstest]
    #[case("numpy==1.26\n", Syntax::Requirements)]
    #[case("# key: value\nnumpy\n", Syntax::Requirements)]
    #[case("--index-url https://h.org/simple\nx", Syntax::Requirements)]
    #[case("x @ https://h.org/x.whl", Syntax::Requirements)]
    #[case("name: x\ndependencies:\n- y\n", Syntax::Yaml)]
    #[case("\"dependencies\":\n- y\n", Syntax::Yaml)]
    #[case("---\ndependencies: []\n", Syntax::Yaml)]
    #[case("{\n  \"name\": 1}", Syntax::Json)]
    #[case("{dependencies: [y]}", Syntax::Flow)]
    #[case("{ }", Syntax::Json)]
    fn syntaxes_are_told_by_shape(#[case] text: &str, #[case] expected: Syntax) {
        assert_eq!(syntax(text).ok(), Some(expected));
    }

    #[rstest]
    #[case("FROM debian:12\nRUN true\n", "Dockerfile")]
    #[case("# syntax=docker/dockerfile:1\nARG A=1\nFROM $A\n", "Dockerfile")]
    #[case("[project]\nname = \"x\"\n", "TOML")]
    #[case("[[package]]\nname = \"x\"\n", "TOML")]
    #[case("# this\n@EXPLICIT\nhttps://h.org/x.conda\n", "explicit")]
    #[case("<!DOCTYPE html>\n<html>", "markup")]
    #[case("#!/bin/sh\npip install x\n", "script")]
    #[case("\n  \n# nothing\n", "empty")]
    fn texts_of_other_tools_are_named(#[case] text: &str, #[case] word: &str) {
        let reason = syntax(text)
            .err()
            .map(|other| other.reason)
            .unwrap_or_default();
        assert!(reason.contains(word), "{reason}");
    }

    #[rstest]
    #[case("{\"name\": \"x\", \"version\": \"3\"}", "reference")]
    #[case("{\"Name\": \"x\"}", "reference")]
    #[case(
        "{\"$schema\": \"https://x/deploymentTemplate.json#\", \"resources\": []}",
        "ARM template"
    )]
    #[case(
        "{\"properties\": {\"condaFile\": \"x\", \"image\": \"y\"}}",
        "Resource Manager"
    )]
    #[case(
        "$schema: https://x/managedOnlineDeployment.schema.json\nname: x\n",
        "deployment"
    )]
    #[case(
        "$schema: https://x/managedOnlineEndpoint.schema.json\nauth_mode: key\n",
        "endpoint"
    )]
    #[case("name: d\nendpoint_name: e\nmodel: m\n", "deployment")]
    #[case(
        "$schema: https://x/environment.schema.json\nimage: a\nconda_file: b\n",
        "CLI v2"
    )]
    #[case("name: x\nimage: a\nconda_file:\n  dependencies: []\n", "CLI v2")]
    #[case("name: x\nbuild:\n  path: .\n", "CLI v2")]
    #[case(
        "name: d\nversion: auto\ntype: environment\nspec: spec.yaml\n",
        "asset"
    )]
    #[case("image:\n  name: a\n  context:\n    dir: c\n", "asset")]
    #[case("flavors:\n  sklearn: {}\nartifact_path: m\n", "MLflow model")]
    #[case(
        "python: 3.12\nbuild_dependencies: [pip]\ndependencies: [x]\n",
        "python_env.yaml"
    )]
    #[case("name: p\nentry_points:\n  main: {}\nconda_env: c\n", "MLflow project")]
    #[case("version: 1\nmetadata: {}\npackage: []\n", "conda-lock")]
    #[case("version: 6\nenvironments: {}\npackages: []\n", "pixi")]
    #[case("package: {}\nrequirements: {}\n", "recipe")]
    #[case("{\"_meta\": {}, \"default\": {}}", "Pipfile.lock")]
    #[case("{\"name\": \"x\", \"dependencies\": {\"a\": \"1\"}}", "manifest")]
    #[case("services:\n  a: {}\n", "compose")]
    #[case("apiVersion: v1\nkind: Pod\n", "Kubernetes")]
    #[case("repos: []\n", "pre-commit")]
    #[case("on: push\njobs: {}\n", "job")]
    #[case("{\"cells\": [], \"nbformat\": 4}", "notebook")]
    #[case("version: 2\npython: {install: []}\nsphinx: {}\n", "Read the Docs")]
    #[case("- a\n- b\n", "map")]
    #[case("name: x\nchannels: [y]\n", "none of the environments")]
    fn lookalikes_are_named(#[case] text: &str, #[case] word: &str) {
        let root = if text.starts_with('{') {
            read_json(text)
        } else {
            read_yaml(text)
        };
        let reason = kind(&root.unwrap())
            .err()
            .map(|other| other.reason)
            .unwrap_or_default();
        assert!(reason.contains(word), "{reason}");
    }

    #[rstest]
    #[case("{\"Python\": {\"UserManagedDependencies\": true}}", Kind::AzureMl)]
    #[case("{\"NAME\": \"x\", \"DOCKER\": {}}", Kind::AzureMl)]
    #[case(
        "{\"docker\": {\"baseImage\": \"x\"}, \"createdBy\": \"me\"}",
        Kind::AzureMl
    )]
    #[case("{\"dependencies\": []}", Kind::Conda)]
    #[case("{\"dependencies\": null, \"name\": \"x\"}", Kind::Conda)]
    fn environments_are_known_by_their_fields(#[case] text: &str, #[case] expected: Kind) {
        assert_eq!(kind(&read_json(text).unwrap()).ok(), Some(expected));
    }
}
