//! The real Azure ML SDKs against a real kiln.

use std::path::PathBuf;
use std::process::Command;

use kiln_tests::{Docker, Kiln};
use serde_json::Value;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk");

/// The folder of an SDK, told by the variable that `cargo xtask test` sets.
pub(crate) fn sdk(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask test`"))
        .into()
}

/// Runs a script with an SDK, and gives what it printed.
fn run(sdk: &PathBuf, url: &str, script: &str, arguments: &[&str]) -> String {
    run_with(sdk, url, script, arguments, &[])
}

/// What a script printed as JSON after its output.
pub(crate) fn seen(printed: &str) -> Value {
    let (_, seen) = printed.split_once("== seen\n").unwrap();
    serde_json::from_str(seen.lines().next().unwrap()).unwrap()
}

/// As [`run`], with further variables.
pub(crate) fn run_with(
    sdk: &PathBuf,
    url: &str,
    script: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> String {
    let home = tempfile::tempdir().unwrap();
    // Debian's docker first, as in the tests of kiln's own.
    let path = format!("/usr/bin:{}", std::env::var("PATH").unwrap_or_default());
    let output = Command::new("python3")
        .arg(format!("{SCRIPTS}/{script}"))
        .args(arguments)
        .env("PATH", path)
        .env("PYTHONPATH", sdk)
        // The SDK keeps what it discovers in its user's folder.
        .env("HOME", home.path())
        .env("KILN_URL", url)
        .env("KILN_BASE", kiln_tests::base("debian:12"))
        .env("KILN_INDEX", format!("{}/simple/", kiln_tests::channels()))
        .env(
            "KILN_CHANNEL",
            format!("{}/conda-forge", kiln_tests::channels()),
        )
        .env("PYTHONWARNINGS", "ignore")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{printed}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}

/// Runs the script with an SDK; what it saw.
fn check(variable: &str, of: &str) -> Value {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let printed = run(&sdk(variable), &server.url, "environments.py", &[of]);
    let (told, _) = printed.split_once("== seen\n").unwrap();
    let seen = seen(&printed);
    for (key, expected) in [
        ("first", "1".into()),
        ("again", "1".into()),
        ("second", "2".into()),
        ("newest", "2".into()),
        ("equal", true.into()),
        ("before", serde_json::json!([false, null])),
        ("status", "Succeeded".into()),
        ("after", true.into()),
        ("cached", "Succeeded".into()),
        ("failed", "Failed".into()),
        ("local", true.into()),
        ("hard", true.into()),
    ] as [(&str, Value); 12]
    {
        assert_eq!(seen[key], expected, "{key}: {seen:#}\n{told}");
    }
    let listed = seen["list"].as_array().unwrap();
    assert!(listed.contains(&"my env".into()), "{listed:?}");
    assert!(seen["missing"].as_str().unwrap().contains("404"), "{seen}");
    let image = format!("{}:latest", seen["image"].as_str().unwrap());
    let code = "import foo, os, sys; print(os.environ['FROM'], foo.__file__, sys.executable)";
    let told_by_image = Docker::python(&image, code);
    assert!(told_by_image.starts_with("the SDK /"), "{told_by_image}");
    let interpreter = seen["interpreter"].as_str().unwrap();
    let answer = Docker::run_image(&image, &[interpreter, "-c", "import foo"]);
    assert_eq!(answer.code, 0, "{interpreter}: {answer:?}");
    let dockerfile = seen["dockerfile"].as_str().unwrap();
    let base = format!("FROM {}@sha256:", kiln_tests::base("debian:12"));
    let base = base.replace("/debian:12@", "/debian");
    let base = base.trim_end_matches("sha256:");
    assert!(dockerfile.contains(base), "{base}: {dockerfile}");
    let variable = "ENV FROM=\"the SDK\"";
    assert!(dockerfile.contains(variable), "{dockerfile}");
    // The log of a build is shown while it goes on.
    let (built, failing) = told.split_once("== failing\n").unwrap();
    assert!(built.contains("resolving the pip requirements"), "{told}");
    // The end of a failed build's log, which says what is wrong, was shown.
    assert!(failing.contains("there-is-no-such-package"), "{told}");
    assert!(failing.contains("help: "), "{told}");
    seen
}

#[test]
fn the_newest_sdk_registers_reads_and_builds_environments() {
    let seen = check("KILN_TEST_AZUREML", "newest");
    assert_eq!(seen["labelled"], "1");
    assert_eq!(seen["on compute"], "Succeeded");
    // The same definition under another name is the same image.
    assert_eq!(seen["shares"], true);
    let text = seen["text"].as_str().unwrap();
    assert!(text.contains("'imageExistsInRegistry': True"), "{text}");
    // `build_local` with Docker has built it under the same name, without a registry.
    let image = seen["image"].as_str().unwrap();
    let name = image.split_once("/azureml/").unwrap().1;
    let code = "import foo, os; print(os.environ['FROM'])";
    assert_eq!(
        Docker::python(&format!("azureml/{name}:latest"), code),
        "the SDK"
    );
}

#[test]
fn the_sdk_of_2019_does_too() {
    check("KILN_TEST_AZUREML_2019", "2019");
}
