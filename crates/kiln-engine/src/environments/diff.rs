//! How two versions differ: pure.

use std::collections::{BTreeMap, BTreeSet};

use kiln_api::{
    EnvironmentDiff, EnvironmentId, LayerChange, PackageChange, SizeChange, ValueChange,
};
use kiln_lock::Lock;
use kiln_spec::{Base, DefaultBase, Definition, DocumentDigest};

/// What is known of one of two versions.
#[derive(Debug, Clone)]
pub struct Side {
    /// Its name and version.
    pub id: EnvironmentId,
    /// Its document's identity.
    pub document: DocumentDigest,
    /// Its definition.
    pub definition: Definition,
    /// What it resolved to.
    pub lock: Option<Lock>,
    /// The compressed size of its image in bytes.
    pub size_bytes: Option<u64>,
    /// The layers of its image and their sizes in bytes.
    pub layers: Option<Vec<(kiln_oci::Digest, u64)>>,
}

/// How two definitions differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Differences {
    /// Packages: of the locks where both have one, else of the definitions.
    pub(crate) packages: Vec<PackageChange>,
    /// Variables of the image.
    pub(crate) variables: Vec<ValueChange>,
    /// The base.
    pub(crate) base: Option<ValueChange>,
    /// Other fields, by the names of the canonical form.
    pub(crate) fields: Vec<ValueChange>,
}

/// A definition, and what it resolved to.
pub(crate) type Known<'a> = (&'a Definition, Option<&'a Lock>);

/// Compares two definitions: what they resolved to where both did, else what they say.
pub(crate) fn differences(from: Known<'_>, to: Known<'_>) -> Differences {
    let packages = match (from.1, to.1) {
        (Some(from), Some(to)) => package_changes(from, to),
        _ => listed(&specified(from.0), &specified(to.0)),
    };
    Differences {
        packages,
        variables: values(&from.0.environment_variables, &to.0.environment_variables),
        base: base(from, to),
        fields: values(&fields(from.0), &fields(to.0)),
    }
}

/// Packages of two locks that differ.
pub(crate) fn package_changes(from: &Lock, to: &Lock) -> Vec<PackageChange> {
    listed(&locked(from), &locked(to))
}

fn listed(from: &Packages, to: &Packages) -> Vec<PackageChange> {
    changes(from, to)
        .map(|((manager, name), from, to)| PackageChange {
            manager: (*manager).to_owned(),
            name: name.clone(),
            from,
            to,
        })
        .collect()
}

/// Compares two versions.
pub fn compare(from: &Side, to: &Side) -> EnvironmentDiff {
    let locks = from.lock.as_ref().zip(to.lock.as_ref());
    let differences = differences(
        (&from.definition, from.lock.as_ref()),
        (&to.definition, to.lock.as_ref()),
    );
    let sizes = from.size_bytes.zip(to.size_bytes);
    let layers = from.layers.as_ref().zip(to.layers.as_ref());
    EnvironmentDiff {
        from: from.id.clone(),
        to: to.id.clone(),
        same_document: to.document.equals(&from.document),
        same_definition: from.definition == to.definition,
        same_lock: locks.map(|(from, to)| from.hash() == to.hash()),
        packages_of: locks.map_or("specifications", |_| "locks").to_owned(),
        packages: differences.packages,
        variables: differences.variables,
        base: differences.base,
        fields: differences.fields,
        sizes: sizes.map(|(from, to)| SizeChange { from, to }),
        layers: layers.map(|(from, to)| layer_change(from, to)),
    }
}

type Packages = BTreeMap<(&'static str, String), String>;

fn locked(lock: &Lock) -> Packages {
    let conda = lock.conda.iter().map(|package| {
        let version = format!("{} {}", package.version, package.build);
        (("conda", package.name.clone()), version)
    });
    let pip = lock
        .pip
        .iter()
        .map(|wheel| (("pip", wheel.name.clone()), wheel.version.clone()));
    conda.chain(pip).collect()
}

/// What is asked for, by name; several requirements of one name stand together.
fn specified(definition: &Definition) -> Packages {
    let mut packages: BTreeMap<_, Vec<String>> = BTreeMap::new();
    let mut add = |manager, text: &str, ends: fn(char) -> bool| {
        let end = text.find(ends).unwrap_or(text.len());
        let (name, asked) = text.split_at(end);
        let asked = match asked.trim() {
            "" => "any".to_owned(),
            asked => asked.to_owned(),
        };
        packages
            .entry((manager, name.to_owned()))
            .or_default()
            .push(asked);
    };
    let conda = definition.conda.iter().flat_map(|c| &c.dependencies);
    for dependency in conda {
        add("conda", dependency, |c| " =<>!~[".contains(c));
    }
    let pip = definition.pip.iter().flat_map(|pip| &pip.requirements);
    for requirement in pip {
        add("pip", &requirement.requirement, |c| {
            !(c.is_ascii_alphanumeric() || "-_.".contains(c))
        });
    }
    packages
        .into_iter()
        .map(|(key, asked)| (key, asked.join(", ")))
        .collect()
}

/// The keys whose values differ, in order.
fn changes<'a, K: Ord>(
    from: &'a BTreeMap<K, String>,
    to: &'a BTreeMap<K, String>,
) -> impl Iterator<Item = (&'a K, Option<String>, Option<String>)> {
    let keys: BTreeSet<&K> = from.keys().chain(to.keys()).collect();
    keys.into_iter().filter_map(|key| {
        let (old, new) = (from.get(key), to.get(key));
        (old != new).then(|| (key, old.cloned(), new.cloned()))
    })
}

