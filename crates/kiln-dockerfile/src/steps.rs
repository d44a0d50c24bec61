//! What the steps have in common: names, mounts, and the environment in which conda and pip run.

use kiln_lock::{BaseFacts, Lock};
use kiln_oci::Digest;
use kiln_spec::SpecHash;

use crate::ast::{Instruction, Mount};
use crate::base::UserName;
use crate::context::{Content, ContextFile};
use crate::plan::{SecretMount, Tool};
use crate::{AZUREML_ENVS, EXTRA_CA_SECRET, KILN_PREFIX};

/// Where a step sees the context's folder [`FOLDER`].
pub(crate) const MOUNT_POINT: &str = "/run/kiln";

/// The folder of the context that steps see.
pub(crate) const FOLDER: &str = "kiln";

const EXTRA_CA: &str = "/run/kiln-ca.pem";
/// Where a stage's own certificate authorities are seen, if one is mounted.
pub(crate) const STAGE_CA: &str = "/run/micromamba-ca.pem";

const TRUST: &str = "/run/kiln-trust";

/// The `PATH` of an image whose base sets none, as engines have it.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a way to install adds to the plan.
pub(crate) struct Steps {
    pub tool: Tool,
    pub prefix: Option<String>,
    /// Instructions before `FROM`.
    pub stages: Vec<Instruction>,
    pub instructions: Vec<Instruction>,
    pub context: Vec<ContextFile>,
    pub secrets: Vec<SecretMount>,
    pub notes: Vec<String>,
}

impl Steps {
    pub(crate) fn new(tool: Tool, prefix: Option<String>) -> Self {
        Self {
            tool,
            prefix,
            stages: Vec::new(),
            instructions: Vec::new(),
            context: Vec::new(),
            secrets: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Becomes root, unless the base is sure to be.
    pub(crate) fn become_root(&mut self, needed: bool) {
        if needed {
            self.instructions.push(Instruction::User(UserName::root()));
        }
    }

    /// Makes `/azureml-envs/azureml_<hash>` point to kiln's prefix. The link is a file of the context:
    /// the base needs no shell.
    pub(crate) fn link(&mut self, spec_hash: &SpecHash) {
        let source = AZUREML_ENVS.trim_start_matches('/');
        self.context.push(ContextFile {
            path: format!("{source}/azureml_{}", spec_hash.short()),
            mode: 0o777,
            content: Content::Link(KILN_PREFIX.to_owned()),
        });
        self.instructions.push(Instruction::Copy {
            source: format!("{source}/"),
            destination: format!("{AZUREML_ENVS}/"),
        });
    }

    pub(crate) fn text(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.context.push(ContextFile {
            path: path.into(),
            mode: 0o644,
            content: Content::Bytes(text.into().into_bytes()),
        });
    }

    pub(crate) fn archive(&mut self, path: impl Into<String>, digest: Digest) {
        self.context.push(ContextFile {
            path: path.into(),
            mode: 0o644,
            content: Content::Archive(digest),
        });
    }

    /// Writes the SHA-256 of every archive so far as `sha256sum` reads it.
    pub(crate) fn checksums(&mut self) {
        let mut lines: Vec<String> = self
            .context
            .iter()
            .filter_map(|file| match &file.content {
                Content::Archive(digest) => {
                    let path = file.path.strip_prefix(FOLDER)?.strip_prefix('/')?;
                    Some(format!("{}  {path}\n", digest.to_hex()))
                }
                _ => None,
            })
            .collect();
        lines.sort();
        self.text(format!("{FOLDER}/SHA256SUMS"), lines.concat());
    }
}

/// Azure ML's prefix of an environment.
pub(crate) fn azureml_prefix(spec_hash: &SpecHash) -> String {
    format!("{AZUREML_ENVS}/azureml_{}", spec_hash.short())
}

pub(crate) fn kiln_mount() -> Mount {
    Mount::Context {
        source: FOLDER,
        target: MOUNT_POINT,
    }
}

/// A shell step under `env -i`.
pub(crate) struct Shell<'a> {
    facts: &'a BaseFacts,
    variables: Vec<String>,
    mounts: Vec<Mount>,
    script: Vec<String>,
}

impl<'a> Shell<'a> {
    pub(crate) fn new(facts: &'a BaseFacts) -> Self {
        let path = facts.env.get("PATH").filter(|p| !p.is_empty());
        let mut path = path.map_or(DEFAULT_PATH, String::as_str).to_owned();
        if let Some(conda) = &facts.conda {
            let programs = format!("{}/bin", conda.root);
            if !path.split(':').any(|known| known == programs) {
                path = format!("{programs}:{path}");
            }
        }
        let variables = vec![
            format!("PATH={path}"),
            "HOME=/root".into(),
            "LANG=C.UTF-8".into(),
        ];
        Self {
            facts,
            variables,
            mounts: vec![kiln_mount()],
            script: Vec::new(),
        }
    }

