//! Platforms: `os/arch[/variant]`, as in the OCI image index specification, "platform".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::name::shown;

/// An operating system, an architecture in Go's names, and its variant where it matters.
///
/// Kept in normal form: `x86_64` is `amd64`, `aarch64` and `arm64/v8` are `arm64`, `amd64/v1` is
/// `amd64`, `arm` without a variant is `arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// Says why a text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "platform `{0}` is not of the form os/architecture or os/architecture/variant, for example linux/amd64"
)]
pub struct ParsePlatformError(String);

impl Platform {
    /// Makes a platform from its parts, in normal form.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant
            .filter(|v| !v.is_empty())
            .map(str::to_ascii_lowercase);
        let (architecture, variant) = normalise(&architecture, variant.as_deref());
        Self {
            os: os.to_ascii_lowercase(),
            architecture,
            variant,
        }
    }

    /// The operating system, for example `linux`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture in Go's names, for example `amd64`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The variant, for example `v7`; `None` for the architecture's plain form.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// The variants that run on this platform, best first; `None` is the plain form.
    pub(crate) fn runnable_variants(&self) -> Vec<Option<String>> {
        let (prefix, lowest) = match self.architecture.as_str() {
            "amd64" => ("v", 1),
            "arm64" => ("v", 8),
            "arm" => ("v", 5),
            _ => return vec![self.variant.clone()],
        };
        let level = match &self.variant {
            None => Some(lowest),
            Some(v) => v.strip_prefix(prefix).and_then(|n| n.parse::<u32>().ok()),
        };
        // Beyond the known levels nothing is guessed.
        let Some(level) = level.filter(|l| (lowest..=lowest + 4).contains(l)) else {
            return vec![self.variant.clone()];
        };
        (lowest..=level)
            .rev()
            .map(|l| normalise(&self.architecture, Some(&format!("{prefix}{l}"))).1)
            .collect()
    }
}

/// The normal form of an architecture and variant, as containerd defines it.
fn normalise(architecture: &str, variant: Option<&str>) -> (String, Option<String>) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386" | "i686" | "386", _) => ("386", None),
        ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
        ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
        ("aarch64" | "arm64", None | Some("8" | "v8" | "v8.0")) => ("arm64", None),
        ("aarch64" | "arm64", v) => ("arm64", v),
        ("armhf", _) | ("arm", None | Some("7")) => ("arm", Some("v7")),
        ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
        ("arm", Some("5")) => ("arm", Some("v5")),
        (other, v) => (other, v),
    };
    (architecture.to_owned(), variant.map(str::to_owned))
}

impl Default for Platform {
    /// `linux/amd64`.
    fn default() -> Self {
        Self::new("linux", "amd64", None)
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = |part: &&str| {
            !part.is_empty()
                && part.len() <= 32
                && part
                    .bytes()
                    .next()
                    .is_some_and(|b| b.is_ascii_alphanumeric())
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').filter(good).collect();
        match (text.split('/').count(), parts.as_slice()) {
            (2, [os, architecture]) => Ok(Self::new(os, architecture, None)),
            (3, [os, architecture, variant]) => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(ParsePlatformError(shown(text))),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .iter()
            .try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Platform {
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

    #[rstest]
    #[case("linux/amd64", "linux/amd64")]
    #[case("Linux/x86_64", "linux/amd64")]
    #[case("linux/amd64/v1", "linux/amd64")]
    #[case("linux/amd64/v3", "linux/amd64/v3")]
    #[case("linux/aarch64", "linux/arm64")]
    #[case("linux/arm64/v8", "linux/arm64")]
    #[case("linux/arm", "linux/arm/v7")]
    #[case("linux/armhf", "linux/arm/v7")]
    #[case("linux/ppc64le", "linux/ppc64le")]
    fn platforms_take_their_normal_form(#[case] text: &str, #[case] normal: &str) {
        assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal);
    }

    #[rstest]
    #[case("")]
    #[case("linux")]
    #[case("linux/")]
    #[case("linux//v8")]
    #[case("linux/amd64/v1/x")]
    #[case("linux/amd 64")]
    #[case("-x/amd64")]
    #[case("linux/amd64\n")]
    fn other_texts_are_refused(#[case] text: &str) {
        assert!(text.parse::<Platform>().is_err());
    }

    #[test]
    fn the_default_is_linux_on_amd64() {
        assert_eq!(Platform::default().to_string(), "linux/amd64");
    }

    proptest! {
        #[test]
        fn the_normal_form_is_stable(text in "[a-z]{1,6}/[a-z0-9][a-z0-9_]{0,7}(/v?[0-9])?") {
            let platform: Platform = text.parse().unwrap();
            prop_assert_eq!(platform.to_string().parse::<Platform>().unwrap(), platform);
        }
    }
}
