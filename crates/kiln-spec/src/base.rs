//! Base images and platforms in their one form.

use crate::address;
use crate::definition::{Base, DefaultBase, STORED_CONTEXT};
use crate::error::{Findings, Place, quoted};
use crate::secret::{CredentialForm, CredentialTarget, InlineCredential, Secret};

/// The default CPU bases of the SDK's releases (azureml-core 1.0 to 1.61), without the date tags that each
/// release gave them: with `gpuSupport` they mean "the default", and the GPU default takes their place.
/// Frozen: part of version 1 of the format.
const SDK_CPU_DEFAULTS: [&str; 4] = [
    "mcr.microsoft.com/azureml/intelmpi2018.3-ubuntu16.04",
    "mcr.microsoft.com/azureml/openmpi3.1.2-ubuntu18.04",
    "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04",
    "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04",
];
/// The default CPU base up to azureml-core 1.6, whose tag is a version or the name of its MPI.
const SDK_CPU_DEFAULT_BEFORE: &str = "mcr.microsoft.com/azureml/base";

/// Images that Azure ML calls deprecated, by the beginning of their name.
const DEPRECATED: [&str; 6] = [
    "mcr.microsoft.com/azureml/base:",
    "mcr.microsoft.com/azureml/base-gpu:",
    "mcr.microsoft.com/azureml/base-lite:",
    "mcr.microsoft.com/azureml/intelmpi2018.3-",
    "mcr.microsoft.com/azureml/openmpi3.1.2-",
    "mcr.microsoft.com/azureml/o16n-base/python-slim",
];

/// The default base.
pub(crate) fn default(gpu: bool) -> Base {
    Base::Default(if gpu {
        DefaultBase::Gpu
    } else {
        DefaultBase::Cpu
    })
}

/// An image when GPU support is asked for: the GPU default takes the place of the SDK's CPU defaults, and
/// any other image stays.
pub(crate) fn with_gpu(
    reference: String,
    gpu: bool,
    place: Place<'_>,
    findings: &mut Findings,
) -> Base {
    if gpu && is_sdk_cpu_default(&reference) {
        return default(true);
    }
    if gpu {
        findings.warn(
            place,
            format!(
                "GPU support is asked for, and the base image {} is kept",
                quoted(&reference)
            ),
            "check that it has CUDA, or leave the base out for the GPU default",
        );
    }
    Base::Image(reference)
}

/// Whether an image is the default CPU base of an SDK release. Another tag, or a digest, was chosen by a
/// person.
fn is_sdk_cpu_default(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = without_tag(image);
    let tag = image.get(name.len() + 1..).unwrap_or_default();
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let release =
        |(date, version): (&str, &str)| date.len() == 8 && number(date) && number(version);
    if name == SDK_CPU_DEFAULT_BEFORE {
        let versions: Vec<&str> = tag.split('.').collect();
        return tag == "intelmpi2018.3-ubuntu16.04"
            || (versions.len() == 3 && versions.iter().all(|part| number(part)));
    }
    SDK_CPU_DEFAULTS.contains(&name)
        && (tag.is_empty() || tag.split_once(".v").is_some_and(release))
}

fn without_tag(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

/// Whether the first part of an image's name is a host, by Docker's rule.
pub(crate) fn names_host(image: &str) -> bool {
    image.split_once('/').is_some_and(|(first, _)| {
        first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase)
    })
}

