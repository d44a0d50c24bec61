//! The layers of a lock's packages, file by file against what the real conda and pip install at the same prefix.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_assemble::{PREFIX, Packages};
use kiln_layer::Compressors;
use kiln_lock::Lock;
use kiln_tests::{Docker, Kiln};

/// Native and noarch packages, prefixes in texts and binaries, links, odd modes and names; wheels with scripts, data
/// files and headers.
fn environment() -> String {
    let at = kiln_tests::channels();
    format!(
        "channels: [{at}/conda-forge, {at}/synthetic]\ndependencies: [python=3.11, numpy=1.26, flask, pip, hello, links, \
         binprefix, textprefix, modes, oldformat, generic, activated, {{pip: [--index-url {at}/simple/, everything, \
         commands, foo==2.0, ns-one, ns-two]}}]\n"
    )
}

/// A file's mode and content, or a link's target.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    File(u32, Vec<u8>),
    Link(PathBuf),
}

type Tree = BTreeMap<String, Found>;

fn walk(root: &Path, directory: &Path, found: &mut Tree) {
    for entry in fs_err::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs_err::symlink_metadata(&path).unwrap();
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        if metadata.is_symlink() {
            found.insert(name, Found::Link(fs_err::read_link(&path).unwrap()));
        } else if metadata.is_dir() {
            walk(root, &path, found);
        } else {
            let mode = metadata.permissions().mode() & 0o7777;
            found.insert(name, Found::File(mode, fs_err::read(&path).unwrap()));
        }
    }
}

fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    walk(root, root, &mut found);
    found
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

fn lock() -> Lock {
    let kiln = Kiln::new();
    let file = kiln.write("environment.yml", &environment());
    let base = kiln_tests::base("conda:1");
    let answer = kiln.run(&["lock", file.to_str().unwrap(), "--base", &base]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    Lock::from_json(&answer.stdout).unwrap()
}

/// Downloads a lock's archives under their own names.
fn fetch(lock: &Lock, folder: &Path) {
    let conda = lock
        .conda
        .iter()
        .map(|package| (&package.url, &package.file_name));
    let wheels = lock.pip.iter().map(|wheel| (&wheel.url, &wheel.file_name));
    for (url, name) in conda.chain(wheels) {
        run(Command::new("curl")
            .args(["-fsS", "-o"])
            .arg(folder.join(name))
            .arg(url));
    }
}

fn assembled(lock: &Lock, archives: &Path, folder: &Path) -> Tree {
    let names: BTreeMap<_, _> = lock
        .conda
        .iter()
        .map(|package| (package.sha256, &package.file_name))
        .chain(
            lock.pip
                .iter()
                .map(|wheel| (wheel.sha256, &wheel.file_name)),
        )
        .collect();
    let packages = Packages::open(lock, |digest| Some(archives.join(names[digest]))).unwrap();
    assert_eq!(packages.clashes(), []);
    let compressors = Compressors::threads(2).unwrap();
    fs_err::create_dir(folder).unwrap();
    for at in 0..packages.list().len() {
        let (bytes, made, linked) = packages.write(at, Vec::new(), &compressors).unwrap();
        assert!(linked.files > 0);
        let (again, same, _) = packages
            .write(at, Vec::new(), &Compressors::inline())
            .unwrap();
        assert!(
            made == same && bytes == again,
            "{}",
            packages.list()[at].name
        );
        let file = folder.join("layer.tar.gz");
        fs_err::write(&file, bytes).unwrap();
        run(Command::new("tar")
            .arg("-xpzf")
            .arg(&file)
            .arg("-C")
            .arg(folder));
    }
    tree(&folder.join(PREFIX.trim_start_matches('/')))
}

/// What the real conda and pip make in a container of the base that has them.
fn installed(lock: &Lock, archives: &Path, folder: &Path) -> Tree {
    fs_err::create_dir(folder).unwrap();
    let mut explicit = "@EXPLICIT\n".to_owned();
    for package in &lock.conda {
        explicit.extend([&package.url, "#", package.md5.as_ref().unwrap(), "\n"]);
    }
    fs_err::write(archives.join("explicit.txt"), explicit).unwrap();
    let wheels = lock
        .pip
        .iter()
        .map(|wheel| format!("{}=={}", wheel.name, wheel.version));
    let wheels: Vec<String> = wheels.collect();
    let script = format!(
        "set -e; umask 022; conda create -q -y -p {PREFIX} --file /in/explicit.txt >/dev/null; \
         {PREFIX}/bin/python -B -m pip install -q --no-compile --no-deps --no-index --find-links /in --root-user-action ignore {}; \
         tar -C {PREFIX} -cf /out/env.tar .",
        wheels.join(" ")
    );
    let mounts = [
        format!("{}:/in:ro", archives.display()),
        format!("{}:/out", folder.display()),
    ];
    let answer = Docker::run(&[
        "run",
        "--rm",
        "--network",
        "host",
        "-v",
        &mounts[0],
        "-v",
        &mounts[1],
        &kiln_tests::base("conda:1"),
        "bash",
        "-c",
        &script,
    ]);
    assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);
    let env = folder.join("env");
    fs_err::create_dir(&env).unwrap();
    run(Command::new("tar")
        .arg("-xpf")
        .arg(folder.join("env.tar"))
        .arg("-C")
        .arg(&env));
    tree(&env)
}

