//! Documents as the registry keeps them: without credentials, the same definition, and equal when the
//! SDK sends them back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_spec::{Input, Kind, Overrides, Parsed, SpecErrors, StoredDocument, parse};
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/specs")
}

fn parsed_with(
    text: &str,
    kind: Option<Kind>,
    files: &BTreeMap<String, String>,
    overrides: &Overrides,
) -> Result<(Parsed, StoredDocument), SpecErrors> {
    let input = Input {
        file_name: "environment",
        bytes: text.as_bytes(),
        kind,
        files,
        overrides,
    };
    let parsed = parse(&input)?;
    let stored = StoredDocument::of(&input, &parsed)?;
    Ok((parsed, stored))
}

fn parsed(text: &str) -> Result<(Parsed, StoredDocument), SpecErrors> {
    parsed_with(text, None, &BTreeMap::new(), &Overrides::default())
}

fn stored(text: &str) -> StoredDocument {
    parsed(text).expect("the document is valid").1
}

/// All documents of a folder that are valid by themselves.
fn documents(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_file()
            && let Ok(text) = std::fs::read_to_string(&path)
            && parsed(&text).is_ok()
        {
            found.push((path.display().to_string(), text));
        }
    }
    found.sort();
    found
}

fn all_documents() -> Vec<(String, String)> {
    let own = ["azureml", "conda", "requirements"].map(|folder| fixtures().join(folder));
    let mut found: Vec<_> = own.iter().flat_map(|folder| documents(folder)).collect();
    if let Some(folder) = std::env::var_os("KILN_AZUREML") {
        found.extend(documents(Path::new(&folder)));
    }
    assert!(found.len() > 10, "{}", found.len());
    found
}

#[test]
fn a_kept_document_is_the_same_definition_without_its_secrets() {
    for (name, text) in all_documents() {
        let (parsed, stored) = parsed(&text).unwrap();
        let again = stored.parse(&name).unwrap();
        assert_eq!(again.definition, parsed.definition, "{name}");
        assert!(again.credentials.is_empty(), "{name}");
        if parsed.credentials.is_empty() {
            let text = text.trim_start_matches('\u{feff}');
            assert_eq!(stored.text, text, "{name}: kept exactly");
        }
        for credential in &parsed.credentials {
            let secret = credential.secret.expose();
            assert!(
                secret.len() < 3 || !stored.text.contains(secret),
                "{name}: {}",
                stored.text
            );
        }
    }
}

#[test]
fn what_the_sdk_reads_is_the_same_definition_and_the_same_document() {
    for (name, text) in all_documents() {
        let (parsed_first, stored) = parsed(&text).unwrap();
        let view = stored.azureml_json("x", Some("1"), None);
        let (parsed_view, again) = parsed(&view).unwrap_or_else(|errors| {
            panic!("{name}: {errors}\n{view}");
        });
        assert_eq!(parsed_view.kind, Kind::AzureMl);
        // Files of a requirements or conda file are not in the view.
        assert_eq!(
            parsed_view.definition.spec_hash(),
            parsed_first.definition.spec_hash(),
            "{name}"
        );
        assert!(again.digest().equals(&stored.digest()), "{name}");
        assert!(stored.digest().equals(&again.digest()), "{name}");
    }
}

/// The SDK's registration of what it has read: no name of a version, no Databricks section, capitals.
fn sent_back(view: &str) -> Value {
    let mut view: Value = serde_json::from_str(view).expect("a view is JSON");
    let fields = view.as_object_mut().expect("a view is an object");
    for key in ["version", "assetId", "databricks"] {
        fields.remove(key);
    }
    for key in ["name", "docker", "spark", "environmentVariables"] {
        let capital = key[..1].to_uppercase() + &key[1..];
        let value = fields.remove(key).expect("every section is there");
        fields.insert(capital, value);
    }
    if let Some(docker) = fields["Docker"].as_object_mut() {
        docker.remove("gpuSupport");
        for (key, value) in [("enabled", json!(false)), ("buildContext", Value::Null)] {
            docker.entry(key).or_insert(value);
        }
        docker
            .entry("platform")
            .or_insert_with(|| json!({"os": "Linux", "architecture": "amd64"}));
    }
    view
}

#[test]
fn a_document_that_the_sdk_sends_back_is_equal() {
    for (name, text) in all_documents() {
        let stored = stored(&text);
        let back = sent_back(&stored.azureml_json("x", Some("3"), Some("id"))).to_string();
        let back = match parsed(&back) {
            Ok((_, back)) => back,
            Err(errors) => panic!("{name}: {errors}"),
        };
        assert!(back.digest().equals(&stored.digest()), "{name}");
    }
}