/// Checks a reference and takes its credentials out; its spelling is kept.
pub(crate) fn image(
    text: &str,
    place: Place<'_>,
    findings: &mut Findings,
    credentials: &mut Vec<InlineCredential>,
) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix("docker://").unwrap_or(text);
    let mut reference = text.to_owned();
    if text.contains("://") {
        findings.error(
            place,
            format!(
                "{} is an address, not an image",
                quoted(text.split('@').next_back().unwrap_or(text))
            ),
            "write it as HOST/NAME:TAG",
        );
        return None;
    }
    // `user:password@host/name`: an `@` before the first `/` is no digest's.
    if let Some((user, rest)) = text.split_once('@')
        && !user.contains('/')
        && rest.contains('/')
        && !rest.starts_with("sha256:")
    {
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        let host = rest.split('/').next().unwrap_or_default().to_owned();
        credentials.push(InlineCredential {
            target: CredentialTarget::Registry(host),
            form: CredentialForm::Basic,
            username: Some(name.to_owned()),
            secret: Secret::new(password),
        });
        rest.clone_into(&mut reference);
    }
    let valid = is_reference(&reference);
    if !valid {
        findings.error(
            place,
            format!("{} is no image", quoted(&reference)),
            "write it as [HOST/]NAME[:TAG][@sha256:DIGEST]",
        );
        return None;
    }
    if DEPRECATED.iter().any(|start| reference.starts_with(start)) {
        findings.warn(
            place,
            format!("the base image {} is deprecated", quoted(&reference)),
            "choose one that is kept up",
        );
    }
    if without_tag(&reference) == reference {
        findings.warn(
            place,
            format!(
                "the base image {} names neither tag nor digest",
                quoted(&reference)
            ),
            "name one: `latest` moves",
        );
    }
    Some(reference)
}

/// `[host[:port]/]name[:tag][@sha256:digest]`, by the shape of the distribution specification; what a name may
/// hold in detail is for the registry to say.
fn is_reference(text: &str) -> bool {
    let (text, digest) = match text.split_once('@') {
        Some((text, digest)) => (text, Some(digest)),
        None => (text, None),
    };
    let digest_valid = digest.is_none_or(|digest| {
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    let name = without_tag(text);
    let tag = &text[name.len()..];
    let word = |text: &str, also: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || also.contains(c))
    };
    let tag_valid = match tag.strip_prefix(':') {
        Some(tag) => {
            !tag.is_empty() && tag.len() <= 128 && word(tag, "._-") && !tag.starts_with(['.', '-'])
        }
        None => true,
    };
    let (host, path) = if names_host(name) {
        name.split_once('/').unwrap_or(("", name))
    } else {
        ("", name)
    };
    let plain_host =
        word(host, "._-:") && !host.contains("..") && !host.starts_with(['.', '-', ':']);
    let host_valid = plain_host || (host.starts_with('[') && word(host, "[]:"));
    let part = |part: &str| {
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        word(part, "._-")
            && !part.contains("..")
            && ends(part.chars().next())
            && ends(part.chars().next_back())
    };
    text.len() <= 512 && digest_valid && tag_valid && host_valid && path.split('/').all(part)
}

/// Puts a registry's address before an image that names no host.
pub(crate) fn with_registry(image: &str, address: Option<&str>) -> String {
    match address {
        Some(address) if !names_host(image) => {
            let address = address.trim();
            let address = address.strip_prefix("https://").unwrap_or(address);
            format!("{}/{image}", address.trim_end_matches('/'))
        }
        _ => image.to_owned(),
    }
}

/// `os/arch[/variant]` in the field's names.
pub(crate) fn platform(text: &str) -> Result<String, String> {
    let lower = text.trim().to_ascii_lowercase();
    let mut parts = lower.split('/');
    let (os, architecture) = match (parts.next(), parts.next()) {
        (Some(architecture), None) => ("linux", architecture),
        (Some(os), Some(architecture)) => (os, architecture),
        _ => ("", ""),
    };
    let variant = parts.next();
    if os != "linux" {
        return Err(format!("the platform {} is not Linux", quoted(text)));
    }
    let architecture = match architecture {
        "x86_64" | "x86-64" | "amd64" | "x64" => "amd64",
        "aarch64" | "arm64" => "arm64",
        "ppc64le" => "ppc64le",
        "s390x" => "s390x",
        _ => return Err(format!("{} is no platform", quoted(text))),
    };
    match (architecture, variant, parts.next()) {
        (_, None, None) | ("arm64", Some("v8"), None) | ("amd64", Some("v1"), None) => {
            Ok(format!("linux/{architecture}"))
        }
        (_, Some(variant @ ("v2" | "v3" | "v4" | "v9")), None) => {
            Ok(format!("linux/{architecture}/{variant}"))
        }
        _ => Err(format!("{} is no platform", quoted(text))),
    }
}

