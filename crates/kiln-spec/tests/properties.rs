//! What holds for every input.

use std::collections::{BTreeMap, BTreeSet};

use kiln_spec::{Definition, Input, Kind, Overrides, Parsed, SpecErrors, parse};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

fn read(bytes: &[u8], kind: Option<Kind>) -> Result<Parsed, SpecErrors> {
    let (files, overrides) = (BTreeMap::new(), Overrides::default());
    parse(&Input {
        file_name: "x",
        bytes,
        kind,
        files: &files,
        overrides: &overrides,
    })
}

fn hash(document: &Value) -> String {
    let text = serde_json::to_string(document).expect("JSON");
    let parsed = read(text.as_bytes(), None).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    parsed.definition.spec_hash().to_hex()
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,6}([-_.][a-z0-9]{1,4})?"
}

fn version() -> impl Strategy<Value = String> {
    "[0-9]{1,2}(\\.[0-9]{1,2}){0,3}((a|b|rc)[1-9])?"
}

/// A conda dependency in one of conda's forms.
fn match_spec() -> impl Strategy<Value = String> {
    let operator = select(vec!["=", "==", ">=", "<", "!=", "~=", " ", " >= "]);
    prop_oneof![
        name(),
        (name(), operator.clone(), version()).prop_map(|(n, o, v)| format!("{n}{o}{v}")),
        (name(), version(), version()).prop_map(|(n, a, b)| format!("{n} >={a},<{b}|=={a}")),
        (name(), version(), "[a-z0-9_]{1,8}").prop_map(|(n, v, b)| format!("{n}={v}={b}")),
        (name(), name()).prop_map(|(c, n)| format!("{c}::{n}")),
    ]
}

/// A pip requirement.
fn requirement() -> impl Strategy<Value = String> {
    let operator = select(vec!["==", ">=", "<", "!=", "<=", ">", "==="]);
    let specifiers = vec(
        (operator, version()).prop_map(|(o, v)| format!("{o}{v}")),
        0..3,
    );
    let extras = vec("[a-z]{1,5}", 0..3);
    let comparison = select(vec![
        "python_version >= '3.8'",
        "'3.12'>python_version",
        "sys_platform==\"linux\"",
        "os.name != 'nt'",
        "extra == 'A_b'",
        "'x' in platform_version",
    ]);
    let marker = vec((comparison, select(vec![" and ", " or "])), 0..4).prop_map(|parts| {
        let mut text = String::new();
        for (comparison, join) in parts {
            let join = if text.is_empty() { "" } else { join };
            text = format!("{text}{join}{comparison}");
        }
        text
    });
    (name(), extras, specifiers, marker).prop_map(|(name, extras, specifiers, marker)| {
        let extras = if extras.is_empty() {
            String::new()
        } else {
            format!("[{}]", extras.join(","))
        };
        let marker = if marker.is_empty() {
            marker
        } else {
            format!(" ; {marker}")
        };
        format!("{name}{extras}{}{marker}", specifiers.join(","))
    })
}

fn conda(specs: &[String], pip: &[String]) -> Value {
    let mut dependencies: Vec<Value> = specs.iter().map(|spec| json!(spec)).collect();
    dependencies.push(json!({"pip": pip}));
    json!({"channels": ["c"], "dependencies": dependencies})
}

/// Pieces of documents, so that random texts reach beyond the first character.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        select(vec![
            "dependencies:",
            "channels:",
            "\n",
            "\n- ",
            "  - ",
            "pip:",
            "{",
            "}",
            "[",
            "]",
            "\"",
            "'",
            ",",
            ": ",
            "#",
            " ",
            "\\\n",
            "-r ",
            "-e ",
            "--hash=sha256:",
            "--",
            "git+https://",
            "https://",
            "@",
            ";",
            "::",
            "==",
            ">=",
            "~=",
            "=",
            "|",
            "*",
            "(",
            ")",
            "&a ",
            "*a",
            "!!str ",
            "---",
            "${X}",
            "\t",
            "\0",
            "\u{85}",
            "é",
            "😀",
            "python",
            "docker",
            "\"dependencies\": [",
            "{\"python\": {",
            "numpy",
            "1.0",
            "0",
            "null",
            "true",
            "file:",
            "../",
            "%",
            "?",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn kinds() -> [Option<Kind>; 4] {
    [
        None,
        Some(Kind::Conda),
        Some(Kind::AzureMl),
        Some(Kind::Requirements),
    ]
}

