//! Image references: `[host[:port]/]repository[:tag][@digest]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, ParseDigestError};
use crate::host;
use crate::name::{ParseNameError, RepositoryName, Tag, shown};

/// The longest reference that is looked at, in bytes.
const LIMIT: usize = 1024;

/// A parsed image reference; its text form always names the registry.
///
/// Docker's rules apply: a first part without dot, colon or upper-case letter that is not `localhost`
/// belongs to the repository, the registry is `docker.io` then, and a repository of one part there lies
/// in `library/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: RepositoryName,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

/// Says why a text is no image reference. No variant repeats what may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseReferenceError {
    /// Nothing was given.
    #[error("image reference is empty")]
    Empty,
    /// More than 1,024 bytes.
    #[error("image reference is longer than {LIMIT} bytes")]
    TooLong,
    /// It would be taken for an option.
    #[error("image reference must not start with `-`")]
    LeadingHyphen,
    /// White space or a control character.
    #[error("image reference holds {} at position {position}", .character.escape_debug())]
    Character {
        /// The character.
        character: char,
        /// Its place, in bytes from the start.
        position: usize,
    },
    /// It is a URL.
    #[error("image reference must not start with a scheme such as `https://`")]
    Scheme,
    /// The part before the first slash is no host.
    #[error("registry `{0}` is no host name with an optional port")]
    Registry(String),
    /// The repository or the tag is outside the grammar.
    #[error(transparent)]
    Name(#[from] ParseNameError),
    /// What follows `@` is no digest.
    #[error("image reference must have a sha256 digest after `@`")]
    Digest(#[source] ParseDigestError),
}

impl Reference {
    /// Makes a reference to a repository, with neither tag nor digest.
    ///
    /// # Errors
    /// When `registry` is no `host[:port]`.
    pub fn new(registry: &str, repository: RepositoryName) -> Result<Self, ParseReferenceError> {
        let registry = host::normalise(registry)
            .ok_or_else(|| ParseReferenceError::Registry(shown(registry)))?;
        Ok(Self {
            registry,
            repository,
            tag: None,
            digest: None,
        })
    }

    /// The registry as `host[:port]` in lower case; `docker.io` where none was written.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository inside the registry.
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    /// The tag, if one was written.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest, if one was written.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// What a registry is asked for: the digest, else the tag, else `latest`.
    pub fn identifier(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_string(),
            (None, None) => Tag::latest().to_string(),
        }
    }

    /// The same repository at a digest, without a tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The same repository at a tag, without a digest.
    #[must_use]
    pub fn with_tag(&self, tag: Tag) -> Self {
        Self {
            tag: Some(tag),
            digest: None,
            ..self.clone()
        }
    }

    /// The repository alone, without tag and digest.
    #[must_use]
    pub fn without_version(&self) -> Self {
        Self {
            tag: None,
            digest: None,
            ..self.clone()
        }
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_characters(text)?;
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(digest.parse().map_err(ParseReferenceError::Digest)?),
            ),
            None => (text, None),
        };
        // A colon after the last slash starts the tag; one before it belongs to the host's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.parse()?)),
            _ => (rest, None),
        };
        let (registry, repository) = match name.split_once('/') {
            Some((first, path)) if host::looks_like_host(first) => (first, path),
            _ => (host::DEFAULT_REGISTRY, name),
        };
        let registry = host::normalise(registry)
            .ok_or_else(|| ParseReferenceError::Registry(shown(registry)))?;
        // The grammar is checked before the prefix is added, so that an error shows what was written.
        let mut repository: RepositoryName = repository.parse()?;
        if registry == host::DEFAULT_REGISTRY && !repository.as_str().contains('/') {
            repository = format!("library/{repository}").parse()?;
        }
        Ok(Self {
            registry,
            repository,
            tag,
            digest,
        })
    }
}

