//! The identity of a definition.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// The separator and version of the format that is hashed; a changed output is a new prefix.
const FORMAT_PREFIX: &[u8] = b"kiln-spec-v1\0";

/// SHA-256 of `"kiln-spec-v1\0"` and the definition's canonical JSON (RFC 8785).
///
/// Its text form is all 64 lower-case hex digits; names carry the first 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpecHash([u8; 32]);

/// A text that is not 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a spec hash of 64 lower-case hex digits")]
pub struct ParseSpecHashError(String);

impl SpecHash {
    /// Hashes canonical JSON.
    pub fn of_canonical_json(json: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(FORMAT_PREFIX);
        hasher.update(json.as_bytes());
        Self(hasher.finalize().into())
    }

    /// All 64 hex digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The first 32 hex digits, as names carry them.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..16])
    }

    /// The name of the environment and of its repository, `azureml/azureml_<first 32 hex>`.
    pub fn image_name(&self) -> String {
        format!("azureml/azureml_{}", self.short())
    }
}

impl FromStr for SpecHash {
    type Err = ParseSpecHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
        if !lower || hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(ParseSpecHashError(text.chars().take(80).collect()));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for SpecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SpecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SpecHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SpecHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
