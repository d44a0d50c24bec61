//! Image manifests, as in the OCI image specification, "OCI Image Manifest Specification".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::descriptor::Descriptor;
use crate::index::ImageIndex;
use crate::media_type;
use crate::name::shown;

/// An image's configuration and layers; Docker's schema 2 manifest too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// Always 2.
    pub schema_version: u32,
    /// The manifest's own media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The kind of artifact, when it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the base's first.
    #[serde(deserialize_with = "crate::config::or_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest this one refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations, by key.
    #[serde(
        default,
        deserialize_with = "crate::config::or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// What a manifest's address can answer with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time, and callers match it by value"
)]
pub enum Manifest {
    /// One image.
    Image(ImageManifest),
    /// A list of images.
    Index(ImageIndex),
}

/// Says why bytes are no manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseManifestError {
    /// More bytes than the caller takes.
    #[error("manifest has {size} bytes, more than the {limit} that are accepted")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The caller's limit in bytes.
        limit: usize,
    },
    /// Docker's retired first schema.
    #[error("manifest is of Docker's retired schema 1; push the image again with a current client")]
    Schema1,
    /// Neither an image manifest nor an index.
    #[error("manifest has media type `{0}`, which is neither an image manifest nor an image index")]
    MediaType(String),
    /// The registry's header and the manifest's own field disagree.
    #[error("manifest says it is `{body}`, its registry says `{header}`")]
    Disagreement {
        /// The registry's Content-Type.
        header: String,
        /// The manifest's `mediaType`.
        body: String,
    },
    /// It has the fields of a manifest and those of an index, so that clients could differ on it.
    #[error("manifest has both layers and manifests")]
    Ambiguous,
    /// No manifest of its type.
    #[error("manifest is malformed")]
    Malformed(#[source] serde_json::Error),
}

/// The fields that tell the kinds of manifests apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    media_type: Option<String>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl ImageManifest {
    /// Makes an OCI manifest of a configuration and layers.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The manifest as JSON: equal values give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts, numbers and sorted maps have a JSON form")
    }

    /// The sum of the sizes of the configuration and all layers, in bytes.
    pub fn blob_size(&self) -> u64 {
        self.layers.iter().fold(self.config.size, |sum, layer| {
            sum.saturating_add(layer.size)
        })
    }
}

impl Manifest {
    /// Parses a manifest by the Content-Type its registry gave, or by its own `mediaType` where the
    /// registry gave none or one that says nothing.
    ///
    /// # Errors
    /// When it is larger than `limit` bytes, of schema 1, of another type, ambiguous or malformed.
    pub fn parse(
        content_type: Option<&str>,
        bytes: &[u8],
        limit: usize,
    ) -> Result<Self, ParseManifestError> {
        if bytes.len() > limit {
            return Err(ParseManifestError::TooLarge {
                size: bytes.len(),
                limit,
            });
        }
        let shape: Shape = serde_json::from_slice(bytes).map_err(ParseManifestError::Malformed)?;
        if shape.schema_version == Some(1) || shape.fs_layers.is_some() {
            return Err(ParseManifestError::Schema1);
        }
        if shape.manifests.is_some() && (shape.layers.is_some() || shape.config.is_some()) {
            return Err(ParseManifestError::Ambiguous);
        }
        let kind = kind_of(content_type, &shape)?;
        if media_type::is_index(&kind) {
            serde_json::from_slice(bytes)
                .map(Self::Index)
                .map_err(ParseManifestError::Malformed)
        } else {
            serde_json::from_slice(bytes)
                .map(Self::Image)
                .map_err(ParseManifestError::Malformed)
        }
    }

    /// Its media type: its own field, or OCI's where it has none.
    pub fn media_type(&self) -> &str {
        let (own, default) = match self {
            Self::Image(manifest) => (&manifest.media_type, media_type::OCI_MANIFEST),
            Self::Index(index) => (&index.media_type, media_type::OCI_INDEX),
        };
        own.as_deref().unwrap_or(default)
    }
}

