//! Real and hostile files parse, or are refused with file, line and reason; none panics, none is slow.
//!
//! `KILN_CORPUS` names a folder with `conda`, `requirements` and `azureml` in it, `KILN_AZUREML` one of Azure ML
//! bodies; without them the project's own fixtures are read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_spec::{Definition, Input, Overrides, Parsed, SpecErrors, parse};

fn own_fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/specs")
}

/// All files below a folder, by their path in it, sorted.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut folders = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("the folder is there") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path
                    .strip_prefix(folder)
                    .expect("it is below")
                    .display()
                    .to_string();
                found.push((name, std::fs::read(&path).expect("the file can be read")));
            }
        }
    }
    found.sort();
    found
}

fn read(name: &str, bytes: &[u8], files: &BTreeMap<String, String>) -> Result<Parsed, SpecErrors> {
    let overrides = Overrides::default();
    parse(&Input {
        file_name: name,
        bytes,
        kind: None,
        files,
        overrides: &overrides,
    })
}

/// Files that lie beside a document, as the command line would supply them.
fn beside(name: &str, all: &[(String, Vec<u8>)]) -> BTreeMap<String, String> {
    let folder = name
        .rsplit_once('/')
        .map_or(String::new(), |(folder, _)| format!("{folder}/"));
    all.iter()
        .filter(|(other, _)| other != name)
        .filter_map(|(other, bytes)| {
            let relative = other.strip_prefix(&folder)?;
            Some((relative.to_owned(), String::from_utf8(bytes.clone()).ok()?))
        })
        .collect()
}

#[test]
fn own_fixtures_have_the_definitions_and_the_errors_that_are_recorded() {
    let all = files(&own_fixtures());
    let (mut definitions, mut errors) = (String::new(), String::new());
    for (name, bytes) in &all {
        let refused = name.starts_with("refused/");
        match read(name, bytes, &beside(name, &all)) {
            Ok(parsed) => {
                assert!(!refused, "{name} is not refused");
                let json = parsed.definition.canonical_json();
                assert_eq!(
                    Definition::from_canonical_json(&json).unwrap(),
                    parsed.definition,
                    "{name}"
                );
                let hash = parsed.definition.spec_hash();
                writeln!(definitions, "{name} ({})\n  {json}\n  {hash}", parsed.kind).unwrap();
                for credential in &parsed.credentials {
                    writeln!(definitions, "  credential: {credential:?}").unwrap();
                }
                for warning in &parsed.warnings {
                    writeln!(definitions, "  warning: {warning}").unwrap();
                }
            }
            Err(found) => {
                // What belongs to a document and is none by itself.
                let part = name == "azureml-folder/BaseDockerfile";
                assert!(refused || part, "{found}");
                writeln!(errors, "{found}").unwrap();
            }
        }
    }
    for text in [&definitions, &errors] {
        assert!(
            !text.contains("parrot") && !text.contains("to-ken"),
            "a secret is told"
        );
    }
    insta::assert_snapshot!("definitions", definitions);
    insta::assert_snapshot!("errors", errors);
}

#[test]
fn real_files_parse_or_are_refused_with_file_line_and_reason() {
    let (mut parsed, mut refused) = (0, 0);
    for variable in ["KILN_CORPUS", "KILN_AZUREML"] {
        let Some(folder) = std::env::var_os(variable).map(PathBuf::from) else {
            continue;
        };
        for (name, bytes) in files(&folder) {
            let of_kind = ["conda/", "requirements/", "azureml/"]
                .iter()
                .any(|kind| name.starts_with(kind));
            if variable == "KILN_CORPUS" && !of_kind {
                continue;
            }
            let began = Instant::now();
            let result = read(&name, &bytes, &BTreeMap::new());
            let took = began.elapsed();
            match result {
                Ok(file) => {
                    parsed += 1;
                    println!(
                        "{:12} {} {name}",
                        file.kind,
                        file.definition.spec_hash().short()
                    );
                }
                Err(errors) => {
                    refused += 1;
                    for error in errors.iter() {
                        let included =
                            error.line.is_none() && error.reason.contains("not supplied");
                        assert!(error.line.is_some() || included, "no line: {error}");
                        assert!(
                            !error.reason.is_empty() && !error.remedy.is_empty(),
                            "{error}"
                        );
                    }
                    let more = errors.iter().count() - 1;
                    println!("refused      {} (+{more})", errors.iter().next().unwrap());
                }
            }
            assert!(took < Duration::from_secs(1), "{name} took {took:?}");
        }
    }
    println!("{parsed} parsed, {refused} refused");
}

