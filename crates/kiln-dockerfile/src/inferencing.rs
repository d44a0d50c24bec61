//! The inferencing stack: the image serves an entry script where nothing else is asked of it.

use crate::ast::Instruction;
use crate::context::{Content, ContextFile};
use crate::error::PlanError;
use crate::plan::PlanInput;
use crate::steps::Steps;

const SERVE: &str = include_str!("serve.py");
/// Where the program is in the context, and in the image.
const SOURCE: &str = "inferencing/";
const DESTINATION: &str = "/opt/kiln/inferencing/";

/// The steps that put the program into the image, before the base's user is the user again; none where the
/// stack is not asked for.
pub(crate) fn add(input: &PlanInput<'_>, steps: &mut Steps) -> Result<(), PlanError> {
    if input.definition.inferencing_stack_version.is_none() {
        return Ok(());
    }
    if steps.prefix.is_none() {
        return Err(PlanError::Unsupported {
            what: "the inferencing stack (inferencingStackVersion) where nothing is installed",
            remedy: "let kiln manage python, or bring azureml-inference-server-http in the base",
        });
    }
    steps.context.push(ContextFile {
        path: format!("{SOURCE}serve.py"),
        mode: 0o644,
        content: Content::Bytes(SERVE.as_bytes().to_vec()),
    });
    steps.instructions.push(Instruction::Copy {
        source: SOURCE.to_owned(),
        destination: DESTINATION.to_owned(),
    });
    Ok(())
}

/// What the image runs by itself.
pub(crate) fn command(input: &PlanInput<'_>, prefix: Option<&str>) -> Option<Instruction> {
    input.definition.inferencing_stack_version.as_ref()?;
    let python = format!("{}/bin/python", prefix?);
    Some(Instruction::Cmd(vec![
        python,
        format!("{DESTINATION}serve.py"),
    ]))
}
