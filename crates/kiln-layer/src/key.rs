//! The key of a package's layer: all that decides its bytes.

use std::collections::BTreeSet;
use std::fmt;

use kiln_link::{CondaRequest, PrefixPath, PythonTarget, Target, TargetPrefix, WheelRequest};
use kiln_oci::Digest;
use serde::Serialize;

use crate::LAYER_FORMAT_VERSION;
use crate::package::Layer;

/// How layers are compressed; another compressor or level is another text.
const COMPRESSION: &str = "libdeflate-6-1MiB";

/// Equal keys are layers of equal bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerKey(Digest);

/// What packages of both kinds have; JSON keeps the order and tells fields apart.
#[derive(Serialize)]
struct Common<'a> {
    format: u32,
    compression: &'static str,
    prefix: &'a TargetPrefix,
    python: Option<&'a PythonTarget>,
    bytecode: bool,
    dropped: Vec<&'a str>,
}

impl<'a> Common<'a> {
    fn new(target: &'a Target, needs_python: bool, dropped: &'a BTreeSet<PrefixPath>) -> Self {
        Self {
            format: LAYER_FORMAT_VERSION,
            compression: COMPRESSION,
            prefix: &target.prefix,
            python: target.python.as_ref().filter(|_| needs_python),
            bytecode: target.bytecode,
            dropped: dropped.iter().map(PrefixPath::as_str).collect(),
        }
    }
}

impl LayerKey {
    /// The key of a conda package's layer. Only noarch python packages depend on the environment's python; all that
    /// `conda-meta` says of a package is in its request.
    pub fn conda(
        request: &CondaRequest,
        target: &Target,
        needs_python: bool,
        dropped: &BTreeSet<PrefixPath>,
    ) -> Self {
        let common = Common::new(target, needs_python, dropped);
        Self::of("kiln-layer-conda-v1", &(common, request))
    }

    /// The key of a wheel's layer.
    pub fn wheel(
        request: &WheelRequest,
        archive: &Digest,
        target: &Target,
        dropped: &BTreeSet<PrefixPath>,
    ) -> Self {
        let common = Common::new(target, true, dropped);
        Self::of("kiln-layer-wheel-v1", &(common, request, archive.to_hex()))
    }

    /// The key of a layer of several packages, in their order.
    pub fn group(layers: impl IntoIterator<Item = Layer>) -> Self {
        let digests: Vec<String> = layers.into_iter().map(|l| l.digest.to_hex()).collect();
        Self::of(
            "kiln-layer-group-v1",
            &(LAYER_FORMAT_VERSION, COMPRESSION, digests),
        )
    }

    fn of(tag: &str, value: &impl Serialize) -> Self {
        let mut bytes = tag.as_bytes().to_vec();
        bytes.push(0);
        serde_json::to_writer(&mut bytes, value).expect("keys are plain data with text keys");
        Self(Digest::of(&bytes))
    }

    /// The 64 hex digits.
    pub fn to_hex(&self) -> String {
        self.0.to_hex()
    }
}

impl fmt::Display for LayerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

#[cfg(test)]
mod tests {
    use kiln_link::{Limits, PythonHome};

    use super::*;

    fn target(minor: u32) -> Target {
        Target {
            prefix: TargetPrefix::new("/opt/kiln/env").unwrap(),
            python: Some(PythonTarget::new(minor, PythonHome::Conda, "x86_64")),
            limits: Limits::default(),
            bytecode: false,
        }
    }

    fn request() -> CondaRequest {
        CondaRequest {
            name: "zlib".into(),
            version: "1.3".into(),
            build: "h0_0".into(),
            build_number: 0,
            subdir: "linux-64".into(),
            channel: "https://c.example/conda-forge".into(),
            url: "https://c.example/conda-forge/linux-64/zlib-1.3-h0_0.conda".into(),
            file_name: "zlib-1.3-h0_0.conda".into(),
            sha256: Digest::of(b"archive").to_hex(),
            md5: None,
            size_bytes: Some(5),
            noarch: None,
            depends: Vec::new(),
            requested_spec: None,
        }
    }

    #[test]
    fn whatever_decides_a_layers_bytes_is_in_its_key() {
        let none = BTreeSet::new();
        let dropped = BTreeSet::from([PrefixPath::new("a").unwrap()]);
        let base = LayerKey::conda(&request(), &target(11), true, &none);
        let mut other = request();
        other.depends.push("libc".into());
        let mut channel = request();
        channel.channel = "https://mirror.example/conda-forge".into();
        let mut moved = target(11);
        moved.prefix = TargetPrefix::new("/opt/other").unwrap();
        let mut compiled = target(11);
        compiled.bytecode = true;
        for (what, key) in [
            ("record", LayerKey::conda(&other, &target(11), true, &none)),
            (
                "channel",
                LayerKey::conda(&channel, &target(11), true, &none),
            ),
            (
                "python",
                LayerKey::conda(&request(), &target(12), true, &none),
            ),
            (
                "no python",
                LayerKey::conda(&request(), &target(11), false, &none),
            ),
            (
                "dropped",
                LayerKey::conda(&request(), &target(11), true, &dropped),
            ),
            ("prefix", LayerKey::conda(&request(), &moved, true, &none)),
            (
                "bytecode",
                LayerKey::conda(&request(), &compiled, true, &none),
            ),
        ] {
            assert_ne!(key, base, "{what}");
        }
        // Limits refuse packages; they change none.
        let mut limited = target(11);
        limited.limits.entries = 7;
        assert_eq!(LayerKey::conda(&request(), &limited, true, &none), base);
        // What needs no python is one layer for all of them.
        assert_eq!(
            LayerKey::conda(&request(), &target(11), false, &none),
            LayerKey::conda(&request(), &target(12), false, &none)
        );
    }
}
