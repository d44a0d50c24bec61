use rstest::rstest;

use crate::entry::CONSTANT_MTIME;
use crate::error::{LinkError, Problem};
use crate::target::{PythonHome, PythonTarget, Target};
use crate::testing::{Collected, target, wheel, wheel_request};
use crate::wheel::{WheelPackage, WheelRequest};

type Files<'a> = &'a [(&'a str, &'a [u8], u32)];

fn linked_with(
    files: Files<'_>,
    twist: impl Fn(String) -> String,
    request: WheelRequest,
    target: &Target,
) -> Result<Collected, LinkError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = wheel(folder.path(), files, twist);
    let mut package = WheelPackage::open(&path, request, target)?;
    let mut known: Vec<String> = package.paths().map(|(path, _)| path.to_string()).collect();
    known.sort();
    let mut sink = Collected::default();
    package.link(&mut sink)?;
    let written: Vec<String> = sink.0.keys().cloned().collect();
    assert_eq!(known, written, "the paths are known beforehand");
    Ok(sink)
}

fn linked(files: Files<'_>) -> Result<Collected, LinkError> {
    linked_with(files, |record| record, wheel_request(), &target())
}

fn problem(files: Files<'_>) -> Problem {
    linked(files).expect_err("it is refused").problem
}

#[test]
fn every_part_of_a_wheel_goes_to_its_place() {
    let points = b"[console_scripts]\nhello = pkg:main\n[gui_scripts]\nshow = pkg.gui:App.run\n";
    let files: Files<'_> = &[
        ("pkg/__init__.py", b"def main(): pass\n", 0o100_644),
        ("pkg/tool", b"\x7fELF", 0o100_755),
        ("pkg-1.0.dist-info/entry_points.txt", points, 0o644),
        ("pkg-1.0.dist-info/INSTALLER", b"evil\n", 0o644),
        (
            "pkg-1.0.data/scripts/run",
            b"#!python -u\nprint(1)\n",
            0o644,
        ),
        ("pkg-1.0.data/scripts/sh", b"#!/bin/sh\n", 0o644),
        ("pkg-1.0.data/scripts/hello-script.py", b"#!python\n", 0o644),
        ("pkg-1.0.data/data/share/pkg/x", b"data", 0o644),
        ("pkg-1.0.data/headers/pkg.h", b"int x;", 0o644),
        ("pkg-1.0.data/platlib/pkg/native.so", b"so", 0o644),
        ("pkg-1.0.data/purelib/pkg/pure.py", b"", 0o644),
    ];
    let got = linked(files).expect("it is linked");
    let lib = "lib/python3.11/site-packages";
    assert_eq!(got.mode(&format!("{lib}/pkg/__init__.py")), 0o644);
    assert_eq!(got.mode(&format!("{lib}/pkg/tool")), 0o755);
    assert_eq!(
        got.text("bin/run"),
        "#!/opt/kiln/env/bin/python\nprint(1)\n"
    );
    assert_eq!(
        (got.text("bin/sh"), got.mode("bin/sh")),
        ("#!/bin/sh\n", 0o755)
    );
    assert_eq!(got.text("share/pkg/x"), "data");
    assert_eq!(got.text("include/python3.11/pkg/pkg.h"), "int x;");
    assert!(
        got.text("bin/hello")
            .starts_with("#!/opt/kiln/env/bin/python\nimport sys\n")
    );
    assert!(got.text("bin/show").contains("from pkg.gui import App\n"));
    assert_eq!(
        got.text(&format!("{lib}/pkg-1.0.dist-info/INSTALLER")),
        "kiln\n"
    );
    assert_eq!(got.mtime("bin/hello"), CONSTANT_MTIME);
    insta::assert_snapshot!(got.text(&format!("{lib}/pkg-1.0.dist-info/RECORD")));
}

#[test]
fn a_venv_keeps_headers_apart_and_bytecode_is_recorded() {
    let python = PythonTarget::new(11, PythonHome::Venv, "x86_64");
    let target = Target {
        python: Some(python),
        bytecode: true,
        ..target()
    };
    let request = WheelRequest {
        requested: false,
        ..wheel_request()
    };
    let files: Files<'_> = &[
        ("pkg-1.0.data/headers/a.h", b"", 0o644),
        ("pkg.py", b"", 0o644),
    ];
    let got = linked_with(files, |record| record, request, &target).expect("it is linked");
    assert_eq!(got.text("include/site/python3.11/pkg/a.h"), "");
    let record = got.text("lib/python3.11/site-packages/pkg-1.0.dist-info/RECORD");
    assert!(
        record.contains("\r\n__pycache__/pkg.cpython-311.pyc,,\r\n"),
        "{record}"
    );
    assert!(!record.contains("REQUESTED"));
}

#[rstest]
#[case("../evil.py")]
#[case("pkg/../../evil.py")]
#[case("/etc/evil")]
#[case("pkg\\..\\evil.py")]
#[case("C:\\evil.py")]
#[case("pkg//evil.py")]
#[case("pkg/./evil.py")]
#[case("pkg-1.0.data/data/../../evil")]
#[case("pkg-1.0.data/scripts/../../../evil")]
fn an_unsafe_name_is_refused_and_named(#[case] name: &str) {
    let error = linked(&[(name, b"x", 0o644)]).expect_err("it is refused");
    assert!(matches!(error.problem, Problem::UnsafePath(_)), "{error:?}");
    assert_eq!(error.entry.as_deref(), Some(name));
}

