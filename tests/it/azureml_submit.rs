//! Scripts that the SDKs submit to the machine they are on.

use kiln_tests::{Docker, Kiln};
use serde_json::{Value, json};

use crate::azureml::{run_with, sdk, seen};

fn check(variable: &str, of: &str) {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().to_str().unwrap();
    let printed = run_with(
        &sdk(variable),
        &server.url,
        "submit.py",
        &[of],
        &[("TMPDIR", temporary)],
    );
    let seen = seen(&printed);
    let part = |name: &str| {
        let (_, rest) = printed.split_once(&format!("== {name}\n")).unwrap();
        rest.split("\n== ").next().unwrap().to_owned()
    };
    for (name, status, version) in [
        ("prepared", "Completed", json!(["prepared", "1"])),
        ("docker", "Completed", json!(["docker", "1"])),
        ("failed", "Failed", json!(["own", "1"])),
        ("cancelled", "Canceled", json!(["own", "1"])),
    ] {
        assert_eq!(seen[name]["status"], status, "{name}: {seen:#}\n{printed}");
        assert_eq!(seen[name]["environment"], version, "{name}: {seen:#}");
    }
    // What only Azure has is refused with what to do instead.
    let refused = |what: &str| seen[format!("refused {what}")].as_str();
    assert!(
        refused("target").unwrap().contains("target `local`"),
        "{seen:#}"
    );
    if of == "newest" {
        assert!(
            refused("data").unwrap().contains("source folder"),
            "{seen:#}"
        );
    }
    // What the script printed was shown, and it ran in its environment.
    let prepared = part("prepared");
    assert!(
        prepared.contains("arguments ['--alpha', '0.5'] 1"),
        "{printed}"
    );
    assert!(prepared.contains("/.azureml/envs/azureml_"), "{printed}");
    let docker = part("docker");
    assert!(docker.contains("arguments ['a b', '$(id)'] 1"), "{printed}");
    assert!(docker.contains("/work"), "{printed}");
    assert!(
        part("failed").contains("ValueError: alpha is bad"),
        "{printed}"
    );
    let error = seen["error"].as_str().unwrap();
    assert!(error.contains("alpha is bad"), "{error}");

    let shown = |name: &str, command: &str| {
        let id = seen[name]["id"].as_str().unwrap();
        let arguments = ["runs", command, id, "--json", "--server", &server.url];
        let answer = kiln.run(&[&arguments[..], &["--workspace", "sub/rg/ws"]].concat());
        assert_eq!(answer.code, 0, "{answer:?}");
        answer.json()
    };
    let run = shown("docker", "show");
    let image = run["image"].as_str().unwrap();
    assert!(image.contains("@sha256:"), "{run:#}");
    assert_eq!(run["exit_code"], 0);
    assert_eq!(shown("failed", "show")["exit_code"], 1);
    let files = |name: &str| {
        let files = shown(name, "files");
        let files = files["value"].as_array().unwrap().iter();
        let path = |file: &Value| file["path"].as_str().unwrap().to_owned();
        files.map(path).collect::<Vec<_>>()
    };
    let expected = [
        "azureml-logs/70_driver_log.txt",
        "outputs/model.txt",
        "source/data/numbers.txt",
        "source/train.py",
    ];
    assert_eq!(files("prepared"), expected);
    assert_eq!(files("docker"), expected);
    // Equal folders are one snapshot, and their files are kept once.
    let snapshot = shown("prepared", "show")["snapshot"].clone();
    assert!(
        snapshot.as_str().unwrap().starts_with("sha256:"),
        "{snapshot}"
    );
    assert_eq!(run["snapshot"], snapshot);
    let containers = Docker::run(&["ps", "--all", "--quiet", "--filter", "label=io.kiln.run"]);
    let id = seen["docker"]["id"].as_str().unwrap();
    assert!(!containers.stdout.contains(id), "{containers:?}");
}

#[test]
fn the_newest_sdk_submits_shows_fails_and_cancels() {
    check("KILN_TEST_AZUREML", "newest");
}

#[test]
fn the_sdk_of_2019_does_too() {
    check("KILN_TEST_AZUREML_2019", "2019");
}