    pub(crate) fn set(&mut self, name: &str, value: impl std::fmt::Display) {
        self.variables.push(format!("{name}={value}"));
    }

    pub(crate) fn mount(&mut self, mount: Mount) {
        self.mounts.push(mount);
    }

    /// Adds a command; it must be made of constants and hex digits alone.
    pub(crate) fn then(&mut self, command: impl Into<String>) {
        self.script.push(command.into());
    }

    /// Settings that make pip install exactly what it is told, silently.
    pub(crate) fn pip_settings(&mut self) {
        for (name, value) in [
            ("PIP_CONFIG_FILE", "/dev/null"),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
            ("PIP_NO_CACHE_DIR", "1"),
            ("PIP_NO_DEPS", "1"),
            ("PIP_NO_INPUT", "1"),
            ("PIP_ROOT_USER_ACTION", "ignore"),
        ] {
            self.set(name, value);
        }
    }

    /// What the solver was told of the platform, so that conda's own look at the machine doesn't count.
    pub(crate) fn virtual_packages(&mut self, lock: &Lock) {
        let family = match lock.platform.split('/').nth(1) {
            Some("amd64") => Some("x86_64"),
            Some("arm64") => Some("aarch64"),
            _ => None,
        };
        if let Some(family) = family {
            self.set("CONDA_OVERRIDE_ARCHSPEC", family);
        }
        if let Some(cuda) = self
            .facts
            .cuda
            .as_deref()
            .filter(|v| crate::check::is_number(v))
        {
            self.set("CONDA_OVERRIDE_CUDA", cuda);
        }
        if let Some(glibc) = self
            .facts
            .glibc
            .as_deref()
            .filter(|v| crate::check::is_number(v))
        {
            self.set("CONDA_OVERRIDE_GLIBC", glibc);
        }
    }

    /// Lets the step's programs trust the extra CA beside the base's own; it lives in memory only.
    pub(crate) fn trust_extra_ca(&mut self, secrets: &mut Vec<SecretMount>) {
        secrets.push(SecretMount {
            id: EXTRA_CA_SECRET,
            target: EXTRA_CA,
            what: "a PEM bundle of certificate authorities to trust beside the base's own",
        });
        self.mount(Mount::Secret {
            id: EXTRA_CA_SECRET,
            target: EXTRA_CA,
        });
        self.mount(Mount::Memory { target: TRUST });
        let bundle = format!("{TRUST}/ca.pem");
        for name in [
            "CONDA_SSL_VERIFY",
            "CURL_CA_BUNDLE",
            "PIP_CERT",
            "REQUESTS_CA_BUNDLE",
            "SSL_CERT_FILE",
        ] {
            self.set(name, &bundle);
        }
        self.then(format!(
            "for f in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt \
             {STAGE_CA} {EXTRA_CA}; \
             do if [ -r $f ]; then cat $f; fi; done > {bundle}"
        ));
    }

    pub(crate) fn into_instruction(self) -> Instruction {
        let mut command = vec!["/usr/bin/env".to_owned(), "-i".to_owned()];
        command.extend(self.variables);
        command.extend([
            "/bin/sh".to_owned(),
            "-ec".to_owned(),
            self.script.join(" && "),
        ]);
        Instruction::Run {
            mounts: self.mounts,
            command,
        }
    }
}
