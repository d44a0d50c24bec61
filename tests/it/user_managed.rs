//! A base that has `foo 1` inside.

use kiln_tests::{Docker, Kiln};

fn environment(user_managed: bool, pip: &[&str]) -> String {
    let mut pip: Vec<String> = pip.iter().map(|p| (*p).to_owned()).collect();
    if !pip.is_empty() {
        pip.insert(0, format!("--index-url {}/simple/", kiln_tests::channels()));
    }
    let dependencies: Vec<serde_json::Value> = if pip.is_empty() {
        vec!["python=3.11".into()]
    } else {
        vec!["python=3.11".into(), serde_json::json!({ "pip": pip })]
    };
    serde_json::json!({
        "name": "foo",
        "environmentVariables": {},
        "python": {
            "userManagedDependencies": user_managed,
            "interpreterPath": "python3",
            "condaDependencies": { "channels": ["conda-forge"], "dependencies": dependencies },
        },
        "docker": { "baseImage": kiln_tests::base("foo:1") },
    })
    .to_string()
}

#[test]
fn with_user_managed_dependencies_the_bases_foo_imports_and_nothing_is_installed() {
    let kiln = Kiln::new();
    let built = kiln.build_ok("environment.json", &environment(true, &["foo==2.0"]), &[]);
    let image = built.text("image");
    let code = "import foo, sys; import importlib.metadata as m; print(m.version('foo'))";
    let answer = Docker::run_image(&image, &["python3", "-c", code]);
    assert_eq!(
        answer.stdout.trim().split('.').next(),
        Some("1"),
        "{answer:?}"
    );
    let prefix = Docker::run_image(&image, &["ls", "/opt/kiln/env"]);
    assert_ne!(prefix.code, 0, "{prefix:?}");
}

#[test]
fn otherwise_the_bases_foo_is_not_importable_unless_asked_for() {
    let kiln = Kiln::new();
    let built = kiln.build_ok("environment.json", &environment(false, &[]), &[]);
    let answer = Docker::run_image(&built.text("image"), &["python", "-c", "import foo"]);
    assert_ne!(answer.code, 0);
    assert!(
        answer.stderr.contains("No module named 'foo'"),
        "{answer:?}"
    );
}

#[test]
fn and_the_version_that_is_asked_for_wins() {
    let kiln = Kiln::new();
    let built = kiln.build_ok("environment.json", &environment(false, &["foo==2.0"]), &[]);
    let code = "import foo, importlib.metadata as m; print(m.version('foo'))";
    assert_eq!(Docker::python(&built.text("image"), code), "2.0");
    let pip_only = format!("--index-url {}/simple/\nfoo==2.0\n", kiln_tests::channels());
    let base = kiln_tests::base("foo:1");
    let built = kiln.build_ok("requirements.txt", &pip_only, &["--base", &base]);
    assert_eq!(Docker::python(&built.text("image"), code), "2.0");
}
