//! Base images and platforms in their one form.

use crate::address;
use crate::definition::{Base, DefaultBase};
use crate::error::{Findings, Place, quoted};
use crate::secret::{CredentialForm, CredentialTarget, InlineCredential, Secret};

/// The default CPU bases of the SDK's releases: with `gpuSupport`, they mean "the default", and the GPU
/// default takes their place. Frozen: part of version 1 of the format.
const SDK_CPU_DEFAULTS: [&str; 9] = [
    "mcr.microsoft.com/azureml/base",
    "mcr.microsoft.com/azureml/base-lite",
    "mcr.microsoft.com/azureml/intelmpi2018.3-ubuntu16.04",
    "mcr.microsoft.com/azureml/intelmpi2018.3-ubuntu18.04",
    "mcr.microsoft.com/azureml/openmpi3.1.2-ubuntu18.04",
    "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu18.04",
    "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04",
    "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04",
    "mcr.microsoft.com/azureml/openmpi5.0-ubuntu24.04",
];

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

/// Whether an image is a default CPU base of an SDK release, whatever its tag.
fn is_sdk_cpu_default(image: &str) -> bool {
    SDK_CPU_DEFAULTS.contains(&without_tag(image))
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
    let valid = !reference.is_empty()
        && reference.len() <= 512
        && !reference.starts_with(['-', '/', '.'])
        && !reference.contains("..")
        && !reference.contains("//")
        && reference
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-/:@[]".contains(c));
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
        (_, None, None) | ("arm64", Some("v8"), None) => Ok(format!("linux/{architecture}")),
        (_, Some(variant @ ("v2" | "v3" | "v4" | "v9")), None) => {
            Ok(format!("linux/{architecture}/{variant}"))
        }
        _ => Err(format!("{} is no platform", quoted(text))),
    }
}

/// A git or storage address of a build context, without credentials.
pub(crate) fn context_location(
    text: &str,
    place: Place<'_>,
    findings: &mut Findings,
    credentials: &mut Vec<InlineCredential>,
) -> Option<String> {
    match address::web(text.trim()) {
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