fn is_compiled(path: &str) -> bool {
    path.strip_suffix(".pyc").is_some()
}

/// Takes away what differs on purpose: who installed, what installing compiled, conda's notes of its caches.
fn comparable(tree: Tree) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for (path, found) in tree {
        if is_compiled(&path) || path == "conda-meta/history" {
            continue;
        }
        let text = match found {
            Found::Link(target) => format!("-> {}", target.display()),
            Found::File(mode, content) if path.starts_with("conda-meta/") => {
                format!("{mode:o} {}", record(&content))
            }
            Found::File(mode, content) => match String::from_utf8(content) {
                Ok(text) if path.ends_with(".dist-info/RECORD") => {
                    let lines = text
                        .lines()
                        .filter(|line| !line.contains("/INSTALLER,") && !line.contains(".pyc,"));
                    format!("{mode:o} {}", lines.collect::<Vec<_>>().join("\n"))
                }
                Ok(text) if path.ends_with(".dist-info/INSTALLER") => {
                    format!("{mode:o} {}", text.replace("pip", "kiln"))
                }
                Ok(text) => format!("{mode:o} {text}"),
                Err(bytes) => format!("{mode:o} {}", kiln_oci::Digest::of(bytes.as_bytes())),
            },
        };
        shown.insert(path, text);
    }
    shown
}

/// A package's record: what says what is installed.
fn record(json: &[u8]) -> String {
    let record: serde_json::Value = serde_json::from_slice(json).unwrap();
    let noarch = record["noarch"] == "python";
    let mut text = String::new();
    for field in [
        "name",
        "version",
        "build",
        "build_number",
        "subdir",
        "fn",
        "md5",
        "sha256",
        "url",
        "depends",
    ] {
        text.extend([field, "=", &record[field].to_string(), " "]);
    }
    let mut files: Vec<&str> = record["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f.as_str().unwrap())
        .collect();
    files.retain(|file| !is_compiled(file));
    files.sort_unstable();
    let mut paths: Vec<String> = record["paths_data"]["paths"]
        .as_array()
        .unwrap()
        .iter()
        // conda names where the package has a noarch file, kiln where it is.
        .filter(|path| !noarch && path["path_type"] != "directory")
        .map(|path| {
            format!(
                "{} {} {}",
                path["_path"], path["path_type"], path["sha256_in_prefix"]
            )
        })
        .filter(|path| !path.contains(".pyc"))
        .collect();
    paths.sort();
    format!("{text}{files:?}{paths:?}")
}

#[test]
fn layers_hold_what_conda_and_pip_install_at_their_prefix() {
    let lock = lock();
    assert!(
        lock.conda.len() > 15 && lock.pip.len() == 5,
        "{}",
        lock.to_json()
    );
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs_err::create_dir(at("archives")).unwrap();
    fetch(&lock, &at("archives"));
    let ours = comparable(assembled(&lock, &at("archives"), &at("ours")));
    let theirs = comparable(installed(&lock, &at("archives"), &at("theirs")));
    let mut differences = Vec::new();
    for path in ours
        .keys()
        .chain(theirs.keys().filter(|path| !ours.contains_key(*path)))
    {
        let (our, their) = (ours.get(path), theirs.get(path));
        if our != their {
            let short =
                |text: Option<&String>| text.map(|t| t.chars().take(600).collect::<String>());
            differences.push(format!(
                "{path}:\n  kiln {:?}\n  real {:?}",
                short(our),
                short(their)
            ));
        }
    }
    assert!(ours.len() > 2000, "{}", ours.len());
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences[..differences.len().min(12)].join("\n")
    );
}
