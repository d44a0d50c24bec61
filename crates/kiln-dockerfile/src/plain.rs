//! The same environment by widely used tools alone: conda or micromamba, venv and pip, with an explicit
//! file. For ejected folders; packages are fetched from the addresses in the lock.

use kiln_lock::{CondaPackage, PythonSource, Wheel};

use crate::ast::{Instruction, Mount};
use crate::base::FromReference;
use crate::plan::{PlanInput, SecretMount, Tool};
use crate::steps::{FOLDER, MOUNT_POINT, STAGE_CA, Shell, Steps, azureml_prefix};
use crate::{KILN_PREFIX, PlanError, check};

/// micromamba's official image. A folder that must build alike for ever names its digest instead.
const MICROMAMBA_IMAGE: &str = "docker.io/mambaorg/micromamba:2.0.5";
const STAGE: &str = "micromamba";
const PROGRAM: &str = "/run/micromamba";
const NETRC: &str = "/root/.netrc";

/// The steps.
pub(crate) fn steps(input: &PlanInput<'_>) -> Result<Steps, PlanError> {
    let (lock, facts) = (input.lock, input.facts);
    if !facts.shell {
        return Err(PlanError::NoShell {
            what: "installing with plain tools",
        });
    }
    lock.conda.iter().try_for_each(check::conda)?;
    lock.pip.iter().try_for_each(check::wheel)?;
    let tool = match (&facts.conda, lock.conda.is_empty()) {
        (_, true) => Tool::Pip,
        (Some(_), false) => Tool::Conda,
        (None, false) => Tool::Micromamba,
    };
    let prefix = match tool {
        Tool::Conda => azureml_prefix(&input.spec_hash),
        _ => KILN_PREFIX.to_owned(),
    };
    let mut steps = Steps::new(tool, Some(prefix.clone()));
    steps.become_root(input.needs_root());
    let mut shell = Shell::new(facts);
    shell.pip_settings();
    credentials(input, tool, &mut shell, &mut steps);
    match tool {
        Tool::Pip => venv(input, &prefix, &mut shell)?,
        _ => conda(input, tool, &prefix, &mut shell, &mut steps),
    }
    if !lock.pip.is_empty() {
        wheels(input, &prefix, &mut shell, &mut steps)?;
    }
    steps.instructions.push(shell.into_instruction());
    if prefix == KILN_PREFIX {
        steps.link(&input.spec_hash);
    }
    Ok(steps)
}

/// Mounts what fetching needs beside the network.
fn credentials(input: &PlanInput<'_>, tool: Tool, shell: &mut Shell<'_>, steps: &mut Steps) {
    if input.private {
        steps.secrets.push(SecretMount {
            id: "netrc",
            target: NETRC,
            what: "a netrc file with the user names and passwords of private channels and indexes",
        });
        shell.mount(Mount::Secret {
            id: "netrc",
            target: NETRC,
        });
    }
    if tool == Tool::Micromamba {
        let image = FromReference::constant(MICROMAMBA_IMAGE);
        steps.stages.push(Instruction::From {
            image,
            stage: Some(STAGE),
        });
        shell.mount(Mount::Stage {
            from: STAGE,
            source: "/bin/micromamba",
            target: PROGRAM,
        });
        // A bare base may trust nobody: micromamba's own image does.
        let source = "/etc/ssl/certs/ca-certificates.crt";
        shell.mount(Mount::Stage {
            from: STAGE,
            source,
            target: STAGE_CA,
        });
        if !input.extra_ca {
            shell.set("SSL_CERT_FILE", STAGE_CA);
        }
    }
    if input.extra_ca {
        shell.trust_extra_ca(&mut steps.secrets);
    }
}