fn values(from: &BTreeMap<String, String>, to: &BTreeMap<String, String>) -> Vec<ValueChange> {
    changes(from, to)
        .map(|(name, from, to)| ValueChange {
            name: name.clone(),
            from,
            to,
        })
        .collect()
}

fn base(from: Known<'_>, to: Known<'_>) -> Option<ValueChange> {
    match (from.1.and_then(locked_base), to.1.and_then(locked_base)) {
        (Some(from), Some(to)) => base_change(from, to),
        _ => base_change(named(&from.0.base), named(&to.0.base)),
    }
}

/// The base that a lock pins, `REFERENCE@DIGEST`.
pub(crate) fn locked_base(lock: &Lock) -> Option<String> {
    let base = lock.base.as_ref()?;
    Some(format!("{}@{}", base.reference, base.digest))
}

/// The bases, where they differ.
pub(crate) fn base_change(from: String, to: String) -> Option<ValueChange> {
    (from != to).then(|| ValueChange {
        name: "base".into(),
        from: Some(from),
        to: Some(to),
    })
}

fn named(base: &Base) -> String {
    match base {
        Base::Default(DefaultBase::Cpu) => "the default CPU base".into(),
        Base::Default(DefaultBase::Gpu) => "the default GPU base".into(),
        Base::Image(image) => image.clone(),
        Base::Dockerfile(text) => {
            let digest = kiln_oci::Digest::of(text.as_bytes()).to_hex();
            format!("a Dockerfile ({})", &digest[..12])
        }
        Base::Git {
            location,
            dockerfile_path,
        }
        | Base::Context {
            location,
            dockerfile_path,
        } => format!("{location} ({dockerfile_path})"),
    }
}

/// What else a definition says, by the names of its canonical form.
fn fields(definition: &Definition) -> BTreeMap<String, String> {
    let rest = Definition {
        base: Base::Default(DefaultBase::Cpu),
        environment_variables: BTreeMap::new(),
        ..definition.clone()
    };
    let canonical: serde_json::Value =
        serde_json::from_str(&rest.canonical_json()).expect("canonical text is JSON");
    let mut found = BTreeMap::new();
    flatten("", &canonical, &mut found);
    for shown in ["base.default", "conda.dependencies", "pip.requirements"] {
        found.remove(shown);
    }
    found
}

fn flatten(path: &str, value: &serde_json::Value, found: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{key}"), value, found);
            }
        }
        serde_json::Value::String(text) => {
            found.insert(path.to_owned(), text.clone());
        }
        other => {
            found.insert(path.to_owned(), other.to_string());
        }
    }
}

