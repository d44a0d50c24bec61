//! Environments as lines for people.

use std::fmt::Write as _;

use kiln_api::{
    Environment, EnvironmentDiff, HistoryEntry, PackageChange, Reproduction, ValueChange,
};

/// `NAME:VERSION` and the image's name.
pub(crate) fn version(environment: &Environment) -> String {
    format!(
        "{}:{}  {}",
        environment.name, environment.version, environment.image_name
    )
}

/// A line a version.
pub(crate) fn list(environments: &[Environment]) -> String {
    let lines: Vec<String> = environments.iter().map(line).collect();
    lines.join("\n")
}

fn line(environment: &Environment) -> String {
    let mut notes = environment.labels.clone();
    for (note, holds) in [
        ("latest", environment.latest),
        ("curated", environment.curated),
        ("archived", environment.archived),
    ] {
        if holds {
            notes.push(note.to_owned());
        }
    }
    let generation = environment.generation;
    if let Some(generation) = generation {
        notes.push(format!("generation {generation}"));
    }
    format!("{}  {}", version(environment), notes.join(", "))
}

/// Everything about a version but its document.
pub(crate) fn whole(environment: &Environment) -> String {
    let mut text = line(environment);
    let made = if environment.curated {
        "kiln ships it".to_owned()
    } else {
        format!(
            "made {} by {} ({})",
            environment.created, environment.actor, environment.via
        )
    };
    let document = environment.document.as_ref();
    let document = indented(document.map(|raw| raw.get()).unwrap_or_default());
    write!(
        text,
        "\n{made}\nspec hash {}\n{document}",
        environment.spec_hash
    )
    .expect("writing to a String never fails");
    text
}

/// JSON as people read it.
pub(crate) fn indented(json: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(json).ok();
    value
        .and_then(|value| serde_json::to_string_pretty(&value).ok())
        .unwrap_or_else(|| json.to_owned())
}

/// A line an entry.
pub(crate) fn history(entries: &[HistoryEntry]) -> String {
    let line = |entry: &HistoryEntry| {
        let version = entry.version.as_deref().unwrap_or("all versions");
        let detail = entry.detail.as_deref();
        let detail = detail.map_or(String::new(), |detail| format!("  {detail}"));
        format!(
            "{}  {version}  {}  {} ({}){detail}",
            entry.time, entry.action, entry.actor, entry.via
        )
    };
    entries.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What differs, a line each.
pub(crate) fn diff(diff: &EnvironmentDiff) -> String {
    let mut lines = vec![format!(
        "{}:{} -> {}:{}",
        diff.from.name, diff.from.version, diff.to.name, diff.to.version
    )];
    let said = match (diff.same_document, diff.same_definition, diff.same_lock) {
        (true, ..) => "the documents are equal",
        (_, true, _) => "one definition: they share their images",
        (_, _, Some(true)) => "one lock: they share their packages",
        _ => "other packages",
    };
    lines.push(format!("{said}; packages of their {}", diff.packages_of));
    lines.extend(diff.packages.iter().map(package_change));
    let variables = diff.variables.iter();
    lines.extend(variables.map(|one| value_change("variable ", one)));
    let others = diff.base.iter().chain(&diff.fields);
    lines.extend(others.map(|one| value_change("", one)));
    if let Some(sizes) = diff.sizes {
        lines.push(format!("  size: {} -> {} bytes", sizes.from, sizes.to));
    }
    if let Some(layers) = diff.layers {
        lines.push(format!(
            "  layers: {} shared ({} bytes), {} added ({} bytes), {} removed ({} bytes)",
            layers.shared,
            layers.shared_bytes,
            layers.added,
            layers.added_bytes,
            layers.removed,
            layers.removed_bytes
        ));
    }
    lines.join("\n")
}

/// What a version's image and the one that was made again from its lock have in common.
pub(crate) fn reproduction(made: &Reproduction) -> String {
    let agrees = |same: bool| if same { "the same" } else { "NOT the same" };
    let layers = match (&made.layers, made.recorded_is_there) {
        (Some(layers), true) => format!(
            "{} the same, {} new, {} not made again",
            layers.shared, layers.added, layers.removed
        ),
        _ => "the recorded image is gone from the registry".to_owned(),
    };
    let digest = if made.same_digest {
        "the same".to_owned()
    } else if made.backend == "docker" {
        "another: the docker backend dates files by the clock".to_owned()
    } else {
        "another".to_owned()
    };
    format!(
        "{}:{} generation {}\n  recorded  {}\n  built     {}\n  lock      {} ({})\n  \
         packages  the same ({} installed as locked)\n  layers    {layers}\n  digest    {digest}",
        made.environment.name,
        made.environment.version,
        made.generation,
        made.recorded.image,
        made.built.image,
        agrees(made.same_lock),
        made.recorded.lock_hash,
        made.packages,
    )
}

/// A package that differs, in a line.
pub(crate) fn package_change(package: &PackageChange) -> String {
    let change = change(package.from.as_deref(), package.to.as_deref());
    format!("  {} {}: {change}", package.manager, package.name)
}

/// A value that differs, in a line that begins with what it is.
pub(crate) fn value_change(what: &str, value: &ValueChange) -> String {
    let change = change(value.from.as_deref(), value.to.as_deref());
    format!("  {what}{}: {change}", value.name)
}

fn change(from: Option<&str>, to: Option<&str>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => format!("{from} -> {to}"),
        (None, to) => format!("+ {}", to.unwrap_or_default()),
        (from, None) => format!("- {}", from.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_a_line_each() {
        let json = r#"{
            "from": {"name": "e", "version": "1"}, "to": {"name": "e", "version": "2"},
            "same_document": false, "same_definition": false, "same_lock": false,
            "packages_of": "locks",
            "packages": [
                {"manager": "conda", "name": "numpy", "from": "1", "to": "2"},
                {"manager": "pip", "name": "pillow", "from": null, "to": "11"},
                {"manager": "pip", "name": "gone", "from": "3", "to": null}
            ],
            "variables": [{"name": "A", "from": "1", "to": "2"}],
            "base": {"name": "base", "from": "x:1", "to": "x:2"},
            "fields": [{"name": "platform", "from": "linux/amd64", "to": "linux/arm64"}],
            "sizes": {"from": 10, "to": 12},
            "layers": {"shared": 1, "shared_bytes": 8, "added": 1, "added_bytes": 4,
                       "removed": 1, "removed_bytes": 2}
        }"#;
        let told = diff(&serde_json::from_str(json).unwrap());
        insta::assert_snapshot!(told);
    }
}
