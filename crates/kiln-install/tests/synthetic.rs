//! Locks of the synthetic channel and index, installed: prefixes, scripts, clashes, wheels over conda
//! packages, hostile archives. Needs python3 and zstd for the packages' writers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kiln_install::{
    Bytecode, InstallError, InstallOptions, Progress, Reporter, Step, Summary, install,
};
use kiln_lock::{
    ChannelPriority, CondaPackage, IndexStrategy, LOCK_FORMAT_VERSION, Lock, LockedPython,
    PythonSource, ResolverSettings, Wheel,
};
use kiln_oci::Digest;
use rstest::rstest;

const SITE: &str = "lib/python3.11/site-packages";

/// Writes the packages once for all tests of this process.
fn packages() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/testbed");
            for script in ["synthetic.py", "simple_index.py"] {
                let output = Command::new("python3")
                    .arg("-B")
                    .arg(scripts.join(script))
                    .arg(folder.path())
                    .output()
                    .expect("there is a python3");
                assert!(
                    output.status.success(),
                    "{}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            folder
        })
        .path()
}

fn find(name: &str) -> PathBuf {
    fn search(folder: &Path, name: &str) -> Option<PathBuf> {
        fs_err::read_dir(folder)
            .expect("readable")
            .find_map(|entry| {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    return search(&path, name);
                }
                (path.file_name()? == name).then_some(path)
            })
    }
    search(packages(), name).unwrap_or_else(|| panic!("there is no {name}"))
}

struct Case {
    folder: tempfile::TempDir,
    lock: Lock,
}

#[derive(Default)]
struct Told {
    steps: Vec<Progress>,
    warnings: Vec<String>,
}

impl Reporter for Told {
    fn progress(&mut self, progress: Progress) {
        self.steps.push(progress);
    }

    fn warning(&mut self, text: &str) {
        self.warnings.push(text.to_owned());
    }
}

impl Case {
    /// A lock of these archives, which are copied to where the installer finds them.
    fn new(conda: &[&str], wheels: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let archives = folder.path().join("archives");
        fs_err::create_dir(&archives).expect("made");
        let copy = |name: &str| {
            let path = find(name);
            fs_err::copy(&path, archives.join(name)).expect("copied");
            (Digest::of(&fs_err::read(&path).expect("readable")), path)
        };
        let conda = conda.iter().map(|name| {
            let (sha256, path) = copy(name);
            let stem = name
                .strip_suffix(".conda")
                .or(name.strip_suffix(".tar.bz2"));
            let mut parts = stem.expect("a conda package").rsplitn(3, '-');
            let build = parts.next().expect("a build").to_owned();
            let version = parts.next().expect("a version").to_owned();
            let name = parts.next().expect("a name").to_owned();
            let subdir = path.parent().and_then(Path::file_name).expect("a subdir");
            CondaPackage {
                name,
                version,
                build,
                build_number: 0,
                subdir: subdir.to_str().expect("text").to_owned(),
                channel: "https://conda.example/synthetic".to_owned(),
                url: "https://conda.example/synthetic/x".to_owned(),
                file_name: path
                    .file_name()
                    .expect("a name")
                    .to_str()
                    .expect("text")
                    .to_owned(),
                sha256,
                md5: None,
                size_bytes: None,
                noarch: None,
                depends: Vec::new(),
            }
        });
        let conda: Vec<CondaPackage> = conda.collect();
        let pip = wheels.iter().map(|name| {
            let (sha256, _) = copy(name);
            let mut parts = name.split('-');
            Wheel {
                name: parts
                    .next()
                    .expect("a name")
                    .to_lowercase()
                    .replace('_', "-"),
                version: parts.next().expect("a version").to_owned(),
                file_name: (*name).to_owned(),
                url: "https://index.example/x".to_owned(),
                sha256,
                size_bytes: None,
                requested: false,
                built_from: None,
            }
        });
        let lock = Lock {
            format_version: LOCK_FORMAT_VERSION,
            platform: "linux/amd64".to_owned(),
            base: None,
            python: Some(LockedPython {
                version: "3.11.9".to_owned(),
                source: PythonSource::Channel,
            }),
            pip: pip.collect(),
            conda,
            settings: ResolverSettings {
                channel_priority: ChannelPriority::Flexible,
                index_strategy: IndexStrategy::FirstIndex,
            },
            notes: Vec::new(),
        };
        Self { folder, lock }
    }

    fn prefix(&self) -> PathBuf {
        self.folder.path().join("deep/env")
    }

