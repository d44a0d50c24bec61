//! Flips every field of every environment, one at a time, and sees that the spec hash changes exactly where the
//! field table says so. `KILN_AZUREML` names a folder of further real environments.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kiln_spec::{Condition, Enters, FIELDS, Field, Input, Kind, Overrides, parse};
use serde_json::{Value, json};

fn hash(document: &Value, kind: Kind) -> Result<String, String> {
    let bytes = serde_json::to_vec(document).unwrap();
    let (files, overrides) = (BTreeMap::new(), Overrides::default());
    let input = Input {
        file_name: "environment.json",
        bytes: &bytes,
        kind: Some(kind),
        files: &files,
        overrides: &overrides,
    };
    match parse(&input) {
        Ok(parsed) => Ok(parsed.definition.spec_hash().to_hex()),
        Err(errors) => Err(errors.to_string()),
    }
}

/// Where a value stands: map keys and list positions.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Item(usize),
}

fn leaves(value: &Value, path: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                path.push(Step::Key(key.clone()));
                leaves(value, path, found);
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (position, value) in items.iter().enumerate() {
                path.push(Step::Item(position));
                leaves(value, path, found);
                path.pop();
            }
        }
        _ => found.push(path.clone()),
    }
}

fn at<'v>(document: &'v mut Value, path: &[Step]) -> &'v mut Value {
    path.iter().fold(document, |value, step| match step {
        Step::Key(key) => value.get_mut(key).unwrap(),
        Step::Item(position) => value.get_mut(*position).unwrap(),
    })
}

/// A field without regard to case, or null.
fn get<'v>(value: &'v Value, path: &[&str]) -> &'v Value {
    path.iter().fold(value, |value, key| {
        let found = value.as_object().and_then(|map| {
            map.iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(key))
                .map(|(_, value)| value)
        });
        found.unwrap_or(&Value::Null)
    })
}

fn path_text(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text = format!("{text}.{key}"),
            Step::Item(_) => text.push_str("[]"),
        }
    }
    text
}

/// The row of a path; an empty list or map is its own field.
fn row(document: &str, path: &str) -> Option<&'static Field> {
    let matches = |pattern: &str, path: &str| {
        if let Some(start) = pattern.strip_suffix(".**") {
            return path.len() > start.len() && path[..start.len()].eq_ignore_ascii_case(start);
        }
        if let Some(start) = pattern.strip_suffix(".*") {
            let rest = path
                .get(start.len()..)
                .and_then(|rest| rest.strip_prefix('.'));
            return path
                .get(..start.len())
                .is_some_and(|p| p.eq_ignore_ascii_case(start))
                && rest.is_some_and(|rest| !rest.contains('.'));
        }
        pattern.eq_ignore_ascii_case(path)
    };
    FIELDS
        .iter()
        .find(|field| field.document == document && matches(field.path, path))
}

fn holds(condition: Condition, document: &Value, kind: Kind) -> bool {
    let managed = get(document, &["python", "userManagedDependencies"]) != &json!(true);
    let conda = if kind == Kind::Conda {
        document
    } else {
        get(document, &["python", "condaDependencies"])
    };
    let spec = |item: &&Value| item.is_string();
    let asked = get(conda, &["dependencies"])
        .as_array()
        .is_some_and(|d| d.iter().any(|i| spec(&i)))
        || get(conda, &["variables"])
            .as_object()
            .is_some_and(|v| !v.is_empty());
    let image = get(document, &["docker", "baseImage"])
        .as_str()
        .unwrap_or_default();
    let sdk_default =
        image.contains("openmpi4.1.0-ubuntu") || image.contains("intelmpi2018.3-ubuntu16.04");
    let gpu = get(document, &["docker", "gpuSupport"]) == &json!(true);
    let host = image
        .split_once('/')
        .is_some_and(|(host, _)| host.contains(['.', ':']));
    let spark = get(document, &["spark"]);
    let filled = |value: &Value| value.as_array().is_some_and(|items| !items.is_empty());
    let own_base = [["docker", "baseDockerfile"], ["docker", "buildContext"]]
        .iter()
        .any(|path| !get(document, path).is_null());
    match condition {
        Condition::KilnManaged => managed,
        Condition::UserManaged => !managed,
        Condition::CondaAsked => managed && asked,
        Condition::ImageWithoutHost => !image.is_empty() && !host,
        Condition::DefaultBase => !own_base && (image.is_empty() || sdk_default),
        Condition::BaseKept => !(gpu && sdk_default),
        Condition::SparkAsked => {
            filled(get(spark, &["packages"])) || filled(get(spark, &["repositories"]))
        }
        Condition::RUserManaged => get(document, &["r", "userManaged"]) == &json!(true),
    }
}

