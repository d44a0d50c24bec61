//! The vectors of the format: `tests/vectors/spec-hash.json`.

use std::collections::{BTreeMap, BTreeSet};

use kiln_spec::{Input, Kind, Overrides, Parsed, parse};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    format: String,
    equal: Vec<Group>,
    different: Vec<Pair>,
}

#[derive(Deserialize)]
struct Group {
    name: String,
    spec_hash: String,
    canonical: String,
    inputs: Vec<Document>,
}

#[derive(Deserialize)]
struct Pair {
    name: String,
    a: Document,
    b: Document,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    kind: Option<String>,
    text: String,
    #[serde(default)]
    encoding: String,
    #[serde(default)]
    overrides: Given,
    #[serde(default)]
    files: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Given {
    base: Option<String>,
    #[serde(default)]
    gpu: bool,
    platform: Option<String>,
}

impl Document {
    fn bytes(&self) -> Vec<u8> {
        let units = |bytes: fn(u16) -> [u8; 2]| self.text.encode_utf16().flat_map(bytes);
        match self.encoding.as_str() {
            "utf-8-bom" => [b"\xef\xbb\xbf", self.text.as_bytes()].concat(),
            "utf-16le-bom" => [0xff, 0xfe]
                .into_iter()
                .chain(units(u16::to_le_bytes))
                .collect(),
            "utf-16be-bom" => [0xfe, 0xff]
                .into_iter()
                .chain(units(u16::to_be_bytes))
                .collect(),
            _ => self.text.clone().into_bytes(),
        }
    }

    fn parsed(&self, name: &str) -> Parsed {
        let overrides = Overrides {
            base: self.overrides.base.clone(),
            gpu: self.overrides.gpu,
            platform: self.overrides.platform.clone(),
        };
        let kind = self
            .kind
            .as_ref()
            .map(|kind| kind.parse::<Kind>().expect("a kind"));
        let bytes = self.bytes();
        let input = Input {
            file_name: "vector",
            bytes: &bytes,
            kind,
            files: &self.files,
            overrides: &overrides,
        };
        parse(&input).unwrap_or_else(|errors| panic!("{name}: {}\n{errors}", self.text))
    }
}

fn vectors() -> Vectors {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/spec-hash.json"
    );
    let text = std::fs::read_to_string(path).expect("the vectors are there");
    serde_json::from_str(&text).expect("the vectors have their form")
}

#[test]
fn equal_inputs_share_the_hash_of_their_group() {
    let vectors = vectors();
    assert_eq!(vectors.format, "kiln-spec-v1");
    assert!(vectors.equal.len() >= 100);
    for group in &vectors.equal {
        for document in &group.inputs {
            let definition = document.parsed(&group.name).definition;
            let name = format!("{}: {}", group.name, document.text);
            assert_eq!(definition.canonical_json(), group.canonical, "{name}");
            assert_eq!(definition.spec_hash().to_hex(), group.spec_hash, "{name}");
        }
    }
}

#[test]
fn different_inputs_have_different_hashes() {
    let vectors = vectors();
    assert!(vectors.different.len() >= 100);
    for pair in &vectors.different {
        let (a, b) = (pair.a.parsed(&pair.name), pair.b.parsed(&pair.name));
        assert_ne!(
            a.definition.spec_hash(),
            b.definition.spec_hash(),
            "{}",
            pair.name
        );
    }
}

#[test]
fn the_groups_are_different_from_each_other_where_their_definitions_are() {
    let vectors = vectors();
    let definitions: BTreeSet<&str> = vectors.equal.iter().map(|g| g.canonical.as_str()).collect();
    let hashes: BTreeSet<&str> = vectors.equal.iter().map(|g| g.spec_hash.as_str()).collect();
    assert_eq!(definitions.len(), hashes.len());
}
