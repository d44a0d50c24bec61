//! Runs as the SDKs make them known and read them.

use kiln_tests::Kiln;
use serde_json::{Value, json};

use crate::azureml::{run_with, sdk, seen};

fn check(variable: &str, of: &str) -> Value {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let printed = run_with(&sdk(variable), &server.url, "runs.py", &[of], &[]);
    let seen = seen(&printed);
    for run in [
        "by-version",
        "by-reference",
        "unnamed-1",
        "unnamed-2",
        "unnamed-3",
    ] {
        assert_eq!(seen[run], 200, "{run}: {seen:#}");
    }
    assert_eq!(seen["nowhere"], 404, "{seen:#}");
    // Runs without a name share one; each has the version that is its document.
    for (run, expected) in [
        ("by-version", json!(["myenv", "1", null])),
        ("by-reference", json!(["myenv", "1", null])),
        ("unnamed-1", json!(["default-environment", "1", "1"])),
        ("unnamed-2", json!(["default-environment", "2", "2"])),
        ("unnamed-3", json!(["default-environment", "1", "1"])),
    ] {
        assert_eq!(seen[format!("environment of {run}")], expected, "{run}");
    }
    assert_eq!(seen["status"], "NotStarted");
    assert_eq!(seen["details"], json!(["--alpha", 0.5]));

    // The command line tells the same of them.
    let ok = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--workspace", "sub/rg/ws", "--server", &server.url]);
        let answer = kiln.run(&all);
        assert_eq!(answer.code, 0, "{arguments:?}: {answer:?}");
        answer
    };
    let shown = ok(&["runs", "show", "by-version", "--json"]).json();
    assert_eq!(
        shown["environment"],
        json!({ "name": "myenv", "version": "1" })
    );
    assert_eq!(shown["arguments"], json!(["--alpha", "0.5"]));
    let listed = ok(&["runs", "list", "--environment", "default-environment"]);
    let ids: Vec<_> = listed
        .stdout
        .lines()
        .map(|line| line.split(' ').next())
        .collect();
    assert_eq!(
        ids,
        [Some("unnamed-3"), Some("unnamed-2"), Some("unnamed-1")]
    );
    let environment = ok(&["runs", "env", "unnamed-2"]);
    let environment: Value = serde_json::from_str(&environment.stdout).unwrap();
    assert_eq!(environment["environmentVariables"], json!({ "A": "2" }));
    // Another workspace has none of them.
    let other = kiln.run(&["runs", "show", "by-version", "--server", &server.url]);
    assert_eq!(other.code, 1, "{other:?}");
    seen
}

#[test]
fn the_newest_sdk_gets_a_runs_environment_and_logs_what_a_run_does() {
    let seen = check("KILN_TEST_AZUREML", "newest");
    assert_eq!(
        seen["metrics"],
        json!({ "alpha": 0.5, "losses": [3, 2, 1] })
    );
    assert_eq!(seen["newest"], true);
    assert_eq!(seen["ended"], json!(["Completed", { "kind": "test" }, "b"]));
    assert_eq!(seen["failed"][0], "Failed");
    assert!(
        seen["failed"][1].as_str().unwrap().contains("it broke"),
        "{seen}"
    );
    assert_eq!(seen["runs"], 7);
    assert_eq!(seen["experiments"], json!(["my-experiment"]));
}

#[test]
fn the_sdk_of_2019_gets_it_too() {
    check("KILN_TEST_AZUREML_2019", "2019");
}
