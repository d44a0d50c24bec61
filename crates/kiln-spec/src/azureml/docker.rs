//! The docker section: base image, Dockerfile or build context, its registry, the platform.

use crate::base;
use crate::definition::Base;
use crate::document::Value;
use crate::error::{Place, quoted};
use crate::input::{DEFAULT_PLATFORM, Reading};
use crate::secret::{CredentialForm, CredentialTarget, InlineCredential, Secret};

use super::fields::Section;

/// The document of a saved folder.
const SAVED_DOCUMENT: &str = "azureml_environment.json";
/// The Dockerfile beside `azureml_environment.json` in a saved folder.
const SAVED_DOCKERFILE: &str = "BaseDockerfile";
/// A longer Dockerfile is refused by the service.
const DOCKERFILE_LIMIT_BYTES: usize = 100 << 10;

/// What the section becomes.
pub(super) struct Docker {
    pub(super) base: Base,
    pub(super) platform: String,
    /// Whether the section is there and its base is null: the SDK's form with nothing filled in.
    pub(super) is_empty: bool,
}

/// Reads the section; without one the defaults count.
pub(super) fn read(environment: &Section<'_>, reading: &mut Reading<'_>) -> Docker {
    let no_place = Place {
        file: reading.input.file_name,
        line: environment.line(),
        field: "docker",
    };
    let Some(entry) = environment.get("docker") else {
        let gpu = reading.input.overrides.gpu;
        let base = reading
            .base_override(gpu)
            .unwrap_or_else(|| base::default(gpu));
        return Docker {
            base,
            platform: reading.platform(None, no_place),
            is_empty: false,
        };
    };
    let section = Section::of(&entry.value, "docker", reading);
    section.only(
        &[
            "enabled",
            "baseImage",
            "baseDockerfile",
            "buildContext",
            "sharedVolumes",
            "shmSize",
            "arguments",
            "baseImageRegistry",
            "platform",
            "gpuSupport",
        ],
        reading,
    );
    deprecated(&section, reading);
    let platform = platform(&section, reading);
    let registry = registry(&section, reading);
    let base = base(&section, registry, reading);
    let named = ["baseImage", "baseDockerfile", "buildContext"];
    Docker {
        base,
        platform,
        // A saved folder has its Dockerfile and its packages in files of their own, which may be forgotten.
        is_empty: !reading.input.file_name.ends_with(SAVED_DOCUMENT)
            && named.iter().all(|name| section.get(name).is_none()),
    }
}

/// Warns of run-time settings that differ from the SDK's defaults; they change no image.
fn deprecated(section: &Section<'_>, reading: &mut Reading<'_>) {
    let set = [
        ("enabled", section.flag("enabled", reading)),
        (
            "sharedVolumes",
            section.get("sharedVolumes").is_some() && !section.flag("sharedVolumes", reading),
        ),
        (
            "shmSize",
            section
                .text("shmSize", reading)
                .is_some_and(|size| size != "2g"),
        ),
        ("arguments", !section.list("arguments", reading).is_empty()),
    ];
    for (field, set) in set {
        if set {
            section.warn(
                reading,
                section.line(),
                field,
                "a setting of the run stands in the environment, and is ignored",
                "give it to the run",
            );
        }
    }
}

fn platform(section: &Section<'_>, reading: &mut Reading<'_>) -> String {
    let Some(entry) = section.get("platform") else {
        let place = Place {
            file: reading.input.file_name,
            line: section.line(),
            field: "docker.platform",
        };
        return reading.platform(None, place);
    };
    let platform = Section::of(&entry.value, "docker.platform", reading);
    let os = platform
        .text("os", reading)
        .unwrap_or("linux")
        .to_ascii_lowercase();
    let architecture = platform
        .text("architecture", reading)
        .unwrap_or("amd64")
        .to_ascii_lowercase();
    let text = format!("{os}/{architecture}");
    let text = if text == "/" {
        DEFAULT_PLATFORM.to_owned()
    } else {
        text
    };
    let place = Place {
        file: reading.input.file_name,
        line: entry.line,
        field: "docker.platform",
    };
    reading.platform(Some(&text), place)
}

