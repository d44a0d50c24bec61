//! kiln's own installer, mounted into the step together with the archives.

use kiln_lock::PythonSource;

use crate::ast::Instruction;
use crate::context::{Content, ContextFile};
use crate::plan::{PlanInput, Tool};
use crate::steps::{FOLDER, Steps, kiln_mount};
use crate::{KILN_PREFIX, PlanError, check};

/// The step: one program without a shell.
pub(crate) fn steps(input: &PlanInput<'_>) -> Result<Steps, PlanError> {
    let lock = input.lock;
    lock.conda.iter().try_for_each(check::conda)?;
    lock.pip.iter().try_for_each(check::wheel)?;
    if let Some(PythonSource::Base { interpreter }) = lock.python.as_ref().map(|p| &p.source)
        && !check::is_absolute_path(interpreter)
    {
        return Err(PlanError::Package {
            package: "python".into(),
            part: "interpreter's path",
            value: interpreter.chars().take(80).collect(),
        });
    }
    let mut steps = Steps::new(Tool::KilnInstall, Some(KILN_PREFIX.to_owned()));
    for package in &lock.conda {
        steps.archive(
            format!("{FOLDER}/archives/{}", package.file_name),
            package.sha256,
        );
    }
    for wheel in &lock.pip {
        steps.archive(
            format!("{FOLDER}/archives/{}", wheel.file_name),
            wheel.sha256,
        );
    }
    steps.text(format!("{FOLDER}/lock.json"), lock.to_json());
    steps.context.push(ContextFile {
        path: format!("{FOLDER}/kiln-install"),
        mode: 0o755,
        content: Content::InstallBinary,
    });
    steps.become_root(input.needs_root());
    let command = [
        "/run/kiln/kiln-install",
        "--lock",
        "/run/kiln/lock.json",
        "--archives",
        "/run/kiln/archives",
        "--prefix",
        KILN_PREFIX,
        "--compile",
    ];
    steps.instructions.push(Instruction::Run {
        mounts: vec![kiln_mount()],
        command: command.map(str::to_owned).to_vec(),
    });
    steps.link(&input.spec_hash);
    Ok(steps)
}