#[test]
fn kinds_and_rights_that_no_wheel_needs_are_refused() {
    // The writer of tests marks every entry as a regular file; the kind is set by hand.
    for (kind, expected) in [
        (0o120_777u32, "symlink"),
        (0o060_644, "device"),
        (0o104_755, "SetId"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = wheel(
            folder.path(),
            &[("pkg/x", b"/etc/passwd", 0o642)],
            |record| record,
        );
        let bytes = fs_err::read(&path).expect("readable");
        let from = (0o100_642u32 << 16).to_le_bytes();
        let at = memchr::memmem::find(&bytes, &from).expect("the mode is there");
        let mut bytes = bytes;
        bytes[at..at + 4].copy_from_slice(&(kind << 16).to_le_bytes());
        fs_err::write(&path, bytes).expect("writable");
        let opened = WheelPackage::open(&path, wheel_request(), &target());
        let problem = opened.err().expect("it is refused").problem;
        assert!(format!("{problem:?}").contains(expected), "{problem:?}");
    }
}

#[test]
fn record_is_believed() {
    let files: Files<'_> = &[("pkg/a.py", b"x = 1\n", 0o644)];
    let with = |twist: fn(String) -> String| {
        linked_with(files, twist, wheel_request(), &target()).expect_err("it is refused")
    };
    let drop = |record: String| {
        record
            .split_inclusive('\n')
            .filter(|line| !line.contains("a.py"))
            .collect()
    };
    let error = with(drop);
    assert!(matches!(error.problem, Problem::Unrecorded));
    assert_eq!(error.entry.as_deref(), Some("pkg/a.py"));
    let error = with(|record| record.replacen("sha256=", "md5=", 1));
    assert!(matches!(error.problem, Problem::Unrecorded));
    let error = with(|record| record.replace(",6\n", ",7\n"));
    assert!(matches!(
        error.problem,
        Problem::Content { what: "size", .. }
    ));
    let error = with(|record| {
        let line = record.lines().next().expect("the first line").to_owned();
        let hash = line.split(',').nth(1).expect("a hash").to_owned();
        record.replace(&hash, "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU")
    });
    assert!(matches!(
        error.problem,
        Problem::Content { what: "sha256", .. }
    ));
}

#[test]
fn one_path_has_one_content() {
    let files: Files<'_> = &[
        ("pkg/a.py", b"1", 0o644),
        ("pkg-1.0.data/purelib/pkg/a.py", b"2", 0o644),
    ];
    assert!(matches!(problem(files), Problem::Duplicate));
}

#[test]
fn a_record_of_an_installation_is_no_wheels_file() {
    let files: Files<'_> = &[("pkg-1.0.data/data/conda-meta/x-1-0.json", b"{}", 0o644)];
    assert!(matches!(problem(files), Problem::Reserved));
}

#[test]
fn another_wheel_than_the_locks_is_refused() {
    let files: Files<'_> = &[("pkg/a.py", b"1", 0o644)];
    let refused = |request, target: &Target| {
        linked_with(files, |record| record, request, target)
            .expect_err("it is another")
            .problem
    };
    let request = WheelRequest {
        name: "other".into(),
        ..wheel_request()
    };
    assert!(matches!(
        refused(request, &target()),
        Problem::NotTheOne { field: "name", .. }
    ));
    let request = WheelRequest {
        version: "2.0".into(),
        ..wheel_request()
    };
    assert!(matches!(
        refused(request, &target()),
        Problem::NotTheOne {
            field: "version",
            ..
        }
    ));
    let request = WheelRequest {
        file_name: "pkg-1.0-cp39-cp39-win32.whl".into(),
        ..wheel_request()
    };
    assert!(matches!(refused(request, &target()), Problem::Unfit(_)));
    let without = Target {
        python: None,
        ..target()
    };
    assert!(matches!(
        refused(wheel_request(), &without),
        Problem::Unfit(_)
    ));
    let metadata: Files<'_> = &[(
        "pkg-1.0.dist-info/METADATA",
        b"Name: evil\nVersion: 1.0\n",
        0o644,
    )];
    assert!(matches!(
        problem(metadata),
        Problem::NotTheOne { field: "name", .. }
    ));
    let newer: Files<'_> = &[("pkg-1.0.dist-info/WHEEL", b"Wheel-Version: 2.0\n", 0o644)];
    assert!(matches!(problem(newer), Problem::Metadata(_)));
    let two: Files<'_> = &[("evil-1.0.dist-info/METADATA", b"", 0o644)];
    assert!(matches!(problem(two), Problem::Archive(_)));
    let data: Files<'_> = &[("evil-1.0.data/scripts/x", b"", 0o644)];
    assert!(matches!(problem(data), Problem::Archive(_)));
    let point: Files<'_> = &[(
        "pkg-1.0.dist-info/entry_points.txt",
        b"[console_scripts]\n../../evil = a:b\n",
        0o644,
    )];
    assert!(matches!(problem(point), Problem::EntryPoint(_)));
}
