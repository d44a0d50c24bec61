//! The catalog of base images: names, aliases, mirrors. It acts when a definition is locked, never
//! when it is hashed.

use std::collections::BTreeMap;

use kiln_oci::{Digest, Reference};
use kiln_spec::DefaultBase;
use serde::Deserialize;

/// Base images by name.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    entries: BTreeMap<String, Entry>,
    /// Reference without tag, or with the tag it means, to the entry's name.
    aliases: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
struct Entry {
    reference: Reference,
    retired: bool,
}

/// What a definition's base became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseChoice {
    /// The reference to pull, mirrors applied.
    pub reference: Reference,
    /// Sentences for people: what was replaced.
    pub warnings: Vec<String>,
}

/// What replaces the beginning of references, so that a site pulls from its own copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// `host[/path]`, whole path segments.
    pub prefix: String,
    /// What stands in its place.
    pub replacement: String,
}

/// Says why a text is no catalog, or a base no reference.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// It is no catalog's TOML.
    #[error("the catalog of base images is not readable")]
    Toml(#[source] toml::de::Error),
    /// Its format is another one.
    #[error("the catalog of base images has format {found}, this kiln reads format 1")]
    Format {
        /// The format it states.
        found: u32,
    },
    /// An entry's reference or alias is none.
    #[error("base `{name}` of the catalog has a wrong {field}")]
    Entry {
        /// The entry's name.
        name: String,
        /// The field, with its value.
        field: String,
    },
    /// Two entries claim a name.
    #[error("`{alias}` stands for both `{one}` and `{other}` in the catalog of base images")]
    Twice {
        /// The alias.
        alias: String,
        /// An entry.
        one: String,
        /// The other entry.
        other: String,
    },
    /// The catalog has no default of that kind.
    #[error("the catalog of base images has no `{0}`, which is the default")]
    NoDefault(&'static str),
    /// What was written is no image reference.
    #[error("`{base}` is no image reference")]
    Reference {
        /// What was written, cleaned.
        base: String,
        /// Why.
        #[source]
        source: kiln_oci::ParseReferenceError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogText {
    format: u32,
    #[serde(default)]
    base: BTreeMap<String, EntryText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryText {
    reference: String,
    digest: Option<String>,
    #[serde(default, rename = "platform")]
    _platform: Option<String>,
    #[serde(default, rename = "folder")]
    _folder: Option<String>,
    #[serde(default, rename = "python")]
    _python: Option<String>,
    #[serde(default, rename = "cuda")]
    _cuda: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    retired: bool,
}

impl Catalog {
    /// Reads a catalog's TOML; `base-images/README.md` says what each key means.
    pub fn from_toml(text: &str) -> Result<Self, CatalogError> {
        let text: CatalogText = toml::from_str(text).map_err(CatalogError::Toml)?;
        if text.format != 1 {
            return Err(CatalogError::Format { found: text.format });
        }
        let mut catalog = Self::default();
        for (name, entry) in text.base {
            let wrong = |field: String| CatalogError::Entry {
                name: name.clone(),
                field,
            };
            let mut reference: Reference = entry
                .reference
                .parse()
                .map_err(|_| wrong(format!("reference `{}`", entry.reference)))?;
            if let Some(digest) = &entry.digest {
                let digest: Digest = digest
                    .parse()
                    .map_err(|_| wrong(format!("digest `{digest}`")))?;
                reference = reference.with_digest(digest);
            }
            for alias in &entry.aliases {
                let key = alias_key(alias).ok_or_else(|| wrong(format!("alias `{alias}`")))?;
                if let Some(one) = catalog.aliases.insert(key, name.clone()) {
                    return Err(CatalogError::Twice {
                        alias: alias.clone(),
                        one,
                        other: name,
                    });
                }
            }
            catalog.entries.insert(
                name,
                Entry {
                    reference,
                    retired: entry.retired,
                },
            );
        }
        Ok(catalog)
    }

    /// The base that a definition asks for by default.
    pub fn default_base(
        &self,
        kind: DefaultBase,
        configured: Option<&str>,
        mirrors: &[Mirror],
    ) -> Result<BaseChoice, CatalogError> {
        let name = match kind {
            DefaultBase::Cpu => "cpu",
            DefaultBase::Gpu => "gpu",
        };
        match configured {
            Some(base) => self.choose(base, mirrors),
            None if self.entries.contains_key(name) => self.choose(name, mirrors),
            None => Err(CatalogError::NoDefault(name)),
        }
    }

    /// The image of a base as it was written: a catalog name, an alias, or a reference.
    pub fn choose(&self, base: &str, mirrors: &[Mirror]) -> Result<BaseChoice, CatalogError> {
        let mut warnings = Vec::new();
        let reference = if let Some(entry) = self.entries.get(base) {
            entry.reference.clone()
        } else {
            let written: Reference = base.parse().map_err(|source| CatalogError::Reference {
                base: base.chars().filter(|c| !c.is_control()).take(200).collect(),
                source,
            })?;
            match self.aliased(&written) {
                Some((name, entry)) => {
                    let retired = if entry.retired {
                        ", which its maker has given up"
                    } else {
                        ""
                    };
                    warnings.push(format!(
                        "base {written}{retired}: the catalog's `{name}` ({}) takes its place",
                        entry.reference
                    ));
                    entry.reference.clone()
                }
                None => written,
            }
        };
        let reference = mirrored(reference, mirrors)?;
        Ok(BaseChoice {
            reference,
            warnings,
        })
    }

    /// The entry an alias names; an alias with a tag wins, and a digest is nobody's alias.
    fn aliased(&self, written: &Reference) -> Option<(&str, &Entry)> {
        if written.digest().is_some() {
            return None;
        }
        let repository = format!("{}/{}", written.registry(), written.repository());
        let tagged = written.tag().map(|tag| format!("{repository}:{tag}"));
        let name = tagged
            .and_then(|tagged| self.aliases.get(&tagged))
            .or_else(|| self.aliases.get(&repository))?;
        self.entries
            .get_key_value(name)
            .map(|(name, entry)| (name.as_str(), entry))
    }
}

/// `registry/repository` or `registry/repository:tag`.
fn alias_key(alias: &str) -> Option<String> {
    let reference: Reference = alias.parse().ok()?;
    if reference.digest().is_some() {
        return None;
    }
    let repository = format!("{}/{}", reference.registry(), reference.repository());
    Some(match reference.tag() {
        Some(tag) => format!("{repository}:{tag}"),
        None => repository,
    })
}

/// The reference with the longest mirror prefix replaced.
fn mirrored(reference: Reference, mirrors: &[Mirror]) -> Result<Reference, CatalogError> {
    let text = reference.to_string();
    let rest = |mirror: &Mirror| {
        text.strip_prefix(mirror.prefix.trim_end_matches('/'))
            .filter(|rest| {
                rest.starts_with('/') || rest.starts_with(':') && mirror.prefix.contains('/')
            })
            .map(str::to_owned)
    };
    let Some(mirror) = mirrors
        .iter()
        .filter(|mirror| rest(mirror).is_some())
        .max_by_key(|mirror| mirror.prefix.len())
    else {
        return Ok(reference);
    };
    let replaced = format!(
        "{}{}",
        mirror.replacement.trim_end_matches('/'),
        rest(mirror).unwrap_or_default()
    );
    replaced.parse().map_err(|source| CatalogError::Reference {
        base: replaced.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
format = 1
[base.cpu]
reference = "example.org/library/ubuntu:22.04"
platform = "linux/amd64"
aliases = ["mcr.example.org/azureml/openmpi4.1.0-ubuntu22.04"]
[base.gpu]
reference = "example.org/nvidia/cuda:12.4.1"
digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
cuda = "12.4"
[base.old]
reference = "example.org/library/ubuntu:22.04"
retired = true
aliases = ["mcr.example.org/azureml/base:intelmpi", "mcr.example.org/azureml/openmpi4.1.0-ubuntu22.04:old"]
"#;

    fn chosen(base: &str, mirrors: &[Mirror]) -> (String, usize) {
        let catalog = Catalog::from_toml(TEXT).expect("the test's catalog is fine");
        let choice = catalog
            .choose(base, mirrors)
            .expect("the test's base is fine");
        (choice.reference.to_string(), choice.warnings.len())
    }

    #[test]
    fn names_aliases_and_references_are_found_in_this_order() {
        let ubuntu = "example.org/library/ubuntu:22.04".to_owned();
        assert_eq!(chosen("cpu", &[]), (ubuntu.clone(), 0));
        assert_eq!(
            chosen("mcr.example.org/azureml/openmpi4.1.0-ubuntu22.04:2024", &[]),
            (ubuntu.clone(), 1)
        );
        assert_eq!(
            chosen("mcr.example.org/azureml/openmpi4.1.0-ubuntu22.04:old", &[]),
            (ubuntu.clone(), 1)
        );
        assert_eq!(
            chosen("mcr.example.org/azureml/base:intelmpi", &[]),
            (ubuntu, 1)
        );
        let other = "mcr.example.org/azureml/base:other".to_owned();
        assert_eq!(chosen(&other, &[]), (other.clone(), 0));
        assert!(chosen("gpu", &[]).0.contains("@sha256:e3b0"));
    }

    #[test]
    fn the_longest_mirror_of_whole_segments_wins() {
        let mirror = |prefix: &str, replacement: &str| Mirror {
            prefix: prefix.into(),
            replacement: replacement.into(),
        };
        let mirrors = [
            mirror("example.org", "mirror.test/all"),
            mirror("example.org/library", "mirror.test/lib"),
            mirror("example.org/lib", "wrong.test"),
        ];
        assert_eq!(chosen("cpu", &mirrors).0, "mirror.test/lib/ubuntu:22.04");
        assert_eq!(
            chosen("example.org/a/b:1", &mirrors).0,
            "mirror.test/all/a/b:1"
        );
        assert_eq!(
            chosen("example.org.evil.test/a:1", &mirrors).0,
            "example.org.evil.test/a:1"
        );
    }

    #[test]
    fn a_configured_default_and_a_missing_one() {
        let catalog = Catalog::from_toml(TEXT).expect("the test's catalog is fine");
        let own = catalog.default_base(DefaultBase::Cpu, Some("localhost:5000/base:1"), &[]);
        assert_eq!(
            own.expect("it is a reference").reference.to_string(),
            "localhost:5000/base:1"
        );
        let none = Catalog::default().default_base(DefaultBase::Gpu, None, &[]);
        assert!(matches!(none, Err(CatalogError::NoDefault("gpu"))));
    }

    #[test]
    fn faulty_catalogs_are_refused() {
        for text in [
            "format = 2",
            "[base.cpu]\nreference = 'a'",
            "format = 1\n[base.cpu]\nreference = 'a b'",
            "format = 1\n[base.cpu]\nreference = 'a'\nsurprise = 1",
            "format = 1\n[base.a]\nreference = 'a'\naliases = ['x']\n[base.b]\nreference = 'b'\naliases = ['x']",
        ] {
            assert!(Catalog::from_toml(text).is_err(), "{text}");
        }
    }
}
