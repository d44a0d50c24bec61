//! Keys: which locks are equal, and which images.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use kiln_oci::Digest;
use kiln_spec::SpecHash;
use serde::{Deserialize, Serialize};

use crate::Lock;

/// The version of the image's form: it grows when the same inputs would give another image.
pub const IMAGE_FORMAT_VERSION: u32 = 1;

/// SHA-256 over what a lock says of the environment: everything but notes and provenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LockHash(Digest);

/// SHA-256 over all that decides an image's content; equal keys are one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageKey(Digest);

/// What an image takes from its definition beside the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageInputs {
    /// The definition's identity: it stands in the image's labels and paths.
    pub spec_hash: SpecHash,
    /// Variables of the image, by name.
    pub environment_variables: BTreeMap<String, String>,
    /// The interpreter when user-managed.
    pub interpreter_path: Option<String>,
    /// The backend's name, `docker` or `assemble`.
    pub backend: String,
}

macro_rules! key {
    ($name:ident) => {
        impl $name {
            /// The 64 hex digits.
            pub fn to_hex(&self) -> String {
                self.0.to_hex()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0.to_hex())
            }
        }

        impl FromStr for $name {
            type Err = kiln_oci::ParseDigestError;

            fn from_str(hex: &str) -> Result<Self, Self::Err> {
                Digest::from_hex(hex).map(Self)
            }
        }
    };
}

key!(LockHash);
key!(ImageKey);

impl Lock {
    /// The lock's identity.
    pub fn hash(&self) -> LockHash {
        let identity = Self {
            notes: Vec::new(),
            base: self.base.as_ref().map(|base| crate::LockedBase {
                index_digest: None,
                ..base.clone()
            }),
            ..self.clone()
        };
        LockHash(digest("kiln-lock-v1", &identity))
    }
}

impl ImageKey {
    /// The key of the image made from a lock and a definition's image inputs.
    pub fn of(lock: LockHash, inputs: &ImageInputs) -> Self {
        Self(digest(
            "kiln-image-v1",
            &(IMAGE_FORMAT_VERSION, lock.to_hex(), inputs),
        ))
    }
}

/// Hashes a tag, a NUL and the value's JSON; struct fields keep their order and maps are sorted.
fn digest(tag: &str, value: &impl Serialize) -> Digest {
    let mut bytes = tag.as_bytes().to_vec();
    bytes.push(0);
    serde_json::to_writer(&mut bytes, value).expect("keys are plain data with text keys");
    Digest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LOCK_FORMAT_VERSION, LockedBase, ResolverSettings};

    fn lock() -> Lock {
        Lock {
            format_version: LOCK_FORMAT_VERSION,
            platform: "linux/amd64".into(),
            base: Some(LockedBase {
                reference: "example.org/base:1".into(),
                digest: Digest::of(b"base"),
                index_digest: None,
            }),
            python: None,
            conda: Vec::new(),
            pip: Vec::new(),
            settings: ResolverSettings {
                channel_priority: crate::ChannelPriority::Flexible,
                index_strategy: crate::IndexStrategy::FirstIndex,
            },
            notes: Vec::new(),
        }
    }

    #[test]
    fn notes_and_provenance_are_no_identity_and_the_base_is() {
        let one = lock();
        let mut other = lock();
        other
            .notes
            .push("passed over foo 2.0: it has no wheel".into());
        let base = other.base.as_mut().expect("the lock has a base");
        base.index_digest = Some(Digest::of(b"index"));
        assert_eq!(one.hash(), other.hash());
        other.base.as_mut().expect("the lock has a base").digest = Digest::of(b"other");
        assert_ne!(one.hash(), other.hash());
    }

    #[test]
    fn every_image_input_changes_the_image_key() {
        let inputs = ImageInputs {
            spec_hash: SpecHash::of_canonical_json("{}"),
            environment_variables: BTreeMap::new(),
            interpreter_path: None,
            backend: "docker".into(),
        };
        let key = ImageKey::of(lock().hash(), &inputs);
        let mut other = inputs.clone();
        other.environment_variables.insert("A".into(), "1".into());
        assert_ne!(key, ImageKey::of(lock().hash(), &other));
        assert_ne!(
            key,
            ImageKey::of(
                lock().hash(),
                &ImageInputs {
                    backend: "assemble".into(),
                    ..inputs.clone()
                }
            )
        );
        assert_ne!(
            key,
            ImageKey::of(
                lock().hash(),
                &ImageInputs {
                    interpreter_path: Some("/usr/bin/python3".into()),
                    ..inputs
                }
            )
        );
    }

    #[test]
    fn a_lock_reads_back_equal_and_another_version_is_refused() {
        let one = lock();
        assert_eq!(
            Lock::from_json(&one.to_json()).expect("its own JSON is readable"),
            one
        );
        let later = one
            .to_json()
            .replace("\"format_version\": 1", "\"format_version\": 2");
        assert!(matches!(
            Lock::from_json(&later),
            Err(crate::ParseLockError::Version { found: 2 })
        ));
    }
}