    fn run(&self) -> (Result<Summary, InstallError>, Told) {
        let options = InstallOptions {
            archives: self.folder.path().join("archives"),
            prefix: self.prefix(),
            base_python: None,
            bytecode: Bytecode::AsShipped,
            limits: kiln_link::Limits::default(),
        };
        let mut told = Told::default();
        (install(&self.lock, &options, &mut told), told)
    }

    fn text(&self, path: &str) -> String {
        fs_err::read_to_string(self.prefix().join(path)).expect("readable")
    }
}

#[test]
fn conda_packages_are_installed_with_prefixes_scripts_and_history() {
    let case = Case::new(
        &[
            "binprefix-1.0-0.conda",
            "textprefix-1.0-0.conda",
            "hello-1.0-pyh0_0.conda",
            "links-1.0-0.conda",
            "postlink-1.0-0.conda",
            "oldformat-1.0-0.tar.bz2",
            "modes-1.0-0.conda",
            "empty-1.0-0.conda",
        ],
        &[],
    );
    let (summary, told) = case.run();
    let summary = summary.expect("it is installed");
    assert_eq!(
        (summary.conda_packages, summary.scripts, summary.clashes),
        (8, 1, 0)
    );
    let prefix = case.prefix();
    let output = Command::new(prefix.join("bin/binprefix"))
        .output()
        .expect("it runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.starts_with(&format!("{}/share/binprefix", prefix.display())),
        "{printed}"
    );
    assert!(
        case.text("etc/textprefix.conf")
            .starts_with(&format!("root = {}\n", prefix.display()))
    );
    assert_eq!(case.text("postlink-ran"), "ran\n");
    assert_eq!(case.text("share/links/data.txt"), "data\n");
    let shebang = format!("#!{}/bin/python3.11\n", prefix.display());
    assert!(case.text("bin/hello").starts_with(&shebang));
    let history = case.text("conda-meta/history");
    assert!(
        history.contains("+synthetic/noarch::hello-1.0-pyh0_0\n"),
        "{history}"
    );
    assert!(prefix.join("conda-meta/oldformat-1.0-0.json").is_file());
    let last = |step| {
        told.steps
            .iter()
            .rev()
            .find(|told| told.step == step)
            .map(|t| (t.done, t.total))
    };
    assert_eq!(last(Step::Verify), Some((8, 8)));
    assert_eq!(last(Step::Link), Some((8, 8)));
    assert_eq!(last(Step::Scripts), Some((1, 1)));
}

#[test]
fn an_installation_can_be_repeated_and_gives_the_same() {
    let case = Case::new(
        &["links-1.0-0.conda", "hello-1.0-pyh0_0.conda"],
        &["foo-2.0-py3-none-any.whl"],
    );
    let first = case.run().0.expect("it is installed");
    let second = case.run().0.expect("it is installed again");
    assert_eq!(first, second);
}

#[test]
fn the_last_package_in_condas_order_keeps_a_path() {
    let mut case = Case::new(&["clash-a-1.0-0.conda", "clash-b-1.0-0.conda"], &[]);
    let (summary, told) = case.run();
    assert_eq!(summary.expect("it is installed").clashes, 1);
    assert_eq!(case.text("share/clash.txt"), "b\n");
    assert_eq!(
        told.warnings,
        ["share/clash.txt is in clash-a and clash-b; clash-b's is kept"]
    );
    case.lock.conda[0].depends = vec!["clash-b".to_owned()];
    case.run().0.expect("it is installed");
    assert_eq!(case.text("share/clash.txt"), "a\n");
}

#[test]
fn a_wheel_replaces_the_conda_package_of_its_name() {
    let mut case = Case::new(
        &["numlike-1.0-py311_0.conda"],
        &["everything-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"],
    );
    case.run().0.expect("it is installed");
    assert!(case.prefix().join(SITE).join("numlike/core.so").is_file());
    // The conda package is the one whose distribution has the wheel's name.
    let info = case.prefix().join(SITE).join("everything-0.9.dist-info");
    fs_err::create_dir(&info).expect("made");
    fs_err::write(info.join("RECORD"), "old.py,,\nnumlike/core.so,,\n").expect("written");
    let (summary, told) = case.run();
    assert_eq!(summary.expect("it is installed").wheels, 1);
    assert_eq!(told.warnings, ["the wheel everything 1.0 replaces conda's"]);
    assert!(!info.exists());
    let script = case.text("bin/everything-script");
    assert!(
        script.starts_with(&format!("#!{}/bin/python\n", case.prefix().display())),
        "{script}"
    );
    case.lock.conda.clear();
}