/// Another value for a field, of the same type, that the field takes.
fn flipped(path: &str, value: &Value) -> Option<Value> {
    let lower = path.to_ascii_lowercase();
    let field = lower.rsplit('.').next().unwrap();
    Some(match value {
        Value::Bool(set) => json!(!set),
        Value::String(text) => json!(match field {
            _ if lower.ends_with("pip[]") => match text.as_str() {
                // A comment or an empty line becomes a requirement.
                text if text.is_empty() || text.starts_with('#') => "flipped".to_owned(),
                text if text.starts_with('-') => format!("{text}-flipped"),
                text if text.contains("://") => text.replace("://", "://flipped."),
                text => format!("flipped-{text}"),
            },
            "dependencies[]" => match text.strip_prefix("python") {
                Some(_) => "python=3.99".to_owned(),
                None => format!("flipped-{text}"),
            },
            "locationtype" => if text == "git" {
                "storageAccount"
            } else {
                "git"
            }
            .to_owned(),
            "location" | "customurlpackages[]" | "repositories[]" | "repository" => {
                if text.contains("://") {
                    text.replace("://", "://flipped.")
                } else {
                    format!("{text}/flipped")
                }
            }
            "snapshotdate" => "1999-12-31".to_owned(),
            "architecture" => "arm64".to_owned(),
            "baseimage" => "debian:flipped".to_owned(),
            "baseimageregistry" | "address" => "flipped.example.org".to_owned(),
            // One value alone, or half of a pair: no other is taken.
            "os" | "inferencingstackversion" | "username" | "password" => return None,
            _ => format!("{text}-flipped"),
        }),
        Value::Null => match field {
            "assetid"
            | "version"
            | "shmsize"
            | "condadependenciesfile"
            | "baseimage"
            | "name"
            | "prefix"
            | "basecondaenvironment"
            | "rscriptpath"
            | "rversion"
            | "address" => json!("flipped.example.org/x"),
            "inferencingstackversion" => json!("latest"),
            "snapshotdate" => json!("1999-12-31"),
            // A map, half of a pair, or what excludes another field.
            _ => return None,
        },
        Value::Array(_) => match field {
            "arguments" => json!(["--flipped"]),
            "channels" => json!(["flipped"]),
            "packages" => json!([{"group": "flipped", "artifact": "a", "version": "1"}]),
            "repositories" | "customurlpackages" => json!(["https://flipped.example.org"]),
            "mavenlibraries" | "pypilibraries" | "rcranlibraries" | "jarlibraries"
            | "egglibraries" => {
                json!([{"library": "flipped"}])
            }
            _ => return None,
        },
        Value::Object(_) => match field {
            "environmentvariables" | "variables" => json!({"FLIPPED": "1"}),
            _ => return None,
        },
        Value::Number(_) => json!(4711),
    })
}

/// The path of the row for a leaf: an empty list or map stands for its items.
fn row_path(path: &str, value: &Value) -> String {
    match value {
        Value::Array(_) if path.to_ascii_lowercase().ends_with("spark.packages") => {
            format!("{path}[].group")
        }
        Value::Array(_) if !path.to_ascii_lowercase().starts_with("databricks") => {
            format!("{path}[]")
        }
        Value::Object(_) => format!("{path}.X"),
        _ => path.to_owned(),
    }
}

const EXCLUSIVE: [&str; 3] = [
    "more than one of baseImage, baseDockerfile and buildContext",
    "a build context can't be combined with it",
    "there are no conda dependencies",
];

fn flip_all(name: &str, document: &Value, kind: Kind, seen: &mut BTreeSet<&'static str>) -> usize {
    let Ok(original) = hash(document, kind) else {
        return 0;
    };
    let mut found = Vec::new();
    leaves(document, &mut Vec::new(), &mut found);
    let mut flips = 0;
    for path in found {
        let text = path_text(&path);
        let mut changed = document.clone();
        let value = at(&mut changed, &path).clone();
        let field = row(kind.as_str(), &row_path(&text, &value))
            .or_else(|| row(kind.as_str(), &text))
            .or_else(|| {
                value
                    .is_null()
                    .then(|| row(kind.as_str(), &format!("{text}.X")))
                    .flatten()
            });
        let Some(field) = field else {
            // Maps and lists that are null hold fields, and are none.
            assert!(
                value.is_null() || value.is_array(),
                "{name}: no row for {text}"
            );
            continue;
        };
        let Some(new) = flipped(&text, &value) else {
            continue;
        };
        *at(&mut changed, &path) = new;
        let expected = match field.spec_hash {
            Enters::Always => true,
            Enters::Never => false,
            Enters::When(condition) => {
                holds(condition, document, kind) || holds(condition, &changed, kind)
            }
        };
        let now = match hash(&changed, kind) {
            Ok(now) => now,
            // The one field excludes the other: nothing is hashed.
            Err(errors) if EXCLUSIVE.iter().any(|reason| errors.contains(reason)) => continue,
            Err(errors) => panic!("{name}: {text} flipped is refused: {errors}\n{changed}"),
        };
        // A channel list, a wheel: what is user-managed is not read at all.
        assert_eq!(
            now != original,
            expected,
            "{name}: {text} ({})\n{changed}",
            field.path
        );
        seen.insert(field.path);
        flips += 1;
    }
    flips
}

