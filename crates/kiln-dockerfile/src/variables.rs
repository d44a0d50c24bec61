//! The image's variables: kiln's own, then the definition's, which win.

use std::collections::BTreeMap;

use crate::PlanError;
use crate::ast::Instruction;
use crate::check;
use crate::plan::{Installer, PlanInput};
use crate::quote::{EnvName, EnvValue, Part};
use crate::steps::{DEFAULT_PATH, azureml_prefix};

fn env(name: &'static str, value: EnvValue) -> Instruction {
    let name = EnvName::new(name).expect("kiln's own names are names");
    Instruction::Env { name, value }
}

/// `PATH` with a folder before what the base has.
fn path(folder: EnvValue) -> Instruction {
    let colon = Part::Literal(":".to_owned());
    env(
        "PATH",
        folder.then(colon).then(Part::OrElse("PATH", DEFAULT_PATH)),
    )
}

/// What an environment at a prefix needs to be found, as Azure ML's own images have it.
///
/// `LD_LIBRARY_PATH` is set where Azure ML sets it, on a base with conda, and nowhere else: packages
/// find their libraries by their own run paths, and the base's programs must not load them instead.
pub(crate) fn of_prefix(input: &PlanInput<'_>, prefix: &str) -> Vec<Instruction> {
    let azureml = azureml_prefix(&input.spec_hash);
    let as_azureml = prefix == azureml;
    let active = if input.lock.conda.is_empty() {
        "VIRTUAL_ENV"
    } else {
        "CONDA_PREFIX"
    };
    let mut found = vec![
        path(EnvValue::constant(format!("{prefix}/bin"))),
        env(active, EnvValue::constant(prefix)),
        env(
            "AZUREML_CONDA_ENVIRONMENT_PATH",
            EnvValue::constant(azureml),
        ),
    ];
    let layers_on_conda = input.installer == Installer::Layers && input.facts.conda.is_some();
    if as_azureml || layers_on_conda {
        let name = "LD_LIBRARY_PATH";
        let libraries = EnvValue::constant(format!("{prefix}/lib"));
        // Nothing follows where the base has none: an empty part would be the working directory.
        found.push(env(name, libraries.then(Part::AfterColon(name))));
    }
    found
}

/// The folder of the user's own interpreter comes first on `PATH`, unless it is there already.
pub(crate) fn of_interpreter(input: &PlanInput<'_>) -> Result<Option<Instruction>, PlanError> {
    let interpreter = input
        .definition
        .python
        .interpreter_path
        .as_deref()
        .unwrap_or_default();
    let Some((folder, _)) = interpreter.rsplit_once('/') else {
        return Ok(None);
    };
    if !check::is_absolute_path(folder) || input.facts.path().any(|known| known == folder) {
        return Ok(None);
    }
    let name = EnvName::new("PATH").expect("it is a name");
    EnvValue::literal(&name, folder).map(|folder| Some(path(folder)))
}

/// The mark by which Azure ML's programs know that they run in such an image.
pub(crate) fn mark() -> Instruction {
    env("AZUREML_ENVIRONMENT_IMAGE", EnvValue::constant("True"))
}

/// The definition's own: those of the conda section, then those of the environment.
pub(crate) fn of_definition(input: &PlanInput<'_>) -> Result<Vec<Instruction>, PlanError> {
    let definition = input.definition;
    let mut all: BTreeMap<&str, &str> = BTreeMap::new();
    let conda = definition.conda.iter().flat_map(|conda| &conda.variables);
    for (name, value) in conda.chain(&definition.environment_variables) {
        all.insert(name, value);
    }
    all.into_iter()
        .map(|(name, value)| {
            let name = EnvName::new(name)?;
            let value = EnvValue::literal(&name, value)?;
            Ok(Instruction::Env { name, value })
        })
        .collect()
}