/// Decides the media type from the header, the manifest's own field and, last, its shape.
fn kind_of(content_type: Option<&str>, shape: &Shape) -> Result<String, ParseManifestError> {
    let header = content_type
        .map(|text| {
            text.split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase()
        })
        .filter(|text| {
            !matches!(
                text.as_str(),
                "" | "application/json" | "text/plain" | "application/octet-stream"
            )
        });
    let body = shape.media_type.clone().filter(|text| !text.is_empty());
    let kind = match (header, body) {
        (Some(header), Some(body)) if header != body => {
            return Err(ParseManifestError::Disagreement {
                header: shown(&header),
                body: shown(&body),
            });
        }
        (Some(kind), _) | (None, Some(kind)) => kind,
        (None, None) if shape.manifests.is_some() => media_type::OCI_INDEX.to_owned(),
        (None, None) => media_type::OCI_MANIFEST.to_owned(),
    };
    match kind.as_str() {
        media_type::DOCKER_SCHEMA1 | media_type::DOCKER_SCHEMA1_SIGNED => {
            Err(ParseManifestError::Schema1)
        }
        known if media_type::is_index(known) || media_type::is_manifest(known) => Ok(kind),
        other => Err(ParseManifestError::MediaType(shown(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 4 << 20;

    fn manifest() -> ImageManifest {
        let mut manifest = ImageManifest::new(
            Descriptor::of(media_type::OCI_CONFIG, b"{}"),
            vec![Descriptor::of(media_type::OCI_LAYER_GZIP, b"layer")],
        );
        manifest.annotations.insert("b".into(), "2".into());
        manifest.annotations.insert("a".into(), "1".into());
        manifest
    }

    #[test]
    fn a_manifest_is_written_in_one_order() {
        insta::assert_snapshot!(String::from_utf8(manifest().to_bytes()).unwrap(), @r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85","size":5}],"annotations":{"a":"1","b":"2"}}"#);
    }

    #[test]
    fn what_is_written_reads_back_and_writes_the_same_bytes() {
        let bytes = manifest().to_bytes();
        let Manifest::Image(read) =
            Manifest::parse(Some(media_type::OCI_MANIFEST), &bytes, LIMIT).unwrap()
        else {
            panic!("an image");
        };
        assert_eq!(read, manifest());
        assert_eq!(read.to_bytes(), bytes);
        assert_eq!(read.blob_size(), 7);
    }

    #[test]
    fn unknown_fields_and_null_lists_are_tolerated() {
        let text = format!(
            r#"{{"schemaVersion":2,"future":[1,{{}}],"config":{{"mediaType":"{}","digest":"{}","size":2,"x":1}},"layers":null,"annotations":null}}"#,
            media_type::DOCKER_CONFIG,
            crate::Digest::of(b"{}"),
        );
        let read =
            Manifest::parse(Some(media_type::DOCKER_MANIFEST), text.as_bytes(), LIMIT).unwrap();
        assert!(matches!(read, Manifest::Image(image) if image.layers.is_empty()));
    }

    #[test]
    fn the_type_comes_from_the_header_then_the_body_then_the_shape() {
        let index = ImageIndex {
            media_type: None,
            ..ImageIndex::new(Vec::new())
        }
        .to_bytes();
        for header in [
            None,
            Some("application/json; charset=utf-8"),
            Some(media_type::OCI_INDEX),
        ] {
            assert!(matches!(
                Manifest::parse(header, &index, LIMIT),
                Ok(Manifest::Index(_))
            ));
        }
        assert!(matches!(
            Manifest::parse(Some(media_type::OCI_INDEX), &manifest().to_bytes(), LIMIT),
            Err(ParseManifestError::Disagreement { .. })
        ));
        assert!(matches!(
            Manifest::parse(Some("text/html"), &index, LIMIT),
            Err(ParseManifestError::MediaType(kind)) if kind == "text/html"
        ));
    }

    #[test]
    fn schema_1_ambiguous_large_and_malformed_manifests_are_refused_by_name() {
        let refuse = |header, text: &str, limit| {
            Manifest::parse(header, text.as_bytes(), limit)
                .unwrap_err()
                .to_string()
        };
        assert!(refuse(None, r#"{"schemaVersion":1}"#, LIMIT).contains("schema 1"));
        assert!(refuse(Some(media_type::DOCKER_SCHEMA1_SIGNED), "{}", LIMIT).contains("schema 1"));
        let both = r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#;
        assert!(refuse(None, both, LIMIT).contains("both"));
        assert!(refuse(None, both, 10).contains("more than the 10"));
        assert!(refuse(None, "[[[[", LIMIT).contains("malformed"));
        assert!(refuse(None, &"[".repeat(100_000), LIMIT).contains("malformed"));
        let negative = r#"{"schemaVersion":2,"layers":[],"config":{"mediaType":"x","digest":"sha256:00","size":-1}}"#;
        assert!(refuse(None, negative, LIMIT).contains("malformed"));
    }
}