fn check_characters(text: &str) -> Result<(), ParseReferenceError> {
    if text.is_empty() {
        return Err(ParseReferenceError::Empty);
    }
    if text.len() > LIMIT {
        return Err(ParseReferenceError::TooLong);
    }
    if text.starts_with('-') {
        return Err(ParseReferenceError::LeadingHyphen);
    }
    let bad = |c: char| c.is_whitespace() || c.is_control();
    if let Some((position, character)) = text.char_indices().find(|(_, c)| bad(*c)) {
        return Err(ParseReferenceError::Character {
            character,
            position,
        });
    }
    if text.contains("://") {
        return Err(ParseReferenceError::Scheme);
    }
    Ok(())
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[rstest]
    #[case("debian", "docker.io/library/debian")]
    #[case("debian:12", "docker.io/library/debian:12")]
    #[case("user/app", "docker.io/user/app")]
    #[case("docker.io/debian", "docker.io/library/debian")]
    #[case("index.docker.io/debian", "docker.io/library/debian")]
    #[case("localhost/app", "localhost/app")]
    #[case("localhost:5000/app:1", "localhost:5000/app:1")]
    #[case("localhost:5000", "docker.io/library/localhost:5000")]
    #[case("Example.com/app", "example.com/app")]
    #[case("[::1]:5000/a/b:t", "[::1]:5000/a/b:t")]
    #[case(
        "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04:20240101.v1",
        "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04:20240101.v1"
    )]
    fn references_are_normalised_as_docker_does(#[case] text: &str, #[case] full: &str) {
        assert_eq!(
            text.parse::<Reference>().map(|r| r.to_string()),
            Ok(full.to_owned())
        );
    }

    #[test]
    fn tag_and_digest_are_kept_apart_and_the_digest_is_asked_for() {
        let text = format!("ghcr.io/a/b:v1@sha256:{HEX}");
        let reference: Reference = text.parse().unwrap();
        assert_eq!(reference.registry(), "ghcr.io");
        assert_eq!(reference.repository().as_str(), "a/b");
        assert_eq!(reference.tag().map(Tag::as_str), Some("v1"));
        assert_eq!(reference.identifier(), format!("sha256:{HEX}"));
        assert_eq!(reference.to_string(), text);
        let pinned = reference.with_digest(Digest::of(b"x"));
        assert_eq!(pinned.tag(), None);
        assert_eq!(reference.without_version().identifier(), "latest");
    }

    #[rstest]
    #[case("", "image reference is empty")]
    #[case("--platform=x", "image reference must not start with `-`")]
    #[case("scratch AS x", "image reference holds   at position 7")]
    #[case("debian\n", r"image reference holds \n at position 6")]
    #[case(
        "https://example.com/a",
        "image reference must not start with a scheme such as `https://`"
    )]
    #[case(
        "user:secret@host/a",
        "image reference must have a sha256 digest after `@`"
    )]
    #[case("example.com/App", "repository name `App` must be lower case")]
    #[case(
        "exa_mple.com/app",
        "registry `exa_mple.com` is no host name with an optional port"
    )]
    #[case("example.com/", "repository name has an empty part")]
    #[case(
        "debian@sha512:ab",
        "image reference must have a sha256 digest after `@`"
    )]
    fn other_texts_are_refused_with_the_reason(#[case] text: &str, #[case] message: &str) {
        assert_eq!(text.parse::<Reference>().unwrap_err().to_string(), message);
    }

    #[test]
    fn a_password_never_reaches_the_error() {
        for text in [
            "https://u:hunter2@h/a",
            "u:hunter2@h/a",
            "u:hunter2@example.com:5000/a",
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(
                !format!("{error} {error:?}").contains("hunter2"),
                "{error:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "\\PC{0,80}") {
            let _ = text.parse::<Reference>();
        }

        #[test]
        fn the_text_form_parses_to_the_same_reference(
            host in prop::option::of("[a-z]{1,8}(\\.[a-z]{2,4}|:[1-9][0-9]{0,3}|\\.io:443)"),
            path in "[a-z0-9]{1,6}((_|__|-)[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,6}(\\.[a-z]{1,3})?){0,2}",
            tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}"),
            digest in prop::option::of(any::<[u8; 32]>()),
        ) {
            let mut text = host.map(|h| format!("{h}/")).unwrap_or_default() + &path;
            if let Some(tag) = &tag {
                text = format!("{text}:{tag}");
            }
            if let Some(digest) = digest {
                text = format!("{text}@{}", Digest::from_bytes(digest));
            }
            let reference: Reference = text.parse().unwrap();
            prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }

        #[test]
        fn what_parses_is_safe_in_an_instruction(text in "[ -~]{1,30}") {
            if let Ok(reference) = text.parse::<Reference>() {
                let shown = reference.to_string();
                let safe = |c: char| c.is_ascii_alphanumeric() || "._-:/@[]".contains(c);
                prop_assert!(shown.chars().all(safe) && !shown.starts_with('-'));
            }
        }
    }
}
