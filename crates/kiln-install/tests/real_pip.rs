//! kiln's installation of wheels compared, file by file, with the real pip's.
//!
//! Needs a python3 with pip and a package index. The same wheels go into a virtual environment at
//! one path, first by kiln, then by pip; nothing may differ but who calls itself the installer.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_install::{Bytecode, InstallOptions, Progress, Reporter, install};
use kiln_lock::{
    ChannelPriority, IndexStrategy, LOCK_FORMAT_VERSION, Lock, LockedPython, PythonSource,
    ResolverSettings, Wheel,
};
use kiln_oci::Digest;

/// Pure, native, with scripts that name python, with headers, with data files, pip itself.
const WHEELS: [&str; 7] = [
    "requests==2.32.3",
    "flask==3.1.0",
    "numpy==2.1.3",
    "jsonpatch==1.33",
    "greenlet==3.1.1",
    "jupyterlab-widgets==3.0.13",
    "pip==25.3",
];
/// The pip whose doing is the measure.
const PIP: &str = "pip==26.3";

struct Quiet;

impl Reporter for Quiet {
    fn progress(&mut self, _: Progress) {}

    fn warning(&mut self, text: &str) {
        panic!("nothing is to be warned of: {text}");
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}{text}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// A file's mode and content, or a link's target.
#[derive(Debug, PartialEq, Eq)]
enum Node {
    File(u32, Vec<u8>),
    Link(PathBuf),
}

/// What is in an environment, without what a venv has of its own.
fn snapshot(root: &Path) -> BTreeMap<String, Node> {
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found.retain(|path, _| {
        let own = path == "pyvenv.cfg" || path == "lib64" || path == ".gitignore";
        !own && !path.starts_with("bin/python") && !path.to_lowercase().starts_with("bin/activate")
    });
    found
}

fn walk(root: &Path, directory: &Path, found: &mut BTreeMap<String, Node>) {
    for entry in fs_err::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        let metadata = fs_err::symlink_metadata(&path).expect("it is there");
        let name = path
            .strip_prefix(root)
            .expect("it is below")
            .to_str()
            .expect("text")
            .to_owned();
        if metadata.is_symlink() {
            found.insert(
                name,
                Node::Link(fs_err::read_link(&path).expect("it is a link")),
            );
        } else if metadata.is_dir() {
            walk(root, &path, found);
        } else {
            let mode = metadata.permissions().mode() & 0o7777;
            found.insert(
                name,
                Node::File(mode, fs_err::read(&path).expect("readable")),
            );
        }
    }
}

/// Takes away what has to differ: the installer's name, in its file and in RECORD.
fn without_installer(nodes: &mut BTreeMap<String, Node>, installer: &str) {
    for (path, node) in nodes {
        let Node::File(_, content) = node else {
            continue;
        };
        if path.ends_with(".dist-info/INSTALLER") {
            assert_eq!(*content, format!("{installer}\n").into_bytes(), "{path}");
            content.clear();
        } else if path.ends_with(".dist-info/RECORD") {
            let text = String::from_utf8(content.clone()).expect("text");
            let lines = text
                .split_inclusive('\n')
                .filter(|line| !line.contains("/INSTALLER,"));
            *content = lines.collect::<String>().into_bytes();
        }
    }
}

