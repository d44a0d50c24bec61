//! From the bytes of an environment to its hash.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kiln_spec::{Definition, Input, Kind, Overrides, parse};

fn main() {
    divan::main();
}

/// A conda file with so many packages, half of them pip's, as an export writes them.
fn environment(packages: usize) -> String {
    let mut text =
        String::from("name: bench\nchannels:\n- conda-forge\ndependencies:\n- python=3.11\n");
    for n in 0..packages / 2 {
        writeln!(text, "- package-{n}>=1.{n}.0,<{}", n + 2)
            .expect("writing to a String never fails");
    }
    text.push_str("- pip:\n");
    for n in packages / 2..packages {
        writeln!(text, "  - Package_{n}[extra]==1.{n}.0").expect("writing to a String never fails");
    }
    text
}

fn definition(text: &str) -> Definition {
    read(text, Some(Kind::Conda))
}

fn json_definition(text: &str) -> Definition {
    read(text, None)
}

fn read(text: &str, kind: Option<Kind>) -> Definition {
    let (files, overrides) = (BTreeMap::new(), Overrides::default());
    let input = Input {
        file_name: "environment.yml",
        bytes: text.as_bytes(),
        kind,
        files: &files,
        overrides: &overrides,
    };
    parse(&input).expect("the environment is valid").definition
}

/// Reading, checking and canonicalising, and then hashing.
#[divan::bench(args = [50, 200])]
fn parse_and_hash(bencher: divan::Bencher, packages: usize) {
    let text = environment(packages);
    bencher.bench(|| definition(divan::black_box(&text)).spec_hash());
}

/// The same environment as an Azure ML document holds it.
#[divan::bench(args = [50, 200])]
fn parse_and_hash_json(bencher: divan::Bencher, packages: usize) {
    let conda: Vec<String> = (0..packages / 2)
        .map(|n| format!("\"package-{n}>=1.{n}.0,<{}\"", n + 2))
        .collect();
    let pip: Vec<String> = (packages / 2..packages)
        .map(|n| format!("\"Package_{n}[extra]==1.{n}.0\""))
        .collect();
    let text = format!(
        "{{\"channels\": [\"conda-forge\"], \"dependencies\": [{}, {{\"pip\": [{}]}}]}}",
        conda.join(", "),
        pip.join(", ")
    );
    let text = divan::black_box(text);
    bencher.bench(|| json_definition(&text).spec_hash());
}

/// Canonical JSON and hash of a definition that is there.
#[divan::bench(args = [50, 200])]
fn hash(bencher: divan::Bencher, packages: usize) {
    let definition = definition(&environment(packages));
    bencher.bench(|| divan::black_box(&definition).spec_hash());
}
