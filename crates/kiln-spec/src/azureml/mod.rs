//! Azure ML environments, as the SDK v1 serialises them: `Environment._serialize_to_dict`, the body of a
//! registration, and the folder that `save_to_directory` writes.

mod docker;
mod fields;
mod languages;

use std::collections::BTreeMap;

use crate::conda::{self, Context};
use crate::definition::{Base, Conda, Definition, Pip, Python};
use crate::document::{self, Node};
use crate::error::{Place, quoted};
use crate::input::Reading;
use crate::variables;
use fields::Section;

/// The conda file beside `azureml_environment.json` in a saved folder.
const SAVED_CONDA_FILE: &str = "conda_dependencies.yml";
/// A longer name is refused by the service.
const NAME_LIMIT: usize = 255;

/// Names that the service keeps for its curated environments begin with these.
const RESERVED: [&str; 2] = ["AzureML", "Microsoft"];

fn starts_with_any_case(text: &str, start: &str) -> bool {
    text.get(..start.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// Reads an environment.
pub(crate) fn read(
    root: &Node,
    reading: &mut Reading<'_>,
) -> (Definition, Option<String>, Option<String>) {
    let environment = Section::of(root, "", reading);
    environment.only(
        &[
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
        ],
        reading,
    );
    let name = environment.text("name", reading);
    if name.is_some_and(|name| name.chars().count() > NAME_LIMIT) {
        environment.error(
            reading,
            root.line,
            "name",
            "the name is longer than 255 characters",
            "shorten it",
        );
    }
    if name.is_some_and(|name| {
        RESERVED
            .iter()
            .any(|start| starts_with_any_case(name, start))
    }) {
        environment.warn(
            reading,
            root.line,
            "name",
            "names that start with `AzureML` or `Microsoft` are those of curated environments",
            "choose another name to register it",
        );
    }
    let version = environment.text("version", reading);
    let docker = docker::read(&environment, reading);
    let with_context = matches!(docker.base, Base::Git { .. } | Base::Context { .. });
    let packages = if with_context {
        Packages::Elsewhere
    } else if docker.is_empty {
        Packages::None
    } else {
        Packages::Required
    };
    let python = python(&environment, packages, reading);
    let environment_variables = environment_variables(&environment, reading);
    let mut definition = Definition {
        platform: docker.platform,
        base: docker.base,
        python: python.python,
        conda: python.file.conda,
        pip: python.file.pip,
        environment_variables,
        spark: languages::spark(&environment, reading),
        r: languages::r(&environment, reading),
        inferencing_stack_version: inferencing(&environment, reading),
    };
    if with_context {
        refuse_beside_context(&environment, &definition, reading);
    }
    if definition.python.user_managed {
        definition.conda = None;
        definition.pip = None;
    }
    (
        definition,
        name.map(str::to_owned),
        version.map(str::to_owned),
    )
}

/// What it means that a document has no packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packages {
    /// They are forgotten.
    Required,
    /// They are in the build context.
    Elsewhere,
    /// There are none, as there is no base: the SDK's own form of an environment with nothing filled in.
    None,
}

struct PythonSection {
    python: Python,
    file: File,
}

/// What the conda section became, or nothing.
struct File {
    conda: Option<Conda>,
    pip: Option<Pip>,
}

fn python(
    environment: &Section<'_>,
    packages: Packages,
    reading: &mut Reading<'_>,
) -> PythonSection {
    let none = Python {
        user_managed: false,
        interpreter_path: None,
        base_conda_environment: None,
    };
    let Some(entry) = environment.get("python") else {
        if packages != Packages::Elsewhere {
            environment.error(
                reading,
                environment.line(),
                "python",
                "there is no python section",
                "add one with `condaDependencies`, or set `userManagedDependencies` in it",
            );
        }
        return PythonSection {
            python: none,
            file: File {
                conda: None,
                pip: None,
            },
        };
    };
    let section = Section::of(&entry.value, "python", reading);
    section.only(
        &[
            "userManagedDependencies",
            "interpreterPath",
            "condaDependenciesFile",
            "baseCondaEnvironment",
            "condaDependencies",
        ],
        reading,
    );
    let user_managed = section.flag("userManagedDependencies", reading);
    let interpreter = section
        .text("interpreterPath", reading)
        .filter(|path| *path != "python");
    let base_environment = section.text("baseCondaEnvironment", reading);
    if base_environment.is_some() {
        section.warn(
            reading,
            entry.line,
            "baseCondaEnvironment",
            "building upon an environment of the base is not recommended",
            "list all dependencies",
        );
    }
    let python = Python {
        user_managed,
        interpreter_path: interpreter.filter(|_| user_managed).map(str::to_owned),
        base_conda_environment: base_environment
            .filter(|_| !user_managed)
            .map(str::to_owned),
    };
    if user_managed {
        return PythonSection {
            python,
            file: File {
                conda: None,
                pip: None,
            },
        };
    }
    let file = dependencies(&section, packages, reading);
    PythonSection { python, file }
}

/// The inline conda map, or the file of a saved folder.
fn dependencies(section: &Section<'_>, packages: Packages, reading: &mut Reading<'_>) -> File {
    let input = reading.input;
    let saved;
    let named = section
        .text("condaDependenciesFile", reading)
        .unwrap_or(SAVED_CONDA_FILE);
    let (root, file, path, text) = if let Some(entry) = section.get("condaDependencies") {
        (
            &entry.value,
            input.file_name,
            "python.condaDependencies",
            "",
        )
    } else if let Some(text) = input.files.get(named) {
        match document::read_yaml(text.strip_prefix('\u{feff}').unwrap_or(text)) {
            Ok(node) => saved = node,
            Err(error) => {
                let place = Place {
                    file: named,
                    line: error.line,
                    field: "",
                };
                reading.findings.error(place, error.reason, error.remedy);
                return File {
                    conda: None,
                    pip: None,
                };
            }
        }
        (&saved, named, "", text.as_str())
    } else {
        let said = format!(
            "there are no conda dependencies, and no file {} was supplied",
            quoted(named)
        );
        let (line, field) = (section.line(), "condaDependencies");
        let remedy = "add them, supply the file, or set `userManagedDependencies`";
        match packages {
            Packages::Elsewhere => {}
            Packages::Required => section.error(reading, line, field, &said, remedy),
            Packages::None => {
                let said = format!("{said}: nothing is installed");
                section.warn(reading, line, field, &said, remedy);
            }
        }
        return File {
            conda: None,
            pip: None,
        };
    };
    if root.map().is_none() {
        section.error(
            reading,
            root.line,
            "condaDependencies",
            "the conda dependencies are no map",
            "write them as a conda file has them",
        );
        return File {
            conda: None,
            pip: None,
        };
    }
    let found = conda::read(
        root,
        &mut Context {
            file,
            path,
            text,
            files: input.files,
            findings: &mut reading.findings,
            credentials: &mut reading.credentials,
        },
    );
    let pip_alone = found.conda.is_none() && found.pip.is_some();
    match found.pythons {
        // Packages of pip alone run on the base's python, as a requirements file's do.
        0 if pip_alone => {}
        0 => section.error(
            reading,
            root.line,
            "condaDependencies",
            "no python is among the dependencies",
            "add one, for example `python=3.11`",
        ),
        1 => {}
        _ => section.error(
            reading,
            root.line,
            "condaDependencies",
            "more than one python is among the dependencies",
            "keep one of them",
        ),
    }
    File {
        conda: found.conda,
        pip: found.pip,
    }
}

fn environment_variables(
    environment: &Section<'_>,
    reading: &mut Reading<'_>,
) -> BTreeMap<String, String> {
    let Some(entry) = environment.get("environmentVariables") else {
        return BTreeMap::new();
    };
    let place = Place {
        file: reading.input.file_name,
        line: entry.line,
        field: "environmentVariables",
    };
    variables::read(&entry.value, place, &mut reading.findings)
}

fn inferencing(environment: &Section<'_>, reading: &mut Reading<'_>) -> Option<String> {
    let version = environment.text("inferencingStackVersion", reading)?;
    if version != "latest" {
        environment.error(
            reading,
            environment.line(),
            "inferencingStackVersion",
            "the only version of the inferencing stack is `latest`",
            "write `latest` or leave it out",
        );
    }
    Some("latest".to_owned())
}

/// A context brings its own environment: the service refuses what would change it.
fn refuse_beside_context(
    environment: &Section<'_>,
    definition: &Definition,
    reading: &mut Reading<'_>,
) {
    let beside = [
        (
            "environmentVariables",
            !definition.environment_variables.is_empty(),
        ),
        (
            "python.condaDependencies",
            definition.conda.is_some() || definition.pip.is_some(),
        ),
        ("r", definition.r.is_some()),
        ("spark", definition.spark.is_some()),
    ];
    for (field, given) in beside {
        if given {
            environment.error(
                reading,
                environment.line(),
                field,
                "a build context can't be combined with it",
                "put it into the context's Dockerfile",
            );
        }
    }
}
