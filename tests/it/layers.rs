//! The crates' edges are those of docs/architecture.md.

use std::collections::BTreeMap;
use std::process::Command;

/// The table of docs/architecture.md: layer by crate.
fn documented() -> BTreeMap<String, u32> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/architecture.md");
    let text = fs_err::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let layer = cells.next()?.parse().ok()?;
        let name = cells.next()?.trim_matches('`').to_owned();
        Some((name, layer))
    });
    rows.collect()
}

#[test]
fn every_crate_depends_on_lower_layers_only_as_the_architecture_page_says() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let layers = documented();
    let mut faults = Vec::new();
    let mut crates = 0;
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if ["kiln-tests", "xtask"].contains(&name) {
            continue;
        }
        crates += 1;
        let Some(layer) = layers.get(name) else {
            faults.push(format!("{name} is not in the table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            if let Some(below) = layers.get(on)
                && below >= layer
            {
                faults.push(format!(
                    "{name} (layer {layer}) depends on {on} (layer {below})"
                ));
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(
        crates,
        layers.len(),
        "the table names a crate that is not there"
    );
}
