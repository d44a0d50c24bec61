use ::tar::EntryType;
use rstest::rstest;
use serde_json::{Value, json};

use crate::conda::{CondaPackage, CondaRequest};
use crate::entry::Origin;
use crate::error::{LinkError, Problem};
use crate::limits::Limits;
use crate::linked::{Linked, ScriptKind};
use crate::target::Target;
use crate::testing::{Collected, Conda, Got, MTIME, TarItem, conda_request, file, link, target};

fn linked_with(
    conda: &Conda<'_>,
    target: &Target,
    twist: impl Fn(&mut CondaRequest),
) -> Result<(Collected, Linked), LinkError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = conda.write(folder.path());
    let mut request = conda_request(&path);
    twist(&mut request);
    let package = CondaPackage::open(&path, request, target)?;
    let mut sink = Collected::default();
    let linked = package.link(&mut sink)?;
    let mut known: Vec<String> = package.paths().map(|(path, _)| path.to_string()).collect();
    known.sort();
    let files = sink.0.iter().filter(|(_, got)| **got != Got::Directory);
    let written: Vec<String> = files.map(|(path, _)| path.clone()).collect();
    assert_eq!(known, written, "the paths are known beforehand");
    Ok((sink, linked))
}

fn linked(conda: &Conda<'_>) -> Result<Collected, LinkError> {
    linked_with(conda, &target(), |_| {}).map(|(sink, _)| sink)
}

fn problem(conda: &Conda<'_>) -> Problem {
    linked(conda).expect_err("it is refused").problem
}

#[rstest]
#[case::conda(false)]
#[case::tar_bz2(true)]
fn files_links_and_prefixes_are_linked(#[case] old_format: bool) {
    let placeholder = format!("/build/{}", "_placehold".repeat(25))[..255].to_owned();
    let text = format!("#!{placeholder}/bin/sh\n");
    let binary = format!("\x7fELF{placeholder}/lib\0rest\0");
    let mut conda = Conda::new(vec![
        TarItem {
            mode: 0o775,
            ..file("bin/tool", b"#!/bin/sh\n")
        },
        TarItem {
            mode: 0o555,
            ..file("bin/script", text.as_bytes())
        },
        file("lib/libx.so.1", binary.as_bytes()),
        link("lib/libx.so", EntryType::Symlink, "libx.so.1"),
        link("share/empty/", EntryType::Directory, ""),
        file("bin/.pkg-post-link.sh", b"true\n"),
    ]);
    conda.old_format = old_format;
    let with = |mode: &str| json!({"file_mode": mode, "prefix_placeholder": placeholder});
    conda.paths.insert("bin/script", with("text"));
    conda.paths.insert("lib/libx.so.1", with("binary"));
    conda
        .paths
        .insert("lib/libx.so", json!({"path_type": "softlink"}));
    conda
        .listed
        .push(json!({"_path": "share/empty", "path_type": "directory"}));
    let (got, linked) = linked_with(&conda, &target(), |_| {}).expect("it is linked");
    assert_eq!(
        (got.mode("bin/tool"), got.mtime("bin/tool")),
        (0o755, MTIME.cast_signed())
    );
    assert_eq!(
        (got.mode("bin/script"), got.mtime("bin/script")),
        (0o755, 1_600_000_000)
    );
    assert_eq!(got.text("bin/script"), "#!/opt/kiln/env/bin/sh\n");
    let patched = got.text("lib/libx.so.1");
    assert_eq!(patched.len(), binary.len());
    assert!(patched.starts_with("\x7fELF/opt/kiln/env/lib\0\0") && patched.ends_with("\0rest\0"));
    assert_eq!(got.0["lib/libx.so"], Got::Link("libx.so.1".into()));
    assert_eq!(got.0["share/empty"], Got::Directory);
    let [script] = linked.scripts.as_slice() else {
        panic!("{:?}", linked.scripts)
    };
    assert_eq!(
        (script.kind, script.path.as_str()),
        (ScriptKind::PostLink, "bin/.pkg-post-link.sh")
    );
}

#[test]
fn the_record_has_what_conda_reads_and_no_secret() {
    let mut conda = Conda::new(vec![
        file("lib/x", b"content"),
        link("lib/y", EntryType::Symlink, "x"),
    ]);
    conda
        .paths
        .insert("lib/y", json!({"path_type": "softlink"}));
    let got = linked(&conda).expect("it is linked");
    insta::assert_snapshot!(got.text("conda-meta/pkg-1.0-h0_0.json"));
}

