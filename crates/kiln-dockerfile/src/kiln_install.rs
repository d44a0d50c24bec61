//! kiln's own installer, mounted into the step together with the archives.

use kiln_lock::{Lock, PythonSource};

use crate::ast::Instruction;
use crate::context::{Content, ContextFile};
use crate::plan::{PlanInput, Tool};
use crate::steps::{FOLDER, MOUNT_POINT, Steps, kiln_mount};
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
    steps.become_root(input.needs_root());
    add(&mut steps, lock, "archives", KILN_PREFIX);
    steps.link(&input.spec_hash);
    Ok(steps)
}

/// Adds the installer and the step that runs it on a lock, whose archives lie in a folder of the context.
pub(crate) fn add(steps: &mut Steps, lock: &Lock, archives: &str, prefix: &str) {
    steps.text(format!("{FOLDER}/lock.json"), lock.to_json());
    steps.context.push(ContextFile {
        path: format!("{FOLDER}/kiln-install"),
        mode: 0o755,
        content: Content::InstallBinary,
    });
    let archives = format!("{MOUNT_POINT}/{archives}");
    let command = [
        "/run/kiln/kiln-install",
        "--lock",
        "/run/kiln/lock.json",
        "--archives",
        &archives,
        "--prefix",
        prefix,
        "--compile",
    ];
    steps.instructions.push(Instruction::Run {
        mounts: vec![kiln_mount()],
        command: command.map(str::to_owned).to_vec(),
    });
}