/// The registry that `baseImageRegistry` names: an object, or its address as a plain text.
fn registry(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<Registry> {
    let entry = section.get("baseImageRegistry")?;
    if let Value::Scalar(address, _) = &entry.value.value {
        return Some(Registry {
            address: Some(address.clone()),
            user: None,
        });
    }
    let registry = Section::of(&entry.value, "docker.baseImageRegistry", reading);
    registry.only(
        &["address", "username", "password", "registryIdentity"],
        reading,
    );
    let address = registry.text("address", reading).map(str::to_owned);
    let username = registry.text("username", reading);
    let password = registry.text("password", reading);
    if registry.get("registryIdentity").is_some() {
        if username.is_some() || password.is_some() {
            registry.error(
                reading,
                entry.line,
                "registryIdentity",
                "the registry has both an identity and a user",
                "keep one of them",
            );
        }
        registry.warn(
            reading,
            entry.line,
            "registryIdentity",
            "identities belong to Azure's own machines, and are ignored",
            "give kiln the registry's credentials",
        );
    }
    let user = match (username, password) {
        (Some(username), Some(password)) => {
            registry.warn(
                reading,
                entry.line,
                "password",
                "a password stands in the environment",
                "give it to kiln's credential store instead",
            );
            Some((username.to_owned(), Secret::new(password)))
        }
        // The SDK sends a registered environment back without its password.
        (_, None) => None,
        (None, Some(_)) => {
            registry.error(
                reading,
                entry.line,
                "",
                "the registry has a password and no user name",
                "give both, or the user name alone where kiln keeps its password",
            );
            None
        }
    };
    Some(Registry { address, user })
}

struct Registry {
    address: Option<String>,
    user: Option<(String, Secret)>,
}

fn base(section: &Section<'_>, registry: Option<Registry>, reading: &mut Reading<'_>) -> Base {
    let image = section.text("baseImage", reading);
    let mut dockerfile = section.text("baseDockerfile", reading).map(str::to_owned);
    let context = section.get("buildContext");
    if image.is_none() && dockerfile.is_none() && context.is_none() {
        dockerfile = reading.input.files.get(SAVED_DOCKERFILE).cloned();
    }
    let given = usize::from(image.is_some())
        + usize::from(dockerfile.is_some())
        + usize::from(context.is_some());
    if given > 1 {
        section.error(
            reading,
            section.line(),
            "",
            "more than one of baseImage, baseDockerfile and buildContext is given",
            "keep one of them",
        );
    }
    let gpu = section.flag("gpuSupport", reading) || reading.input.overrides.gpu;
    if dockerfile.is_some() || context.is_some() {
        if reading.input.overrides.base.is_some() {
            section.error(
                reading,
                section.line(),
                "",
                "the environment builds its own base, and another one is asked for beside it",
                "leave the base out of the request, or the Dockerfile out of the environment",
            );
        }
        if gpu {
            section.warn(
                reading,
                section.line(),
                "",
                "GPU support is asked for, and the environment builds its own base",
                "check that it has CUDA",
            );
        }
    }
    if let Some(text) = dockerfile {
        return self::dockerfile(section, &text, reading);
    }
    if let Some(entry) = context {
        return build_context(&entry.value, reading);
    }
    if let Some(base) = reading.base_override(gpu) {
        return base;
    }
    let Some(image) = image else {
        section.warn(
            reading,
            section.line(),
            "baseImage",
            "no base is named, and kiln's default is taken",
            "name one",
        );
        return base::default(gpu);
    };
    let registry = registry.unwrap_or(Registry {
        address: None,
        user: None,
    });
    let full = base::with_registry(image, registry.address.as_deref());
    let field = section.path("baseImage");
    let place = Place {
        file: reading.input.file_name,
        line: section.line(),
        field: &field,
    };
    if let Some((username, secret)) = registry.user {
        let host = full
            .split('/')
            .next()
            .filter(|_| base::names_host(&full))
            .unwrap_or("docker.io");
        reading.credentials.push(InlineCredential {
            target: CredentialTarget::Registry(host.to_owned()),
            form: CredentialForm::Basic,
            username: Some(username),
            secret,
        });
    }
    let reference = base::image(
        &full,
        place,
        &mut reading.findings,
        &mut reading.credentials,
    );
    reference.map_or(base::default(gpu), |reference| {
        base::with_gpu(reference, gpu, place, &mut reading.findings)
    })
}

fn dockerfile(section: &Section<'_>, text: &str, reading: &mut Reading<'_>) -> Base {
    let text = text
        .strip_prefix('\u{feff}')
        .unwrap_or(text)
        .replace("\r\n", "\n");
    if text.len() > DOCKERFILE_LIMIT_BYTES {
        section.error(
            reading,
            section.line(),
            "baseDockerfile",
            "the Dockerfile is larger than 100 KiB",
            "shorten it, or use a build context",
        );
    }
    if text.contains('\0') || text.contains('\r') {
        section.error(
            reading,
            section.line(),
            "baseDockerfile",
            "the Dockerfile has a NUL or a lone CR character",
            "save it as text",
        );
    }
    Base::Dockerfile(text)
}

fn build_context(node: &crate::document::Node, reading: &mut Reading<'_>) -> Base {
    let context = Section::of(node, "docker.buildContext", reading);
    context.only(&["locationType", "location", "dockerfilePath"], reading);
    let kind = context
        .text("locationType", reading)
        .unwrap_or_default()
        .to_ascii_lowercase();
    let location = context.text("location", reading);
    let path = context
        .text("dockerfilePath", reading)
        .unwrap_or("Dockerfile");
    let plain = !path.starts_with('/')
        && !path.contains(['\\', '\n'])
        && path.split('/').all(|part| part != "..");
    if !plain {
        context.error(
            reading,
            node.line,
            "dockerfilePath",
            "the path leaves the context",
            "write a path inside the context",
        );
    }
    let dockerfile_path = path
        .split('/')
        .filter(|p| !p.is_empty() && *p != ".")
        .collect::<Vec<_>>()
        .join("/");
    if location.is_none() {
        context.error(
            reading,
            node.line,
            "location",
            "the context has no location",
            "give its address",
        );
    }
    let git = kind == "git";
    if !git && kind != "storageaccount" {
        let reason = format!("{} is no type of location", quoted(&kind));
        context.error(
            reading,
            node.line,
            "locationType",
            &reason,
            "use `git` or `storageAccount`",
        );
    }
    let place = Place {
        file: reading.input.file_name,
        line: node.line,
        field: "docker.buildContext.location",
    };
    let location = location.and_then(|location| {
        base::context_location(
            location,
            git,
            place,
            &mut reading.findings,
            &mut reading.credentials,
        )
    });
    let location = location.unwrap_or_default();
    if git {
        Base::Git {
            location,
            dockerfile_path,
        }
    } else {
        Base::Context {
            location,
            dockerfile_path,
        }
    }
}