fn lock(wheels: &Path, version: &str, interpreter: &str) -> Lock {
    let mut pip: Vec<Wheel> = fs_err::read_dir(wheels)
        .expect("readable")
        .map(|entry| {
            let path = entry.expect("readable").path();
            let file_name = path
                .file_name()
                .expect("a file")
                .to_str()
                .expect("text")
                .to_owned();
            let mut parts = file_name.split('-');
            let (name, version) = (
                parts.next().expect("a name"),
                parts.next().expect("a version"),
            );
            Wheel {
                name: name.to_lowercase().replace(['_', '.'], "-"),
                version: version.to_owned(),
                url: format!("https://index.example/{file_name}"),
                sha256: Digest::of(&fs_err::read(&path).expect("readable")),
                size_bytes: None,
                requested: true,
                built_from: None,
                file_name,
            }
        })
        .collect();
    pip.sort_by(|a, b| a.name.cmp(&b.name));
    Lock {
        format_version: LOCK_FORMAT_VERSION,
        platform: format!(
            "linux/{}",
            if cfg!(target_arch = "aarch64") {
                "arm64"
            } else {
                "amd64"
            }
        ),
        base: None,
        python: Some(LockedPython {
            version: version.to_owned(),
            source: PythonSource::Base {
                interpreter: interpreter.to_owned(),
            },
        }),
        conda: Vec::new(),
        pip,
        settings: ResolverSettings {
            channel_priority: ChannelPriority::Flexible,
            index_strategy: IndexStrategy::FirstIndex,
        },
        notes: Vec::new(),
    }
}

#[test]
fn wheels_are_installed_as_pip_installs_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let (tool, wheels, prefix) = (at("tool"), at("wheels"), at("env"));
    run(Command::new("python3")
        .args(["-m", "pip", "install", "-q", "--no-deps", "--target"])
        .arg(&tool)
        .arg(PIP));
    let pip = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        command
            .args(["-m", "pip"])
            .args(arguments)
            .env("PYTHONPATH", &tool);
        command.env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        command
    };
    run(pip(&[
        "download",
        "-q",
        "--no-deps",
        "--only-binary",
        ":all:",
        "-d",
    ])
    .arg(&wheels)
    .args(WHEELS));
    let python = run(Command::new("python3").args([
        "-c",
        "import sys; print(sys._base_executable, '%d.%d.%d' % sys.version_info[:3])",
    ]));
    let (interpreter, version) = python.trim().rsplit_once(' ').expect("two words");

    let options = InstallOptions {
        archives: wheels.clone(),
        prefix: prefix.clone(),
        base_python: None,
        bytecode: Bytecode::AsShipped,
        limits: kiln_link::Limits::default(),
    };
    let lock = lock(&wheels, version, interpreter);
    let summary = install(&lock, &options, &mut Quiet).expect("it is installed");
    assert_eq!(summary.wheels, 7);
    let mut ours = snapshot(&prefix);
    without_installer(&mut ours, "kiln");
    // Before pip sees it as its own, it lists it, imports work, and it removes what is recorded.
    let own_pip = |arguments: &[&str]| run(Command::new(prefix.join("bin/pip")).args(arguments));
    assert!(own_pip(&["list", "--format=freeze"]).contains("Flask==3.1.0\n"));
    let script = "import numpy; print(numpy.arange(4).sum())";
    assert_eq!(
        run(Command::new(prefix.join("bin/python")).args(["-B", "-c", script])),
        "6\n"
    );
    own_pip(&["uninstall", "-q", "-y", "jsonpatch"]);
    assert!(
        snapshot(&prefix)
            .keys()
            .all(|path| !path.contains("jsonpatch") && !path.contains("jsondiff"))
    );
    fs_err::remove_dir_all(&prefix).expect("removable");

    run(Command::new("python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(&prefix));
    run(pip(&["--python"])
        .arg(prefix.join("bin/python"))
        .args([
            "install",
            "-q",
            "--no-deps",
            "--no-compile",
            "--no-index",
            "--find-links",
        ])
        .arg(&wheels)
        .args(WHEELS));
    let mut theirs = snapshot(&prefix);
    without_installer(&mut theirs, "pip");

    let names = |nodes: &BTreeMap<String, Node>| nodes.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs));
    for (path, node) in &ours {
        if *node != theirs[path] {
            let text = |node: &Node| match node {
                Node::File(mode, content) => {
                    format!("{mode:o} {:.4000}", String::from_utf8_lossy(content))
                }
                Node::Link(target) => format!("{}", target.display()),
            };
            panic!(
                "{path} is\n{}\nand pip's is\n{}",
                text(node),
                text(&theirs[path])
            );
        }
    }
}