#[test]
fn a_noarch_python_package_goes_where_the_python_keeps_its_libraries() {
    let mut conda = Conda::new(vec![
        file("site-packages/pkg/a.py", b"x = 1\n"),
        file("site-packages/pkg/__pycache__/b.cpython-311.pyc", b"1"),
        file("site-packages/pkg/b.py", b""),
        TarItem {
            mode: 0o755,
            ..file("python-scripts/run", b"#!/bin/sh\n")
        },
        file("python-scripts/hello", b"an old wrapper"),
        file("etc/pkg.conf", b""),
    ]);
    conda.link = Some(json!({
        "package_metadata_version": 1,
        "noarch": {"type": "python", "entry_points": ["hello = pkg.a:main"]},
    }));
    let target = Target {
        bytecode: true,
        ..target()
    };
    let (got, _) = linked_with(&conda, &target, |_| {}).expect("it is linked");
    assert_eq!(got.text("lib/python3.11/site-packages/pkg/a.py"), "x = 1\n");
    assert_eq!(got.text("bin/run"), "#!/bin/sh\n");
    assert_eq!(got.text("etc/pkg.conf"), "");
    assert!(
        got.text("bin/hello")
            .starts_with("#!/opt/kiln/env/bin/python3.11\n")
    );
    assert_eq!(got.mode("bin/hello"), 0o755);
    let record: Value =
        serde_json::from_str(got.text("conda-meta/pkg-1.0-h0_0.json")).expect("it is JSON");
    assert_eq!(record["noarch"], "python");
    let files: Vec<&str> = record["files"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(files.contains(&"lib/python3.11/site-packages/pkg/__pycache__/a.cpython-311.pyc"));
    let compiled = "lib/python3.11/site-packages/pkg/__pycache__/b.cpython-311.pyc";
    assert_eq!(files.iter().filter(|file| **file == compiled).count(), 1);
    let kinds = record["paths_data"]["paths"].as_array().expect("a list");
    let point = kinds
        .iter()
        .find(|path| path["path_type"] == "unix_python_entry_point");
    assert_eq!(point.expect("it is listed")["_path"], "bin/hello");

    let without = Target {
        python: None,
        ..target
    };
    let error = linked_with(&conda, &without, |_| {}).expect_err("there is no python");
    assert!(matches!(error.problem, Problem::Unfit(_)));
}

#[test]
fn a_file_with_two_names_is_written_twice() {
    let conda = Conda::new(vec![
        file("bin/a", b"tool"),
        link("bin/b", EntryType::Link, "bin/a"),
        link("bin/c", EntryType::Link, "./bin/a"),
    ]);
    let got = linked(&conda).expect("it is linked");
    assert_eq!((got.text("bin/b"), got.text("bin/c")), ("tool", "tool"));
}

#[test]
fn a_second_name_needs_a_first_one() {
    for first in ["bin/none", "/etc/passwd", "../../etc/passwd"] {
        let conda = Conda::new(vec![link("bin/b", EntryType::Link, first)]);
        linked(&conda).expect_err(first);
    }
}

#[test]
fn what_the_list_does_not_name_is_not_linked() {
    let mut conda = Conda::new(vec![file("lib/x", b"1")]);
    conda.items.push(TarItem {
        ..file("info/test/run.sh", b"")
    });
    conda
        .paths
        .insert("info/test/run.sh", json!({"_path": "lib/../../evil"}));
    linked(&conda).expect_err("the list climbs");
}

#[rstest]
#[case::climbs("../evil")]
#[case::climbs_inside("lib/../../evil")]
#[case::absolute("/etc/evil")]
#[case::control("lib/a\x01b")]
fn an_unsafe_name_is_refused_and_named(#[case] name: &str) {
    for listed in [true, false] {
        let mut conda = Conda::new(vec![file(name, b"x")]);
        if !listed {
            conda.paths.insert(name, json!({"_path": "lib/x"}));
        }
        let error = linked(&conda).expect_err("it is refused");
        assert!(matches!(error.problem, Problem::UnsafePath(_)), "{error:?}");
        assert_eq!(error.entry.as_deref(), Some(name));
        assert!(error.to_string().contains("pkg-1.0-h0_0.conda"), "{error}");
    }
}

#[rstest]
#[case("/etc/passwd")]
#[case("../../etc/passwd")]
#[case("../..")]
fn a_link_out_of_the_prefix_is_refused(#[case] to: &str) {
    let conda = Conda::new(vec![link("lib/x", EntryType::Symlink, to)]);
    assert!(matches!(problem(&conda), Problem::LinkOutside { .. }));
}

#[test]
fn a_link_of_a_noarch_package_is_judged_where_it_lands_and_where_it_came_from() {
    let mut conda = Conda::new(vec![link("site-packages/x", EntryType::Symlink, "../../y")]);
    conda.index["noarch"] = json!("python");
    assert!(matches!(problem(&conda), Problem::LinkOutside { .. }));
}

#[test]
fn rights_of_others_are_refused() {
    for mode in [0o4755, 0o2755, 0o6755] {
        let conda = Conda::new(vec![TarItem {
            mode,
            ..file("bin/su", b"x")
        }]);
        assert!(matches!(problem(&conda), Problem::SetId));
    }
}

#[test]
fn one_path_has_one_content() {
    let twice = Conda::new(vec![file("lib/x", b"1"), file("lib/x", b"2")]);
    assert!(matches!(problem(&twice), Problem::Duplicate));
    let mut spelled = Conda::new(vec![file("lib/x", b"1"), file("./lib/x", b"1")]);
    spelled
        .paths
        .insert("./lib/x", json!({"_path": "lib/other"}));
    assert!(matches!(problem(&spelled), Problem::Duplicate));
    let mut noarch = Conda::new(vec![file("bin/x", b"1"), file("python-scripts/x", b"2")]);
    noarch.index["noarch"] = json!("python");
    assert!(matches!(problem(&noarch), Problem::Duplicate));
}

#[test]
fn a_record_of_an_installation_is_no_packages_file() {
    for name in ["conda-meta/other-1.0-0.json", "conda-meta/history"] {
        let conda = Conda::new(vec![file(name, b"{}")]);
        assert!(matches!(problem(&conda), Problem::Reserved));
    }
    linked(&Conda::new(vec![file("conda-meta/pinned", b"x 1\n")])).expect("conda reads pins there");
}

#[test]
fn a_content_that_is_not_the_listed_one_is_refused() {
    let mut hash = Conda::new(vec![file("lib/x", b"1")]);
    hash.paths
        .insert("lib/x", json!({"sha256": "00".repeat(32)}));
    assert!(matches!(
        problem(&hash),
        Problem::Content { what: "sha256", .. }
    ));
    let mut size = Conda::new(vec![file("lib/x", b"1")]);
    size.paths.insert("lib/x", json!({"size_in_bytes": 2}));
    assert!(matches!(
        problem(&size),
        Problem::Content { what: "size", .. }
    ));
    let mut missing = Conda::new(vec![file("lib/x", b"1")]);
    missing
        .listed
        .push(json!({"_path": "lib/y", "path_type": "hardlink"}));
    assert!(matches!(problem(&missing), Problem::Missing));
}

#[test]
fn a_sink_that_reads_nothing_does_not_switch_the_checks_off() {
    struct Lazy;
    impl crate::entry::Sink for Lazy {
        fn put(&mut self, _: crate::entry::Entry<'_>) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut conda = Conda::new(vec![file("lib/x", b"1")]);
    conda
        .paths
        .insert("lib/x", json!({"sha256": "00".repeat(32)}));
    let folder = tempfile::tempdir().expect("a folder");
    let path = conda.write(folder.path());
    let package = CondaPackage::open(&path, conda_request(&path), &target()).expect("it opens");
    let error = package.link(&mut Lazy).expect_err("the content is wrong");
    assert!(matches!(error.problem, Problem::Content { .. }));
}

#[test]
fn another_package_than_the_locks_is_refused() {
    let conda = Conda::new(vec![]);
    for twist in [
        (|r: &mut CondaRequest| r.name = "other".into()) as fn(&mut CondaRequest),
        |r| r.version = "2.0".into(),
        |r| r.build = "h1_0".into(),
    ] {
        let error = linked_with(&conda, &target(), twist).expect_err("it is another");
        assert!(matches!(error.problem, Problem::NotTheOne { .. }));
    }
    let mut hostile = Conda::new(vec![]);
    hostile.index["name"] = json!("../../evil");
    let error = linked_with(&hostile, &target(), |r| r.name = "../../evil".into());
    assert!(matches!(
        error.expect_err("no name").problem,
        Problem::Metadata(_)
    ));
}

#[test]
fn a_package_that_unpacks_to_too_much_is_refused() {
    let zeros = vec![0; 70 << 20];
    let bomb = Conda::new(vec![file("lib/zeros", &zeros)]);
    assert!(matches!(
        problem(&bomb),
        Problem::TooLarge { limit: 50, .. }
    ));
    let small = |limits| {
        let conda = Conda::new(vec![file("lib/x", b"12345"), file("lib/y", b"1")]);
        let target = Target { limits, ..target() };
        linked_with(&conda, &target, |_| {})
            .expect_err("the limit is small")
            .problem
    };
    let limits = Limits::default();
    assert!(matches!(
        small(Limits {
            entries: 1,
            ..limits
        }),
        Problem::TooLarge { .. }
    ));
    assert!(matches!(
        small(Limits {
            unpacked_bytes: 4,
            ..limits
        }),
        Problem::TooLarge { .. }
    ));
}

#[test]
fn entry_points_are_told_as_written_after_the_files() {
    let mut conda = Conda::new(vec![]);
    conda.link = Some(json!({
        "package_metadata_version": 1,
        "noarch": {"type": "python", "entry_points": ["a = b:c"]},
    }));
    let folder = tempfile::tempdir().expect("a folder");
    let path = conda.write(folder.path());
    let package = CondaPackage::open(&path, conda_request(&path), &target()).expect("it opens");
    let paths: Vec<(String, Origin)> = package
        .paths()
        .map(|(path, origin)| (path.to_string(), origin))
        .collect();
    let record = ("conda-meta/pkg-1.0-h0_0.json".to_owned(), Origin::Record);
    assert_eq!(paths, [("bin/a".to_owned(), Origin::EntryPoint), record]);
}
