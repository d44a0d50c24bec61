//! Azure ML's own step on a base with conda: `conda env create -p /azureml-envs/azureml_<hash>`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kiln_lock::{BaseFacts, CondaPackage, Lock};
use serde_json::{Value, json};

use crate::ast::Instruction;
use crate::plan::{PlanInput, Tool};
use crate::steps::{FOLDER, MOUNT_POINT, Shell, Steps, azureml_prefix};
use crate::{PlanError, check, kiln_install};

const CONDA_FILE: &str = "azureml-environment-setup/mutated_conda_dependencies.yml";

/// The first conda that reads `.conda` archives.
const READS_DOT_CONDA: (u32, u32) = (4, 7);

/// Why the base's conda is not asked; `None` where it is.
pub(crate) fn obstacle(lock: &Lock, facts: &BaseFacts) -> Option<&'static str> {
    let conda = facts.conda.as_ref()?;
    let old = conda
        .version
        .as_deref()
        .and_then(major_minor)
        .is_some_and(|v| v < READS_DOT_CONDA);
    if lock.conda.is_empty() {
        return Some("the lock has no conda packages");
    }
    if !facts.shell {
        return Some("the base has no /bin/sh");
    }
    if !pip_can(lock) && overlap(lock) {
        return Some("it would need its pip package to replace what pip and conda both bring");
    }
    if old
        && lock
            .conda
            .iter()
            .any(|package| package.file_name.strip_suffix(".conda").is_some())
    {
        return Some("it is older than 4.7, which reads no .conda archives");
    }
    if !check::is_absolute_path(&conda.root) {
        return Some("its root is no plain path");
    }
    None
}

/// Whether wheels are installed by the environment's own pip, in the conda file's pip section.
fn pip_can(lock: &Lock) -> bool {
    lock.conda.iter().any(|package| package.name == "pip")
}

/// Whether a name is both a conda package's and a wheel's.
fn overlap(lock: &Lock) -> bool {
    let named = |name: &str| lock.conda.iter().any(|package| package.name == name);
    lock.pip.iter().any(|wheel| named(&wheel.name))
}

fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// The steps; every package is checked before it is written anywhere.
pub(crate) fn steps(input: &PlanInput<'_>) -> Result<Steps, PlanError> {
    let lock = input.lock;
    lock.conda.iter().try_for_each(check::conda)?;
    lock.pip.iter().try_for_each(check::wheel)?;
    let prefix = azureml_prefix(&input.spec_hash);
    let mut steps = Steps::new(Tool::CondaEnvCreate, Some(prefix.clone()));
    let channels = channels(lock);
    for (index, (address, packages)) in channels.iter().enumerate() {
        write_channel(&mut steps, lock, index, packages);
        steps
            .notes
            .push(format!("channel {} is {address}", name(index)));
    }
    for wheel in &lock.pip {
        steps.archive(format!("{FOLDER}/wheels/{}", wheel.file_name), wheel.sha256);
    }
    steps.checksums();
    steps.text(format!("{FOLDER}/addresses.sed"), addresses(&channels));
    steps.text(CONDA_FILE, conda_file(input, channels.len()));
    steps.become_root(true);
    steps.instructions.push(Instruction::Copy {
        source: CONDA_FILE.to_owned(),
        destination: format!("/{CONDA_FILE}"),
    });
    let run = command(input, &prefix, &mut steps);
    steps.instructions.push(run);
    if !lock.pip.is_empty() && !pip_can(lock) {
        let wheels = Lock {
            conda: Vec::new(),
            ..lock.clone()
        };
        kiln_install::add(&mut steps, &wheels, "wheels", &prefix);
        let note = "the lock has no pip package: kiln-install brings the wheels".to_owned();
        steps.notes.push(note);
    }
    Ok(steps)
}

/// The lock's packages by the address of their channel.
fn channels(lock: &Lock) -> BTreeMap<&str, Vec<&CondaPackage>> {
    let mut channels: BTreeMap<&str, Vec<&CondaPackage>> = BTreeMap::new();
    for package in &lock.conda {
        channels.entry(address(package)).or_default().push(package);
    }
    channels
}

/// The channel's address: what stands before `/subdir/file`.
fn address(package: &CondaPackage) -> &str {
    package.url.rsplitn(3, '/').nth(2).unwrap_or(&package.url)
}

/// Names of one length: none is the start of another.
fn name(index: usize) -> String {
    format!("channel-{index:03}")
}

fn url(index: usize) -> String {
    format!("file://{MOUNT_POINT}/{}", name(index))
}

/// Writes the folder of a channel: archives and, for the platform and `noarch`, an index of them alone.
fn write_channel(steps: &mut Steps, lock: &Lock, index: usize, packages: &[&CondaPackage]) {
    let folder = format!("{FOLDER}/{}", name(index));
    let mut subdirs: BTreeMap<&str, Vec<&CondaPackage>> = BTreeMap::new();
    subdirs.insert("noarch", Vec::new());
    if let Some(subdir) = conda_subdir(&lock.platform) {
        subdirs.insert(subdir, Vec::new());
    }
    for package in packages {
        subdirs.entry(&package.subdir).or_default().push(package);
    }
    for (subdir, packages) in subdirs {
        for package in &packages {
            steps.archive(
                format!("{folder}/{subdir}/{}", package.file_name),
                package.sha256,
            );
        }
        let text = format!("{:#}\n", repodata(subdir, &packages));
        steps.text(format!("{folder}/{subdir}/repodata.json"), text);
    }
}