#[test]
fn the_later_of_two_wheels_keeps_a_path() {
    let case = Case::new(
        &[],
        &[
            "clash_one-1.0-py3-none-any.whl",
            "clash_two-1.0-py3-none-any.whl",
        ],
    );
    assert_eq!(case.run().0.expect("it is installed").clashes, 1);
    assert_eq!(case.text(&format!("{SITE}/clash.py")), "TWO = 2\n");
}

#[rstest]
#[case("hostile-dotdot-1.0-0.conda")]
#[case("hostile-absolute-1.0-0.conda")]
#[case("hostile-linkabove-1.0-0.conda")]
#[case("hostile-symlink-1.0-0.conda")]
#[case("hostile-hardlink-1.0-0.conda")]
#[case("hostile-device-1.0-0.conda")]
#[case("hostile-fifo-1.0-0.conda")]
#[case("hostile-overwrite-1.0-0.conda")]
#[case("hostile-pathsjson-1.0-0.conda")]
#[case("hostile-entrypoint-1.0-pyh0_0.conda")]
#[case("hostile-condameta-1.0-0.conda")]
#[case("truncated-1.0-0.conda")]
#[case("hostile_dotdot-1.0-py3-none-any.whl")]
#[case("hostile_absolute-1.0-py3-none-any.whl")]
#[case("hostile_data-1.0-py3-none-any.whl")]
#[case("hostile_entry-1.0-py3-none-any.whl")]
#[case("bad_record-1.0-py3-none-any.whl")]
fn a_hostile_archive_is_refused_and_writes_nothing_outside(#[case] name: &str) {
    let wheel = name.strip_suffix(".whl").is_some();
    let case = if wheel {
        Case::new(&[], &[name])
    } else {
        Case::new(&[name], &[])
    };
    let error = case.run().0.expect_err("it is refused");
    assert_eq!(error.class(), "integrity", "{error:?}");
    assert!(error.chain().contains(name), "{}", error.chain());
    let mut outside: Vec<String> = fs_err::read_dir(case.folder.path())
        .expect("readable")
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    outside.sort();
    assert_eq!(outside, ["archives", "deep"]);
    let deep: Vec<_> = fs_err::read_dir(case.folder.path().join("deep"))
        .expect("readable")
        .collect();
    assert_eq!(deep.len(), 1, "{deep:?}");
}

#[test]
fn a_wrong_or_missing_archive_stops_before_anything_is_written() {
    let mut case = Case::new(&["links-1.0-0.conda"], &[]);
    case.lock.conda[0].sha256 = Digest::of(b"other");
    let error = case.run().0.expect_err("it is another");
    assert_eq!(error.class(), "integrity");
    fs_err::remove_file(case.folder.path().join("archives/links-1.0-0.conda")).expect("removed");
    let error = case.run().0.expect_err("it is missing");
    assert_eq!(error.class(), "not_found");
    case.lock.conda[0].file_name = "../archives/links-1.0-0.conda".to_owned();
    let error = case.run().0.expect_err("it is no name");
    assert_eq!(error.class(), "invalid");
    assert!(!case.prefix().exists());
}

#[test]
fn the_program_ends_with_a_line_that_says_how_it_went() {
    let run = |case: &Case, archives: &str| {
        let lock = case.folder.path().join("lock.json");
        fs_err::write(&lock, case.lock.to_json()).expect("written");
        let output = Command::new(env!("CARGO_BIN_EXE_kiln-install"))
            .arg("--lock")
            .arg(&lock)
            .arg("--archives")
            .arg(case.folder.path().join(archives))
            .arg("--prefix")
            .arg(case.prefix())
            .output()
            .expect("it starts");
        let lines: Vec<serde_json::Value> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).expect("each line is JSON"))
            .collect();
        let last = lines.last().expect("there is a line").clone();
        (output.status.code(), last, lines)
    };
    let case = Case::new(&["links-1.0-0.conda"], &[]);
    let (code, last, lines) = run(&case, "archives");
    assert_eq!(
        (code, &last["step"], &last["conda_packages"]),
        (Some(0), &"finished".into(), &1.into())
    );
    assert_eq!(
        lines[0],
        serde_json::json!({"step": "verify", "done": 1, "total": 1})
    );
    let (code, last, _) = run(&case, "nowhere");
    assert_eq!(
        (code, &last["step"], &last["class"]),
        (Some(1), &"failed".into(), &"not_found".into())
    );
    let hostile = Case::new(&["hostile-dotdot-1.0-0.conda"], &[]);
    let (code, last, _) = run(&hostile, "archives");
    assert_eq!((code, &last["class"]), (Some(1), &"integrity".into()));
    let usage = Command::new(env!("CARGO_BIN_EXE_kiln-install"))
        .output()
        .expect("it starts");
    assert_eq!(usage.status.code(), Some(64));
}
