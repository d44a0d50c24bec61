//! Documents that Azure ML's SDKs wrote, through the API as those SDKs use it.

use std::path::PathBuf;

use kiln_tests::Kiln;
use serde_json::Value;

use crate::azureml::{run_with, sdk, seen};

/// The project's own documents, and further ones where a variable names their folder.
fn folders() -> Vec<PathBuf> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/specs/azureml");
    let further = std::env::var_os("KILN_AZUREML").map(PathBuf::from);
    std::iter::once(own.into()).chain(further).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_registered_read_back_equal_and_sent_back_without_a_new_version() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let folders = folders();
    let folders: Vec<_> = folders
        .iter()
        .map(|folder| folder.to_str().unwrap())
        .collect();
    let newest = sdk("KILN_TEST_AZUREML");
    let printed = run_with(&newest, &server.url, "documents.py", &folders, &[]);
    let seen = seen(&printed);
    let seen = seen.as_object().unwrap();
    assert!(seen.len() > 10, "{seen:?}");
    for (path, entry) in seen {
        if refused(path) {
            assert_eq!(entry["status"], 400, "{path}: {entry:#}");
            continue;
        }
        assert_eq!(entry["status"], 200, "{path}: {entry:#}");
        assert_eq!(entry["difference"], Value::Array(Vec::new()), "{path}");
        for key in ["again", "newest", "clone"] {
            assert_eq!(entry[key], "1", "{path}: {key}");
        }
        // The command line and the API give one hash.
        let hashed = kiln.run(&["hash", path, "--json"]);
        assert_eq!(hashed.code, 0, "{path}: {hashed:?}");
        let name = entry["name"].as_str().unwrap().replace(' ', "%20");
        let url = &server.url;
        let url = format!("{url}/v1/environments/{name}?workspace=sub%2Frg%2Fws");
        let answer = reqwest::get(url).await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["spec_hash"], hashed.text("spec_hash"), "{path}");
    }
}

/// A reference in the place of an environment: there is nothing in it to register.
fn refused(path: &str) -> bool {
    path.contains("21_reference")
}