fn environments() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/specs/azureml");
    let further = std::env::var_os("KILN_AZUREML").map(PathBuf::from);
    let mut paths: Vec<PathBuf> = [Some(own), further]
        .into_iter()
        .flatten()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    paths.sort();
    paths
}

#[test]
fn every_field_changes_exactly_the_keys_that_the_table_names() {
    let (mut flips, mut seen) = (0, BTreeSet::new());
    for path in environments() {
        let document: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        flips += flip_all(&name, &document, Kind::AzureMl, &mut seen);
        let conda = get(&document, &["python", "condaDependencies"]);
        if conda.is_object() {
            flips += flip_all(&name, conda, Kind::Conda, &mut seen);
        }
    }
    println!("{flips} flips of {} fields", seen.len());
    // What has one value alone, or comes in pairs, has tests of its own below.
    let never_flipped: Vec<&str> = FIELDS
        .iter()
        .filter(|field| {
            ["azureml", "conda"].contains(&field.document) && !seen.contains(field.path)
        })
        .map(|field| field.path)
        .collect();
    assert_eq!(
        never_flipped,
        [
            "docker.baseImageRegistry.username",
            "docker.baseImageRegistry.password",
            "docker.platform.os",
        ]
    );
}

fn environment(docker: &Value) -> Value {
    json!({
        "name": "x",
        "python": {"condaDependencies": {"dependencies": ["python=3.11"]}},
        "docker": docker,
    })
}

#[test]
fn credentials_of_a_registry_change_nothing_and_windows_is_refused() {
    let with = |registry: Value| {
        hash(
            &environment(&json!({"baseImage": "team/base:1", "baseImageRegistry": registry})),
            Kind::AzureMl,
        )
    };
    let plain = with(json!({"address": "h.example.org"})).unwrap();
    assert_eq!(with(json!("h.example.org")).unwrap(), plain);
    assert_eq!(with(json!("https://h.example.org/")).unwrap(), plain);
    let secret = json!({"address": "h.example.org", "username": "me", "password": "p"});
    assert_eq!(with(secret).unwrap(), plain);
    let known = json!({"address": "h.example.org", "username": "me", "password": null});
    assert_eq!(with(known).unwrap(), plain);
    assert!(with(json!({"address": "h.example.org", "password": "p"})).is_err());
    let windows =
        json!({"baseImage": "x:1", "platform": {"os": "Windows", "architecture": "amd64"}});
    assert!(
        hash(&environment(&windows), Kind::AzureMl)
            .unwrap_err()
            .contains("not Linux")
    );
}

#[test]
fn overrides_change_what_the_table_says() {
    let hash = |text: &str, overrides: &Overrides, files: &BTreeMap<String, String>| {
        let input = Input {
            file_name: "x",
            bytes: text.as_bytes(),
            kind: None,
            files,
            overrides,
        };
        parse(&input).unwrap().definition.spec_hash()
    };
    let (none, files) = (Overrides::default(), BTreeMap::new());
    let plain = hash("numpy\n", &none, &files);
    let base = Overrides {
        base: Some("debian:12".into()),
        ..none.clone()
    };
    let gpu = Overrides {
        gpu: true,
        ..none.clone()
    };
    let platform = Overrides {
        platform: Some("linux/arm64".into()),
        ..none.clone()
    };
    for overrides in [&base, &gpu, &platform] {
        assert_ne!(hash("numpy\n", overrides, &files), plain);
    }
    let both = Overrides {
        gpu: true,
        ..base.clone()
    };
    assert_eq!(
        hash("numpy\n", &both, &files),
        hash("numpy\n", &base, &files)
    );
    let default_platform = Overrides {
        platform: Some("Linux/x86_64".into()),
        ..none.clone()
    };
    assert_eq!(hash("numpy\n", &default_platform, &files), plain);
    let file = |text: &str| BTreeMap::from([("c.txt".to_owned(), text.to_owned())]);
    let one = hash("numpy\n-c c.txt\n", &none, &file("scipy<2"));
    assert_ne!(one, hash("numpy\n-c c.txt\n", &none, &file("scipy<3")));
    assert_eq!(hash("numpy\n", &none, &file("scipy<3")), plain);
}
