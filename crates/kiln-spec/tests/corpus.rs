//! Real files parse, or are refused with file, line where one is known, and reason; none panics.

use std::collections::BTreeMap;
use std::path::Path;

use kiln_spec::{Input, Overrides, parse};

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn every_file_of_the_corpus_parses_or_is_refused_with_a_reason() {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/specs");
    let mut found = Vec::new();
    for variable in ["KILN_CORPUS", "KILN_AZUREML"] {
        if let Some(folder) = std::env::var_os(variable) {
            for kind in ["conda", "requirements", "azureml", "."] {
                let folder = Path::new(&folder).join(kind);
                let corpus_root = variable == "KILN_CORPUS" && kind == ".";
                if folder.is_dir() && !corpus_root {
                    files(&folder, &mut found);
                }
            }
        }
    }
    files(Path::new(own), &mut found);
    let overrides = Overrides::default();
    let supplied = BTreeMap::new();
    let (mut parsed, mut refused) = (0, 0);
    for path in &found {
        let bytes = std::fs::read(path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let began = std::time::Instant::now();
        let input = Input {
            file_name: name,
            bytes: &bytes,
            kind: None,
            files: &supplied,
            overrides: &overrides,
        };
        match parse(&input) {
            Ok(parsed_file) => {
                parsed += 1;
                println!(
                    "ok      {name} {} {}",
                    parsed_file.kind,
                    parsed_file.definition.spec_hash().short()
                );
            }
            Err(errors) => {
                refused += 1;
                let text = errors.to_string();
                assert!(text.starts_with(name) || text.contains(": "), "{text}");
                println!("refused {text}");
            }
        }
        assert!(
            began.elapsed().as_millis() < 2000,
            "{name} took {:?}",
            began.elapsed()
        );
    }
    println!("{parsed} parsed, {refused} refused, of {}", found.len());
    assert!(parsed > refused);
}
