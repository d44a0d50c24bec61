//! Definitions, locks and facts that the tests start from.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kiln_dockerfile::{
    BaseImage, Content, Installer, Plan, PlanError, PlanInput, UserContext, plan,
};
use kiln_lock::{
    BaseFacts, ChannelPriority, CondaInstall, CondaPackage, IndexStrategy, Interpreter,
    LOCK_FORMAT_VERSION, Lock, LockedBase, LockedPython, PythonSource, ResolverSettings, Wheel,
};
use kiln_oci::{Digest, Reference};
use kiln_spec::{Base, Definition, Pip, Python, SpecHash};

pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One environment with everything a plan is made from.
pub(crate) struct Sample {
    pub definition: Definition,
    pub lock: Lock,
    pub facts: BaseFacts,
    pub base: Option<Reference>,
    pub context: Option<UserContext>,
    pub installer: Installer,
    pub extra_ca: bool,
    pub private: bool,
}

pub(crate) fn definition() -> Definition {
    Definition {
        platform: "linux/amd64".into(),
        base: Base::Image("registry.example/base:1".into()),
        python: Python {
            user_managed: false,
            interpreter_path: None,
            base_conda_environment: None,
        },
        conda: None,
        pip: Some(Pip::default()),
        environment_variables: BTreeMap::from([("MODE".into(), "train".into())]),
        spark: None,
        r: None,
        inferencing_stack_version: None,
    }
}

pub(crate) fn lock() -> Lock {
    Lock {
        format_version: LOCK_FORMAT_VERSION,
        platform: "linux/amd64".into(),
        base: Some(LockedBase {
            reference: "registry.example/base:1".into(),
            digest: Digest::of(b"base"),
            index_digest: None,
        }),
        python: None,
        conda: Vec::new(),
        pip: Vec::new(),
        settings: ResolverSettings {
            channel_priority: ChannelPriority::Flexible,
            index_strategy: IndexStrategy::FirstIndex,
        },
        notes: Vec::new(),
    }
}

pub(crate) fn package(channel: &str, subdir: &str, name: &str, version: &str) -> CondaPackage {
    let file_name = format!("{name}-{version}-h1_0.conda");
    CondaPackage {
        name: name.into(),
        version: version.into(),
        build: "h1_0".into(),
        build_number: 0,
        subdir: subdir.into(),
        channel: channel.into(),
        url: format!("https://conda.example/{channel}/{subdir}/{file_name}"),
        sha256: Digest::of(file_name.as_bytes()),
        file_name,
        md5: Some("0123456789abcdef0123456789abcdef".into()),
        size_bytes: Some(1234),
        noarch: (subdir == "noarch").then(|| "python".into()),
        depends: if name == "python" {
            vec!["__glibc >=2.17".into()]
        } else {
            vec!["python".into()]
        },
    }
}

pub(crate) fn wheel(name: &str, version: &str) -> Wheel {
    let file_name = format!("{name}-{version}-py3-none-any.whl");
    Wheel {
        name: name.into(),
        version: version.into(),
        url: format!("https://index.example/files/{name}/{file_name}"),
        sha256: Digest::of(file_name.as_bytes()),
        file_name,
        size_bytes: Some(100),
        requested: true,
        built_from: None,
    }
}

fn facts() -> BaseFacts {
    BaseFacts {
        glibc: Some("2.36".into()),
        shell: true,
        bash: true,
        env: BTreeMap::from([("PATH".into(), PATH.into())]),
        ..BaseFacts::default()
    }
}

impl Sample {
    /// conda and pip packages on a bare base.
    pub(crate) fn conda() -> Self {
        let mut lock = lock();
        lock.python = Some(LockedPython {
            version: "3.11.9".into(),
            source: PythonSource::Channel,
        });
        lock.conda = vec![
            package("main", "linux-64", "numpy", "1.26.4"),
            package("forge", "noarch", "pip", "24.0"),
            package("main", "linux-64", "python", "3.11.9"),
        ];
        lock.pip = vec![wheel("flask", "3.0.0")];
        Self {
            definition: definition(),
            lock,
            facts: facts(),
            base: Some(reference()),
            context: None,
            installer: Installer::Kiln,
            extra_ca: false,
            private: false,
        }
    }

    /// The same on a base with conda.
    pub(crate) fn conda_on_conda() -> Self {
        let mut sample = Self::conda();
        sample.facts.conda = Some(CondaInstall {
            root: "/opt/miniconda".into(),
            version: Some("24.7.1".into()),
        });
        sample
    }

    /// Wheels on the base's python.
    pub(crate) fn pip() -> Self {
        let mut sample = Self::conda();
        sample.lock.conda.clear();
        let interpreter = "/usr/bin/python3.11";
        sample.lock.python = Some(LockedPython {
            version: "3.11.2".into(),
            source: PythonSource::Base {
                interpreter: interpreter.into(),
            },
        });
        sample.facts.pythons = vec![Interpreter {
            path: interpreter.into(),
            version: "3.11.2".into(),
            has_venv: true,
        }];
        sample
    }

    /// The base's own packages.
    pub(crate) fn user_managed() -> Self {
        let mut sample = Self::conda();
        sample.definition.python.user_managed = true;
        sample.definition.python.interpreter_path = Some("/opt/own/bin/python".into());
        sample.lock = lock();
        sample
    }

    pub(crate) fn plan(&self) -> Result<Plan, PlanError> {
        plan(&PlanInput {
            definition: &self.definition,
            spec_hash: spec_hash(),
            lock: &self.lock,
            facts: &self.facts,
            base: self
                .base
                .as_ref()
                .map_or(BaseImage::UserDockerfile, BaseImage::Pinned),
            context: self.context.as_ref(),
            installer: self.installer,
            extra_ca: self.extra_ca,
            private: self.private,
        })
    }

    /// The plan of a sample that has one.
    pub(crate) fn planned(&self) -> Plan {
        self.plan().expect("there is a plan")
    }
}

pub(crate) fn spec_hash() -> SpecHash {
    SpecHash::of_canonical_json("{}")
}

pub(crate) fn reference() -> Reference {
    let reference: Reference = "registry.example/base:1".parse().expect("a reference");
    reference.with_digest(Digest::of(b"base"))
}

/// Everything a plan says, as one text: the Dockerfile, the list of files, and the text files.
pub(crate) fn shown(plan: &Plan) -> String {
    let mut text = format!("{}---\ntool: {:?}\n", plan.dockerfile.to_text(), plan.tool);
    for secret in &plan.secrets {
        let _ = writeln!(text, "secret: {} at {}", secret.id, secret.target);
    }
    for note in &plan.notes {
        let _ = writeln!(text, "note: {note}");
    }
    for file in &plan.context {
        let what = match &file.content {
            Content::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Content::Archive(digest) => format!("archive {}", &digest.to_hex()[..8]),
            Content::InstallBinary => "kiln-install".into(),
            Content::Link(target) => format!("-> {target}"),
        };
        let _ = writeln!(text, "{:o} {} {what}", file.mode, file.path);
    }
    text
}

/// The text of a context file.
pub(crate) fn file<'a>(plan: &'a Plan, path: &str) -> &'a str {
    let file = plan.context.iter().find(|file| file.path == path);
    match &file.expect("it is there").content {
        Content::Bytes(bytes) => std::str::from_utf8(bytes).expect("it is text"),
        other => panic!("{path} is {other:?}"),
    }
}
