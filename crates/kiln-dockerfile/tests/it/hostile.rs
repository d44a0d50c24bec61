//! Hostile values never become instructions, and come back as they went in.

use std::collections::BTreeMap;

use parse_dockerfile::Instruction;
use proptest::prelude::*;

use crate::parser;
use crate::samples::{PATH, Sample};

/// Texts that break naive generators.
const NASTY: &[&str] = &[
    "\n",
    "\r",
    "\r\n",
    "\0",
    "\u{1b}",
    "\u{85}",
    "\u{2028}",
    "\u{2029}",
    "\u{a0}",
    "\u{feff}",
    "\t",
    " ",
    "\\",
    "\\\\",
    "\\n",
    "\"",
    "'",
    "`",
    "$",
    "$$",
    "$HOME",
    "${HOME}",
    "${HOME:-x}",
    "$(id)",
    "`id`",
    "#",
    "# escape=`",
    "# syntax=evil",
    "<<EOF",
    "EOF",
    "\nRUN id\n",
    "&&",
    ";",
    "|",
    "=",
    "[\"a\"]",
    "]",
    "}",
    "--mount=type=secret",
    "ONBUILD",
    "é",
    "漢字",
    "\u{1f40d}",
    "\u{200f}",
    "%s",
    "*",
    "~",
    "!",
];

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(NASTY).prop_map(str::to_owned),
        1 => "[ -~]{0,8}",
        1 => "\\PC{0,4}",
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn allowed(value: &str) -> bool {
    !value.chars().any(|c| c.is_control() && c != '\t')
}

fn with_variables(sample: fn() -> Sample, variables: BTreeMap<String, String>) -> Sample {
    let mut sample = sample();
    sample.definition.environment_variables = variables;
    sample
}

/// The keywords that another parser, of another author, finds.
fn keywords(text: &str) -> Vec<&'static str> {
    let parsed = parse_dockerfile::parse(text).expect("it is a Dockerfile");
    assert!(
        parsed.parser_directives.syntax.is_none(),
        "a syntax directive"
    );
    assert!(
        parsed.parser_directives.escape.is_none(),
        "an escape directive"
    );
    let keyword = |instruction: &Instruction<'_>| match instruction {
        Instruction::From(_) => "FROM",
        Instruction::Run(_) => "RUN",
        Instruction::Env(_) => "ENV",
        Instruction::Copy(_) => "COPY",
        Instruction::User(_) => "USER",
        Instruction::Label(_) => "LABEL",
        other => panic!("{other:?}"),
    };
    parsed.instructions.iter().map(keyword).collect()
}

const SAMPLES: [fn() -> Sample; 4] = [
    Sample::conda,
    Sample::conda_on_conda,
    Sample::pip,
    Sample::user_managed,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn values_come_back_as_they_went_in(
        which in 0..SAMPLES.len(),
        values in prop::collection::vec(text(), 0..6),
    ) {
        let variables: BTreeMap<String, String> = values
            .iter()
            .enumerate()
            .map(|(index, value)| (format!("V_{index}.x"), value.clone()))
            .collect();
        let sample = with_variables(SAMPLES[which], variables.clone());
        match sample.plan() {
            Err(error) => prop_assert!(!values.iter().all(|value| allowed(value)), "{error}"),
            Ok(plan) => {
                prop_assert!(values.iter().all(|value| allowed(value)));
                let written = plan.dockerfile.to_text();
                let mut expected = keywords(&with_variables(SAMPLES[which], BTreeMap::new())
                    .planned().dockerfile.to_text());
                let labels = expected.iter().position(|k| *k == "LABEL").expect("it has labels");
                expected.splice(labels..labels, variables.iter().map(|_| "ENV"));
                prop_assert_eq!(keywords(&written), expected.clone());
                let lines = parser::lines(&written);
                let own: Vec<_> = lines.iter().map(|line| line.keyword.as_str()).collect();
                prop_assert_eq!(own, expected);
                let base = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
                let env = parser::image_env(&written, &base);
                for (name, value) in &variables {
                    prop_assert_eq!(env.get(name), Some(value));
                }
                prop_assert!(env["PATH"].ends_with(&format!(":{PATH}")), "{}", env["PATH"]);
            }
        }
    }

    #[test]
    fn names_are_kept_or_refused(name in prop_oneof![text(), "[A-Za-z_.=-]{0,6}"]) {
        let variables = BTreeMap::from([(name.clone(), "value".to_owned())]);
        if let Ok(plan) = with_variables(Sample::conda, variables).plan() {
            let env = parser::image_env(&plan.dockerfile.to_text(), &BTreeMap::new());
            prop_assert_eq!(env.get(&name).map(String::as_str), Some("value"));
        }
    }

    #[test]
    fn the_bases_own_texts_stay_inside_json(path in text(), root in text()) {
        let mut sample = Sample::conda_on_conda();
        sample.facts.env.insert("PATH".into(), path.clone());
        if root.starts_with('/') {
            sample.facts.conda.as_mut().expect("it has one").root = root;
        }
        let Ok(plan) = sample.plan() else { return Ok(()); };
        let written = plan.dockerfile.to_text();
        for line in parser::lines(&written).iter().filter(|line| line.keyword == "RUN") {
            let json = line.rest.split_once(" [").map(|(_, json)| format!("[{json}"));
            let command: Vec<String> =
                serde_json::from_str(&json.expect("it is in exec form")).expect("it is JSON");
            prop_assert_eq!(command[0].as_str().starts_with('/'), true);
            if command[0] == "/usr/bin/env" && !path.is_empty() {
                prop_assert!(command.iter().any(|word| word.starts_with("PATH=") && word.ends_with(&path)));
            }
        }
    }
}

#[test]
fn the_reader_finds_an_injection_so_the_tests_can_fail() {
    let naive = format!("FROM a\nENV A=\"{}\"\n", "x\"\nRUN id\nENV B=\"");
    let keywords: Vec<_> = parser::lines(&naive)
        .into_iter()
        .map(|line| line.keyword)
        .collect();
    assert_eq!(keywords, ["FROM", "ENV", "RUN", "ENV"]);
    let env = parser::image_env(
        "FROM a\nENV A=\"$PATH\"\n",
        &BTreeMap::from([("PATH".into(), "/b".into())]),
    );
    assert_eq!(env["A"], "/b");
}