#[test]
fn a_saved_folder_is_read_whole() {
    let folder = own_fixtures().join("azureml-folder");
    let all = files(&folder);
    let document = &all
        .iter()
        .find(|(name, _)| name == "azureml_environment.json")
        .unwrap()
        .1;
    let parsed = read(
        "azureml_environment.json",
        document,
        &beside("azureml_environment.json", &all),
    )
    .unwrap();
    let json = parsed.definition.canonical_json();
    assert!(
        json.contains("rope-walk==3.1") && json.contains("RUN touch /moored"),
        "{json}"
    );
    let alone = read("azureml_environment.json", document, &BTreeMap::new()).unwrap_err();
    assert!(
        alone
            .to_string()
            .contains("`conda_dependencies.yml` was supplied"),
        "{alone}"
    );
}

/// A quarter of the limit of 1 MiB shows what grows faster than the document, and keeps the test short.
const HOSTILE_BYTES: usize = 1 << 18;

/// Documents that are costly to a careless reader.
#[test]
fn hostile_documents_are_refused_or_read_in_time() {
    let full = |unit: &str| unit.repeat(HOSTILE_BYTES / unit.len());
    let numbered = |line: fn(usize) -> String| {
        let mut text = String::from("dependencies: []\n");
        let mut number = 0;
        while text.len() < HOSTILE_BYTES - 40 {
            text.push_str(&line(number));
            number += 1;
        }
        text
    };
    let documents = [
        full("["),
        full("{"),
        full("[{\"a\":"),
        format!("dependencies: {}", full("[")),
        format!("dependencies: {}", full("- ")),
        format!("dependencies:\n{}", full("- a\n").trim_end()),
        format!("dependencies: [{}]", full("a,").trim_end_matches("a,")),
        format!(
            "dependencies: [{}a] # [linux]",
            "a,".repeat(HOSTILE_BYTES / 2 - 20)
        ),
        format!(
            "{{\"dependencies\": [{}\"a\"]}}",
            "\"a\",".repeat(HOSTILE_BYTES / 4 - 20)
        ),
        format!("dependencies:\n{}", full("- a # [linux]\n")),
        format!("dependencies: {}", full("? ")),
        format!("dependencies: \"{}", full("a")),
        format!("dependencies: {}", full("a: ")),
        format!("dependencies:\n  - {}", full("&a ")),
        format!("dependencies: !{}", full("!")),
        format!("dependencies:\n{}", full(" ")),
        format!("dependencies: |\n{}", full(" a\n")),
        numbered(|n| format!("k{n}: 1\n")),
        numbered(|n| format!("k{n}: &k{n} x\n")),
        full("a\\\n"),
        full("a\n"),
        full("a==1 ;"),
        full("-i https://h.org/a\n"),
        format!("a ; {}", full("(")),
        format!("a ; {}", full("os_name=='a' and ")),
        format!("a{}", full(",>1")),
        format!("--no-binary {}", full("a,b,")),
        format!("dependencies:\n- a {}", full("(")),
        format!("dependencies:\n- a {}", full("1|")),
        format!("dependencies:\n- a {}", full("1 ")),
        format!("dependencies:\n- a[{}]", full("k=v,")),
        format!("dependencies:\n- https://{}", full("@://")),
        format!("{{\"docker\": {{\"baseImage\": \"{}\"}}}}", full("a/")),
    ];
    for mut text in documents {
        text.truncate(HOSTILE_BYTES);
        let began = Instant::now();
        let result = read("hostile", text.as_bytes(), &BTreeMap::new());
        let took = began.elapsed();
        let start: String = text.chars().take(40).collect();
        println!("{took:>10.2?} {:?} {start:?}", result.is_ok());
        // 50 ms in a release build; tests run without optimisation, on a busy machine.
        assert!(took < Duration::from_secs(2), "{start:?} took {took:?}");
    }
    let large = "a\n".repeat(1 << 19) + "a";
    assert!(
        read("large", large.as_bytes(), &BTreeMap::new())
            .unwrap_err()
            .to_string()
            .contains("larger")
    );
}

#[test]
fn files_that_include_each_other_end() {
    let line = |n: usize| {
        format!(
            "-r f{}.txt\n-r f{}.txt\n-c f{}.txt\np{n}\n",
            n + 1,
            n + 2,
            n + 1
        )
    };
    let files: BTreeMap<String, String> = (0..14).map(|n| (format!("f{n}.txt"), line(n))).collect();
    let began = Instant::now();
    let result = read("start.txt", b"-r f0.txt", &files);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(result.unwrap_err().to_string().contains("was not supplied"));
    let circle = BTreeMap::from([
        ("a.txt".to_owned(), "-r b.txt\n".to_owned()),
        ("b.txt".to_owned(), "x\n-r ./a.txt\n".to_owned()),
    ]);
    let errors = read("start.txt", b"-r a.txt", &circle)
        .unwrap_err()
        .to_string();
    assert!(
        errors.starts_with("b.txt:2:") && errors.contains("includes itself"),
        "{errors}"
    );
}