/// conda's name of a platform.
fn conda_subdir(platform: &str) -> Option<&'static str> {
    let mut parts = platform.split('/');
    match (parts.next()?, parts.next()?) {
        ("linux", "amd64") => Some("linux-64"),
        ("linux", "arm64") => Some("linux-aarch64"),
        ("linux", "ppc64le") => Some("linux-ppc64le"),
        ("linux", "s390x") => Some("linux-s390x"),
        _ => None,
    }
}

/// The index of a subdir, as conda's documentation of `repodata.json` has it.
fn repodata(subdir: &str, packages: &[&CondaPackage]) -> Value {
    let mut document = json!({
        "info": {"subdir": subdir}, "packages": {}, "packages.conda": {}, "repodata_version": 1,
    });
    for package in packages {
        let dot_conda = package.file_name.strip_suffix(".conda").is_some();
        let section = if dot_conda {
            "packages.conda"
        } else {
            "packages"
        };
        let mut record = json!({
            "name": package.name, "version": package.version, "build": package.build,
            "build_number": package.build_number, "subdir": package.subdir,
            "depends": package.depends, "sha256": package.sha256.to_hex(),
        });
        if let Some(md5) = &package.md5 {
            record["md5"] = json!(md5);
        }
        if let Some(size) = package.size_bytes {
            record["size"] = json!(size);
        }
        if let Some(noarch) = &package.noarch {
            record["noarch"] = json!(noarch);
        }
        document[section][&package.file_name] = record;
    }
    document
}

/// A sed script that gives the records in `conda-meta` their true addresses.
fn addresses(channels: &BTreeMap<&str, Vec<&CondaPackage>>) -> String {
    let mut script = String::new();
    for (index, address) in channels.keys().enumerate() {
        // An address has no backslash and no control character.
        let address = address.replace('&', "\\&").replace('#', "\\#");
        let _ = writeln!(script, "s#{}#{address}#g", url(index));
    }
    script
}

/// The conda file, in the form Azure ML writes. Texts are in JSON's quotes, which YAML reads.
fn conda_file(input: &PlanInput<'_>, channels: usize) -> String {
    let mut text = String::from(
        "# kiln wrote this from the lock: the channels hold these packages alone.\nchannels:\n",
    );
    for index in 0..channels {
        let _ = writeln!(text, "- {}", json!(url(index)));
    }
    text.push_str("- nodefaults\ndependencies:\n");
    for package in &input.lock.conda {
        let pin = format!("{}={}={}", package.name, package.version, package.build);
        let _ = writeln!(text, "- {}", json!(pin));
    }
    if !input.lock.pip.is_empty() && pip_can(input.lock) {
        text.push_str("- pip:\n");
        let options = [
            "--no-index",
            &format!("--find-links {MOUNT_POINT}/wheels"),
            "--require-hashes",
        ];
        for option in options {
            let _ = writeln!(text, "  - {}", json!(option));
        }
        for wheel in &input.lock.pip {
            let (name, version, hash) = (&wheel.name, &wheel.version, wheel.sha256);
            let _ = writeln!(
                text,
                "  - {}",
                json!(format!("{name}=={version} --hash={hash}"))
            );
        }
    }
    let _ = writeln!(text, "name: azureml_{}", input.spec_hash.short());
    text
}

/// Azure ML's command: the linker's stubs while packages are installed, no caches left behind.
fn command(input: &PlanInput<'_>, prefix: &str, steps: &mut Steps) -> Instruction {
    let mut shell = Shell::new(input.facts);
    // The cache lies beside the prefix, so that conda can hard-link from it.
    let cache = format!("{}/.kiln-pkgs", crate::AZUREML_ENVS);
    shell.set("CONDA_PKGS_DIRS", &cache);
    for (name, value) in [
        // Else conda adds pip to every python, and the lock need not have it.
        ("CONDA_ADD_PIP_AS_PYTHON_DEPENDENCY", "false"),
        ("CONDA_ALWAYS_YES", "true"),
        ("CONDA_AUTO_UPDATE_CONDA", "false"),
        ("CONDA_CHANNEL_PRIORITY", "flexible"),
        ("CONDA_NOTIFY_OUTDATED_CONDA", "false"),
        ("CONDA_NUMBER_CHANNEL_NOTICES", "0"),
        ("CONDA_OFFLINE", "true"),
        ("CONDA_REPORT_ERRORS", "false"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
    ] {
        shell.set(name, value);
    }
    shell.virtual_packages(input.lock);
    shell.pip_settings();
    if input.extra_ca {
        shell.trust_extra_ca(&mut steps.secrets);
    }
    shell.then(format!(
        "(cd {MOUNT_POINT} && sha256sum --quiet --check SHA256SUMS)"
    ));
    if input.facts.cuda.is_some() {
        shell.then("ldconfig /usr/local/cuda/lib64/stubs");
    }
    shell.then(format!("conda env create -p {prefix} -f /{CONDA_FILE}"));
    shell.then(format!(
        "find {prefix}/conda-meta -type f -exec sed -i -f {MOUNT_POINT}/addresses.sed {{}} +"
    ));
    shell.then(format!("rm -rf \"$HOME/.cache/pip\" {cache}"));
    shell.then("ldconfig");
    shell.into_instruction()
}