pub(super) fn layer_change(
    from: &[(kiln_oci::Digest, u64)],
    to: &[(kiln_oci::Digest, u64)],
) -> LayerChange {
    let has = |layers: &[(kiln_oci::Digest, u64)], digest| {
        layers.iter().any(|(other, _)| other == digest)
    };
    let mut change = LayerChange::default();
    for (digest, bytes) in to {
        if has(from, digest) {
            change.shared += 1;
            change.shared_bytes += bytes;
        } else {
            change.added += 1;
            change.added_bytes += bytes;
        }
    }
    for (digest, bytes) in from {
        if !has(to, digest) {
            change.removed += 1;
            change.removed_bytes += bytes;
        }
    }
    change
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kiln_lock::{
        ChannelPriority, CondaPackage, IndexStrategy, LOCK_FORMAT_VERSION, LockedBase,
        ResolverSettings, Wheel,
    };
    use kiln_oci::Digest;
    use kiln_spec::{Input, Overrides, StoredDocument};

    use super::*;

    fn side(version: &str, text: &str) -> Side {
        let (files, overrides) = (BTreeMap::new(), Overrides::default());
        let input = Input {
            file_name: "environment",
            bytes: text.as_bytes(),
            kind: None,
            files: &files,
            overrides: &overrides,
        };
        let parsed = kiln_spec::parse(&input).unwrap();
        Side {
            id: EnvironmentId {
                name: "e".into(),
                version: version.into(),
            },
            document: StoredDocument::of(&input, &parsed).unwrap().digest(),
            definition: parsed.definition,
            lock: None,
            size_bytes: None,
            layers: None,
        }
    }

    fn lock(base: &str, conda: &[(&str, &str)], pip: &[(&str, &str)]) -> Lock {
        let package = |&(name, version): &(&str, &str)| CondaPackage {
            name: name.into(),
            version: version.into(),
            build: "h0".into(),
            build_number: 0,
            subdir: "linux-64".into(),
            channel: "c".into(),
            url: format!("https://c.example.org/{name}"),
            file_name: format!("{name}.conda"),
            sha256: Digest::of(version.as_bytes()),
            md5: None,
            size_bytes: None,
            noarch: None,
            depends: Vec::new(),
        };
        let wheel = |&(name, version): &(&str, &str)| Wheel {
            name: name.into(),
            version: version.into(),
            file_name: format!("{name}.whl"),
            url: format!("https://c.example.org/{name}"),
            sha256: Digest::of(version.as_bytes()),
            size_bytes: None,
            requested: true,
            built_from: None,
        };
        Lock {
            format_version: LOCK_FORMAT_VERSION,
            platform: "linux/amd64".into(),
            base: Some(LockedBase {
                reference: "h.example.org/base:1".into(),
                digest: Digest::of(base.as_bytes()),
                index_digest: None,
            }),
            python: None,
            conda: conda.iter().map(package).collect(),
            pip: pip.iter().map(wheel).collect(),
            settings: ResolverSettings {
                channel_priority: ChannelPriority::Flexible,
                index_strategy: IndexStrategy::FirstIndex,
            },
            notes: Vec::new(),
        }
    }

    fn old() -> Side {
        side(
            "1",
            r#"{"environmentVariables": {"A": "1", "B": "2"},
                "docker": {"baseImage": "h.example.org/base:1"},
                "python": {"condaDependencies": {"channels": ["conda-forge"],
                "dependencies": ["python=3.10", "numpy", {"pip": ["pillow==1", "gone"]}]}}}"#,
        )
    }

    fn new() -> Side {
        side(
            "2",
            r#"{"environmentVariables": {"A": "2", "C": "3"},
                "docker": {"baseImage": "h.example.org/base:2"},
                "inferencingStackVersion": "latest",
                "python": {"condaDependencies": {"channels": ["conda-forge", "bioconda"],
                "dependencies": ["python=3.11", "numpy", {"pip": ["pillow==2", "--pre"]}]}}}"#,
        )
    }

    #[test]
    fn versions_that_are_not_resolved_are_compared_by_what_they_ask_for() {
        insta::assert_json_snapshot!(compare(&old(), &new()));
    }

    #[test]
    fn versions_that_are_resolved_are_compared_by_what_they_got() {
        let layer = |text: &str, bytes| (Digest::of(text.as_bytes()), bytes);
        let from = Side {
            lock: Some(lock(
                "one",
                &[("numpy", "1.26.4"), ("old", "1")],
                &[("pillow", "1")],
            )),
            size_bytes: Some(100),
            layers: Some(vec![layer("base", 60), layer("a", 40)]),
            ..old()
        };
        let to = Side {
            lock: Some(lock("two", &[("numpy", "2.0.0"), ("pillow", "2")], &[])),
            size_bytes: Some(115),
            layers: Some(vec![layer("base", 60), layer("b", 50), layer("c", 5)]),
            ..new()
        };
        insta::assert_json_snapshot!(compare(&from, &to));
    }

    #[test]
    fn equal_versions_differ_in_nothing() {
        let lock = lock("one", &[("numpy", "1.26.4")], &[]);
        let from = Side {
            lock: Some(lock),
            ..old()
        };
        let diff = compare(&from, &from);
        assert!(diff.same_document && diff.same_definition && diff.same_lock == Some(true));
        assert!(diff.packages.is_empty() && diff.variables.is_empty());
        assert!(diff.fields.is_empty() && diff.base.is_none());
    }

    #[test]
    fn a_variable_that_differs_leaves_the_lock_the_same() {
        let from = Side {
            lock: Some(lock("one", &[], &[])),
            ..side(
                "1",
                r#"{"environmentVariables": {"A": "1"}, "python": {"userManagedDependencies": true}}"#,
            )
        };
        let to = Side {
            lock: from.lock.clone(),
            ..side(
                "2",
                r#"{"environmentVariables": {"A": "2"}, "python": {"userManagedDependencies": true}}"#,
            )
        };
        let diff = compare(&from, &to);
        assert!(!diff.same_definition && diff.same_lock == Some(true));
        assert_eq!(diff.variables.len(), 1);
    }
}