proptest! {
    #[test]
    fn order_of_dependencies_does_not_count(
        specs in vec(match_spec(), 1..8),
        pip in vec(requirement(), 0..8),
        seed in any::<u64>(),
    ) {
        let rotate = |list: &[String]| {
            let mut list = list.to_vec();
            let by = usize::try_from(seed % (list.len().max(1) as u64)).unwrap_or(0);
            list.rotate_left(by);
            list.extend(list.first().cloned());
            list.reverse();
            list
        };
        prop_assert_eq!(hash(&conda(&specs, &pip)), hash(&conda(&rotate(&specs), &rotate(&pip))));
    }

    #[test]
    fn canonical_texts_are_their_own_canonical_form(
        specs in vec(match_spec(), 1..8),
        pip in vec(requirement(), 0..8),
    ) {
        let text = conda(&specs, &pip).to_string();
        let definition = read(text.as_bytes(), None).unwrap().definition;
        let json = definition.canonical_json();
        prop_assert_eq!(&Definition::from_canonical_json(&json).unwrap(), &definition);
        let (conda_section, pip_section) = (definition.conda.unwrap(), definition.pip.unwrap_or_default());
        let pip: Vec<String> = pip_section.requirements.into_iter().map(|r| r.requirement).collect();
        let again = conda(&conda_section.dependencies, &pip).to_string();
        prop_assert_eq!(read(again.as_bytes(), None).unwrap().definition.canonical_json(), json);
    }

    #[test]
    fn canonical_requirements_mean_what_was_written(text in requirement()) {
        use std::str::FromStr as _;
        type Requirement = pep508_rs::Requirement<pep508_rs::VerbatimUrl>;
        let parsed = read(text.as_bytes(), Some(Kind::Requirements)).unwrap();
        let canonical = &parsed.definition.pip.unwrap().requirements[0].requirement;
        let (ours, theirs) = (Requirement::from_str(canonical).unwrap(), Requirement::from_str(&text).unwrap());
        prop_assert_eq!(&ours.name, &theirs.name);
        let set = |requirement: &Requirement| requirement.extras.iter().cloned().collect::<BTreeSet<_>>();
        prop_assert_eq!(set(&ours), set(&theirs));
        prop_assert_eq!(ours.marker.try_to_string(), theirs.marker.try_to_string());
        for version in ["0", "1", "1.0", "1.0a1", "2.5", "10.20.30", "99"] {
            let version = pep440_rs::Version::from_str(version).unwrap();
            let allows = |requirement: &Requirement| match &requirement.version_or_url {
                Some(pep508_rs::VersionOrUrl::VersionSpecifier(s)) => s.contains(&version),
                _ => true,
            };
            prop_assert_eq!(allows(&ours), allows(&theirs), "{} at {}", text, version);
        }
    }

    #[test]
    fn different_pins_and_variables_have_different_hashes(
        a in btree_map("[a-z]{1,3}", "[1-9]{1,3}", 1..4),
        b in btree_map("[a-z]{1,3}", "[1-9]{1,3}", 1..4),
    ) {
        prop_assume!(a != b);
        let pins = |map: &BTreeMap<String, String>| {
            let pins: Vec<String> = map.iter().map(|(name, version)| format!("{name}=={version}")).collect();
            hash(&conda(&pins, &[]))
        };
        prop_assert_ne!(pins(&a), pins(&b));
        let pip = |map: &BTreeMap<String, String>| {
            let pins: Vec<String> = map.iter().map(|(name, version)| format!("{name}=={version}")).collect();
            hash(&conda(&["python".to_owned()], &pins))
        };
        prop_assert_ne!(pip(&a), pip(&b));
        let variables = |map: &BTreeMap<String, String>| hash(&json!({"dependencies": [], "variables": map}));
        prop_assert_ne!(variables(&a), variables(&b));
    }

    #[test]
    fn a_secret_is_nowhere_but_among_the_credentials(
        secret in "[a-zA-Z0-9]{12,24}",
        place in 0usize..7,
        broken in any::<bool>(),
    ) {
        let host = if broken { "[h" } else { "h.example.org" };
        let lines = [
            format!("-i https://u:{secret}@{host}/simple"),
            format!("x @ https://{host}/x.zip?sig={secret}"),
            format!("x @ https://{secret}@{host}/x.zip"),
            format!("--extra-index-url https://{host}/t/{secret}/simple"),
            format!("git+https://u:{secret}@{host}/x.git some more"),
            format!("x @ https://u:{secret}@{host}/x.zip ; nonsense"),
            format!("-f https://{host}/w/?token={secret}"),
        ];
        let result = read(format!("y\n{}\n", lines[place]).as_bytes(), Some(Kind::Requirements));
        let told = match &result {
            Ok(parsed) => {
                prop_assert_eq!(parsed.credentials[0].secret.expose().contains(&secret), true);
                format!("{parsed:?}{}", parsed.definition.canonical_json())
            }
            Err(errors) => format!("{errors}{errors:?}"),
        };
        prop_assert!(!told.contains(&secret), "{}", told);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
        for kind in kinds() {
            let _ = read(&bytes, kind);
        }
    }

    #[test]
    fn no_text_makes_it_panic_and_what_parses_is_canonical(text in pieces()) {
        for kind in kinds() {
            if let Ok(parsed) = read(text.as_bytes(), kind) {
                let json = parsed.definition.canonical_json();
                prop_assert_eq!(Definition::from_canonical_json(&json).unwrap(), parsed.definition);
            }
        }
    }

    #[test]
    fn no_dependency_or_requirement_makes_it_panic(text in pieces()) {
        let document = json!({
            "channels": [text],
            "dependencies": [text, {"pip": [text, format!("x{text}"), format!("x @ https://h{text}")]}],
            "variables": {"A": text},
        });
        if let Ok(parsed) = read(document.to_string().as_bytes(), None) {
            prop_assert!(!parsed.definition.canonical_json().chars().any(|c| c < ' '));
        }
        let environment = json!({
            "python": {"condaDependencies": {"dependencies": ["python", format!("x{text}")]}},
            "docker": {"baseImage": text, "baseImageRegistry": text, "platform": {"os": "linux", "architecture": text}},
            "r": {"customUrlPackages": [text], "cranPackages": [{"name": text}]},
        });
        let _ = read(environment.to_string().as_bytes(), None);
    }
}