fn environment() -> Value {
    json!({
        "name": "myenv", "version": "2", "assetId": "a",
        "environmentVariables": {"A": "1"},
        "python": {
            "userManagedDependencies": false, "interpreterPath": "python",
            "condaDependenciesFile": null, "baseCondaEnvironment": null,
            "condaDependencies": {
                "channels": ["conda-forge"], "name": "n",
                "dependencies": ["python=3.11", {"pip": ["pillow"]}, "numpy"],
            },
        },
        "docker": {
            "enabled": false, "baseImage": "h.example.org/base:1", "sharedVolumes": true,
            "shmSize": "2g", "arguments": [], "gpuSupport": true,
            "baseImageRegistry": {"address": null, "username": "me", "password": "pw-7731"},
        },
        "spark": {"repositories": [], "packages": [], "precachePackages": true},
        "databricks": {"jarLibraries": [{"library": "x"}]},
        "r": null,
        "inferencingStackVersion": null,
    })
}

fn changed(path: &str, value: Value) -> StoredDocument {
    let mut environment = environment();
    *environment
        .pointer_mut(path)
        .unwrap_or_else(|| panic!("{path}")) = value;
    stored(&environment.to_string())
}

#[test]
fn every_section_counts_and_name_version_and_password_do_not() {
    let first = stored(&environment().to_string());
    assert!(!first.text.contains("7731"), "{}", first.text);
    for path in ["/name", "/version", "/assetId"] {
        assert!(
            changed(path, json!("9")).digest().equals(&first.digest()),
            "{path}"
        );
    }
    let password = "/docker/baseImageRegistry/password";
    assert!(
        changed(password, json!("other"))
            .digest()
            .equals(&first.digest())
    );
    assert!(
        changed(password, Value::Null)
            .digest()
            .equals(&first.digest())
    );
    for (path, value) in [
        ("/environmentVariables", json!({"A": "2"})),
        ("/python/condaDependencies/name", json!("other")),
        (
            "/python/condaDependencies/dependencies",
            json!(["numpy", {"pip": ["pillow"]}, "python=3.11"]),
        ),
        ("/docker/enabled", json!(true)),
        ("/docker/shmSize", json!("4g")),
        ("/docker/arguments", json!(["--x"])),
        ("/docker/gpuSupport", json!(false)),
        ("/docker/baseImageRegistry/username", json!("you")),
        ("/spark/precachePackages", json!(false)),
        ("/databricks/jarLibraries", json!([])),
        ("/r", json!({"rVersion": "3.5"})),
        ("/inferencingStackVersion", json!("latest")),
    ] {
        let other = changed(path, value).digest();
        assert!(!other.equals(&first.digest()), "{path}");
        assert_eq!(other.to_string().parse(), Ok(other), "{path}");
    }
}

#[test]
fn a_registry_that_is_a_text_is_answered_as_an_object() {
    let mut environment = environment();
    environment["docker"]["baseImageRegistry"] = json!("h.example.org");
    let view = stored(&environment.to_string()).azureml_json("x", Some("1"), None);
    let view: Value = serde_json::from_str(&view).unwrap();
    assert_eq!(
        view["docker"]["baseImageRegistry"],
        json!({"address": "h.example.org", "username": null, "password": null, "registryIdentity": null})
    );
}

#[test]
fn where_a_context_is_is_told_in_the_sdks_words() {
    for (sent, told) in [("StorageAccount", "storageAccount"), ("GIT", "git")] {
        let context = json!({ "locationType": sent, "location": "https://h.example.org/x.git" });
        let view = stored(&json!({ "docker": { "buildContext": context } }).to_string());
        let view: Value = serde_json::from_str(&view.azureml_json("x", None, None)).unwrap();
        assert_eq!(view["docker"]["buildContext"]["locationType"], told);
    }
}

#[test]
fn what_is_said_beside_a_document_is_in_what_the_sdk_reads() {
    let overrides = Overrides {
        base: Some("me:secret-7731@h.example.org/base:2".into()),
        gpu: true,
        platform: Some("linux/arm64".into()),
    };
    let text = "channels: ['https://u:pw-7731@c.example.org/x']\ndependencies: [python=3.11]\n";
    let (parsed_first, stored) = parsed_with(text, None, &BTreeMap::new(), &overrides).unwrap();
    assert!(!format!("{stored:?}").contains("7731"), "{stored:?}");
    let view = stored.azureml_json("x", None, None);
    let (parsed_view, _) = parsed(&view).unwrap();
    assert_eq!(parsed_view.definition, parsed_first.definition, "{view}");
}

#[test]
fn a_saved_folder_is_read_as_one_document() {
    let files = BTreeMap::from([
        (
            "conda_dependencies.yml".to_owned(),
            "dependencies: [python=3.11, {pip: ['--index-url https://u:pw-7731@h.example.org/s', x]}]"
                .to_owned(),
        ),
        ("BaseDockerfile".to_owned(), "FROM debian:12\n".to_owned()),
    ]);
    let text = r#"{"name": "x", "docker": {"baseImage": null}, "python": {"condaDependenciesFile": null}}"#;
    let (parsed_first, stored) = parsed_with(text, None, &files, &Overrides::default()).unwrap();
    assert!(!format!("{stored:?}").contains("7731"), "{stored:?}");
    let view = stored.azureml_json("x", None, None);
    let (parsed_view, _) = parsed(&view).unwrap();
    assert_eq!(parsed_view.definition, parsed_first.definition, "{view}");
}