/// A git or storage address of a build context, without credentials.
pub(crate) fn context_location(
    text: &str,
    git: bool,
    place: Place<'_>,
    findings: &mut Findings,
    credentials: &mut Vec<InlineCredential>,
) -> Option<String> {
    if let (false, Some(hex)) = (git, text.trim().strip_prefix(STORED_CONTEXT)) {
        let is_digest =
            hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_digest {
            return Some(text.trim().to_owned());
        }
        findings.error(
            place,
            format!("{} names no build context", quoted(text.trim())),
            "write `kiln-context:sha256:` and 64 hex digits, as the upload of the folder answered",
        );
        return None;
    }
    let address = if git {
        address::git(text.trim())
    } else {
        address::web(text.trim())
    };
    match address {
        Ok(address) => {
            let (text, found) = address.into_parts(CredentialTarget::Package);
            credentials.extend(found);
            Some(text)
        }
        Err((reason, remedy)) => {
            findings.error(place, reason, remedy);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("mcr.microsoft.com/azureml/base:0.2.1", true)]
    #[case("mcr.microsoft.com/azureml/base:intelmpi2018.3-ubuntu16.04", true)]
    #[case("mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20251130.v1", true)]
    #[case("mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04", true)]
    #[case("mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:mine", false)]
    #[case("mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04@sha256:00", false)]
    #[case("mcr.microsoft.com/azureml/base:openmpi3.1.2-ubuntu16.04", false)]
    #[case("mcr.microsoft.com/azureml/base", false)]
    #[case("example.org/azureml/openmpi4.1.0-ubuntu22.04", false)]
    #[case("debian:12", false)]
    fn default_bases_of_the_sdk_are_known(#[case] image: &str, #[case] expected: bool) {
        assert_eq!(is_sdk_cpu_default(image), expected);
    }

    #[rstest]
    #[case("team/base:1", Some("h.org"), "h.org/team/base:1")]
    #[case("team/base:1", Some(" https://h.org/ "), "h.org/team/base:1")]
    #[case("h.org:5000/base", Some("other.org"), "h.org:5000/base")]
    #[case("localhost/base", Some("other.org"), "localhost/base")]
    #[case("base", None, "base")]
    fn a_registry_goes_before_an_image_without_host(
        #[case] image: &str,
        #[case] address: Option<&str>,
        #[case] expected: &str,
    ) {
        assert_eq!(with_registry(image, address), expected);
    }

    #[rstest]
    #[case("linux/amd64", Some("linux/amd64"))]
    #[case("Linux/X86_64", Some("linux/amd64"))]
    #[case("amd64", Some("linux/amd64"))]
    #[case("linux/aarch64", Some("linux/arm64"))]
    #[case("linux/arm64/v8", Some("linux/arm64"))]
    #[case("linux/amd64/v1", Some("linux/amd64"))]
    #[case("linux/amd64/v3", Some("linux/amd64/v3"))]
    #[case("windows/amd64", None)]
    #[case("linux/amd64/v2/x", None)]
    #[case("linux/", None)]
    #[case("", None)]
    fn platforms_have_one_form(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(platform(text).ok().as_deref(), expected);
    }

    #[rstest]
    #[case("debian:12", true)]
    #[case(
        "h.org:5000/a/b:1@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        true
    )]
    #[case("-x", false)]
    #[case("a b", false)]
    #[case("a\nRUN x", false)]
    #[case("../x", false)]
    #[case("https://h.org/x", false)]
    #[case("x:$(id)", false)]
    #[case("[::1]:5000/x:1", true)]
    #[case("x[y]", false)]
    #[case("X/y", true)]
    #[case("x@sha256:12", false)]
    #[case("x:tag:tag", false)]
    #[case("x:", false)]
    fn only_references_are_images(#[case] text: &str, #[case] valid: bool) {
        let (mut findings, mut credentials) = (Findings::default(), Vec::new());
        let place = Place {
            file: "x",
            line: 1,
            field: "base",
        };
        assert_eq!(
            image(text, place, &mut findings, &mut credentials).is_some(),
            valid
        );
    }
}
