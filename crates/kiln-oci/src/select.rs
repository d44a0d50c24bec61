//! Which manifest of an index serves a platform.

use crate::descriptor::Descriptor;
use crate::index::ImageIndex;
use crate::platform::Platform;

/// How many platforms an error lists.
const LISTED: usize = 16;

/// Says that an index has nothing for a platform, and what it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image index has no manifest for {wanted}; it has {}", list(.available))]
pub struct SelectPlatformError {
    /// The platform that was asked for.
    pub wanted: Platform,
    /// The platforms the index has, in its order, unique, at most 16.
    pub available: Vec<Platform>,
}

fn list(available: &[Platform]) -> String {
    if available.is_empty() {
        return "none".to_owned();
    }
    available
        .iter()
        .map(Platform::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Picks the best manifest for a platform: the highest variant that runs on it, the first of equals.
///
/// An `amd64/v3` machine takes v3, v2 or plain images, `arm/v7` takes v7, v6, v5, `arm64/v9` takes v9
/// or plain ones. Operating system and architecture must agree. An index of one manifest that names no
/// platform answers with that one; its configuration tells what it is.
///
/// # Errors
/// When nothing fits.
pub fn select_platform<'i>(
    index: &'i ImageIndex,
    platform: &Platform,
) -> Result<&'i Descriptor, SelectPlatformError> {
    if let [only] = index.manifests.as_slice()
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let runnable = platform.runnable_variants();
    let rank = |entry: &Descriptor| {
        let own = entry.platform.as_ref()?.platform();
        let same = own.os() == platform.os() && own.architecture() == platform.architecture();
        let variant = own.variant().map(str::to_owned);
        runnable.iter().position(|v| same && *v == variant)
    };
    index
        .manifests
        .iter()
        .filter_map(|entry| rank(entry).map(|rank| (rank, entry)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, entry)| entry)
        .ok_or_else(|| SelectPlatformError {
            wanted: platform.clone(),
            available: available(index),
        })
}

fn available(index: &ImageIndex) -> Vec<Platform> {
    let mut platforms = Vec::new();
    for entry in index
        .manifests
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
    {
        let platform = entry.platform();
        // Attestations are listed under this name.
        if platform.os() != "unknown" && !platforms.contains(&platform) && platforms.len() < LISTED
        {
            platforms.push(platform);
        }
    }
    platforms
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::descriptor::DescriptorPlatform;
    use crate::media_type::OCI_MANIFEST;

    fn index(platforms: &[&str]) -> ImageIndex {
        let entry = |text: &&str| {
            let mut parts = text.split('/');
            let mut part = || parts.next().unwrap_or_default().to_owned();
            let mut descriptor = Descriptor::of(OCI_MANIFEST, text.as_bytes());
            descriptor.platform = Some(DescriptorPlatform {
                os: part(),
                architecture: part(),
                variant: Some(part()).filter(|v| !v.is_empty()),
                os_version: None,
                os_features: Vec::new(),
            });
            descriptor
        };
        ImageIndex::new(platforms.iter().map(entry).collect())
    }

    #[rstest]
    #[case("linux/amd64", &["linux/arm64", "linux/amd64"], Some("linux/amd64"))]
    #[case("linux/amd64", &["linux/amd64/v3", "linux/amd64"], Some("linux/amd64"))]
    #[case("linux/amd64", &["linux/amd64/v3"], None)]
    #[case("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2"], Some("linux/amd64/v2"))]
    #[case("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"], Some("linux/arm64/v8"))]
    #[case("linux/arm64/v9", &["linux/arm64"], Some("linux/arm64"))]
    #[case("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6"], Some("linux/arm/v6"))]
    #[case("linux/arm/v6", &["linux/arm/v7"], None)]
    #[case("linux/amd64", &["windows/amd64"], None)]
    #[case("linux/s390x", &["linux/s390x"], Some("linux/s390x"))]
    fn the_highest_variant_that_runs_is_taken(
        #[case] wanted: &str,
        #[case] platforms: &[&str],
        #[case] expected: Option<&str>,
    ) {
        let index = index(platforms);
        let found = select_platform(&index, &wanted.parse().unwrap());
        let digest = expected.map(|text| crate::Digest::of(text.as_bytes()));
        assert_eq!(found.ok().map(|d| d.digest), digest);
    }

    #[test]
    fn the_error_lists_what_there_is() {
        let index = index(&[
            "linux/arm64",
            "linux/arm64/v8",
            "unknown/unknown",
            "windows/amd64",
        ]);
        let error = select_platform(&index, &Platform::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "image index has no manifest for linux/amd64; it has linux/arm64, windows/amd64"
        );
    }

    #[test]
    fn a_lone_manifest_without_platform_is_taken() {
        let index = ImageIndex::new(vec![Descriptor::of(OCI_MANIFEST, b"x")]);
        assert!(select_platform(&index, &Platform::default()).is_ok());
    }
}