fn conda(
    input: &PlanInput<'_>,
    tool: Tool,
    prefix: &str,
    shell: &mut Shell<'_>,
    steps: &mut Steps,
) {
    let mut lines = vec!["@EXPLICIT".to_owned()];
    for package in &input.lock.conda {
        lines.push(explicit(package, steps));
    }
    steps.text(format!("{FOLDER}/explicit.txt"), lines.join("\n") + "\n");
    let file = format!("{MOUNT_POINT}/explicit.txt");
    if tool == Tool::Conda {
        let cache = format!("{}/.kiln-pkgs", crate::AZUREML_ENVS);
        shell.set("CONDA_PKGS_DIRS", &cache);
        shell.set("PYTHONDONTWRITEBYTECODE", "1");
        shell.then(format!(
            "conda create --yes --quiet -p {prefix} --file {file}"
        ));
        shell.then(format!("rm -rf {cache}"));
    } else {
        let root = "/opt/kiln/micromamba";
        shell.set("MAMBA_ROOT_PREFIX", root);
        shell.then(format!(
            "{PROGRAM} create --yes --quiet --no-rc -p {prefix} --file {file}"
        ));
        shell.then(format!("rm -rf {root}"));
    }
}

/// A line of an explicit file. conda and micromamba check the MD5, which is all that conda takes there.
fn explicit(package: &CondaPackage, steps: &mut Steps) -> String {
    let address = if package.url.starts_with("file:") {
        let path = format!("{}/{}", package.subdir, package.file_name);
        steps.archive(format!("{FOLDER}/channel/{path}"), package.sha256);
        format!("file://{MOUNT_POINT}/channel/{path}")
    } else {
        package.url.clone()
    };
    match &package.md5 {
        Some(md5) => format!("{address}#{md5}"),
        None => address,
    }
}

/// A virtual environment on the base's python.
fn venv(input: &PlanInput<'_>, prefix: &str, shell: &mut Shell<'_>) -> Result<(), PlanError> {
    let Some(PythonSource::Base { interpreter }) = input.lock.python.as_ref().map(|p| &p.source)
    else {
        return Err(PlanError::PlainTools {
            what: "wheels without a python can't be installed",
            remedy: "name a python in the definition",
        });
    };
    let python = input
        .facts
        .pythons
        .iter()
        .find(|python| &python.path == interpreter);
    if python.is_some_and(|python| !python.has_venv) {
        return Err(PlanError::PlainTools {
            what: "the base's python has no venv and can't be used",
            remedy: "take a base with python3-venv, or the installer `kiln`",
        });
    }
    if !check::is_shell_path(interpreter) {
        return Err(PlanError::Package {
            package: "python".into(),
            part: "interpreter's path",
            value: interpreter.chars().take(80).collect(),
        });
    }
    shell.then(format!("{interpreter} -m venv {prefix}"));
    Ok(())
}

fn wheels(
    input: &PlanInput<'_>,
    prefix: &str,
    shell: &mut Shell<'_>,
    steps: &mut Steps,
) -> Result<(), PlanError> {
    let lock = input.lock;
    if !lock.conda.is_empty() && !lock.conda.iter().any(|package| package.name == "pip") {
        return Err(PlanError::PlainTools {
            what: "wheels can't be installed into an environment that has no pip",
            remedy: "add `pip` to the conda dependencies, or take the installer `kiln`",
        });
    }
    let mut text = format!("--no-index\n--find-links {MOUNT_POINT}/wheels\n--require-hashes\n");
    for wheel in &lock.pip {
        text.push_str(&requirement(wheel, steps)?);
    }
    steps.text(format!("{FOLDER}/requirements.txt"), text);
    // The folder of wheels must be there even where every wheel has an address.
    steps.text(
        format!("{FOLDER}/wheels/README"),
        "Wheels that have no address of their own.\n",
    );
    shell.then(format!(
        "{prefix}/bin/python -m pip install -r {MOUNT_POINT}/requirements.txt"
    ));
    Ok(())
}

/// A line of a requirements file: the very file the lock names, by its hash.
fn requirement(wheel: &Wheel, steps: &mut Steps) -> Result<String, PlanError> {
    let (name, version, hash) = (&wheel.name, &wheel.version, wheel.sha256);
    let fetched = wheel.url.starts_with("http://") || wheel.url.starts_with("https://");
    if fetched && wheel.built_from.is_none() {
        check::wheel_address(wheel)?;
        return Ok(format!("{name} @ {} --hash={hash}\n", wheel.url));
    }
    steps.archive(format!("{FOLDER}/wheels/{}", wheel.file_name), wheel.sha256);
    Ok(format!("{name}=={version} --hash={hash}\n"))
}
