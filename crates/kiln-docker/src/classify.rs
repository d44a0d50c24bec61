//! What a failed build step means: one table of the engine's and the tools' texts.

use kiln_api::{Failure, FailureClass};

use crate::connection::ConnectError;

/// A text that a failure has, its class, and what to do.
struct Sign {
    text: &'static str,
    class: FailureClass,
    remedy: &'static str,
}

const fn sign(text: &'static str, class: FailureClass, remedy: &'static str) -> Sign {
    Sign {
        text,
        class,
        remedy,
    }
}

/// The first that is found counts.
const SIGNS: [Sign; 22] = [
    sign(
        "no space left on device",
        FailureClass::Disk,
        "free space on the Docker Engine's disk, then ask again",
    ),
    sign(
        "disk quota exceeded",
        FailureClass::Disk,
        "free space on the Docker Engine's disk, then ask again",
    ),
    sign(
        "exit code: 137",
        FailureClass::Memory,
        "give the Docker Engine more memory, or make the environment smaller",
    ),
    sign(
        "cannot allocate memory",
        FailureClass::Memory,
        "give the Docker Engine more memory, or make the environment smaller",
    ),
    sign(
        "pull access denied",
        FailureClass::Auth,
        "give kiln credentials for the base's registry",
    ),
    sign(
        "insufficient_scope",
        FailureClass::Auth,
        "give kiln credentials for the base's registry",
    ),
    sign(
        "unauthorized",
        FailureClass::Auth,
        "give kiln credentials for the base's registry",
    ),
    sign(
        "no basic auth credentials",
        FailureClass::Auth,
        "give kiln credentials for the base's registry",
    ),
    sign(
        "manifest unknown",
        FailureClass::NotFound,
        "check the name and tag of the base image",
    ),
    sign(
        "failed to resolve source metadata",
        FailureClass::Network,
        "check that the Docker Engine reaches the base's registry",
    ),
    sign(
        "failed to do request",
        FailureClass::Network,
        "check that the Docker Engine reaches the base's registry",
    ),
    sign(
        "server gave http response to https client",
        FailureClass::Network,
        "add the registry to the Docker Engine's `insecure-registries`, or give it TLS",
    ),
    sign(
        "certificate signed by unknown authority",
        FailureClass::Network,
        "make the Docker Engine trust the registry's certificate authority",
    ),
    sign(
        "temporary failure in name resolution",
        FailureClass::Network,
        "check the network and DNS of containers",
    ),
    sign(
        "could not resolve host",
        FailureClass::Network,
        "check the network and DNS of containers",
    ),
    sign(
        "certificate_verify_failed",
        FailureClass::Network,
        "give kiln the certificate authority as `extra_ca`",
    ),
    sign(
        "connection refused",
        FailureClass::Network,
        "check that what the step connects to is reachable from containers",
    ),
    sign(
        "resolvepackagenotfound",
        FailureClass::NotFound,
        "check the names of the packages and the channels",
    ),
    sign(
        "no matching distribution found",
        FailureClass::NotFound,
        "check the names and versions of the packages",
    ),
    sign(
        "resolutionimpossible",
        FailureClass::Unsatisfiable,
        "loosen the versions that clash",
    ),
    sign(
        "dockerfile parse error",
        FailureClass::Invalid,
        "correct the Dockerfile",
    ),
    sign(
        "unknown instruction",
        FailureClass::Invalid,
        "correct the Dockerfile",
    ),
];

/// What the engine says, in lower case, when the registry of a base fails it. Output of steps may say the same
/// and mean something else.
const REGISTRY_SIGNS: [&str; 10] = [
    "429 too many requests",
    "toomanyrequests",
    "500 internal server error",
    "502 bad gateway",
    "503 service unavailable",
    "504 gateway time",
    "connection reset by peer",
    "unexpected commit digest",
    "unexpected eof",
    ": eof",
];

/// A failed build: the step, what BuildKit says, and the last lines of the step's output.
pub(crate) fn build_failure(step: Option<&str>, error: &str, tail: &[String]) -> Failure {
    let haystack = format!("{error}\n{}", tail.join("\n")).to_lowercase();
    let found = SIGNS.iter().find(|sign| haystack.contains(sign.text));
    let mut message = match step {
        Some(step) => format!("the build step `{step}` failed: {}", error.trim()),
        None => format!("the build failed: {}", error.trim()),
    };
    for line in tail {
        message.push('\n');
        message.push_str(line);
    }
    let engine = error.to_lowercase();
    let registry = REGISTRY_SIGNS.iter().any(|text| engine.contains(text));
    let (class, remedy) = match found {
        Some(sign) => (sign.class, sign.remedy),
        None if registry => (
            FailureClass::Registry,
            "check the registry of the base image, then ask again",
        ),
        None if step.is_some() => (
            FailureClass::Invalid,
            "see the last lines of the step above, and its whole log",
        ),
        None => (FailureClass::Internal, "see the build's log"),
    };
    Failure::new(class, message, remedy)
}

/// An engine that can't be used.
pub(crate) fn connect_failure(error: &ConnectError) -> Failure {
    let cause = std::error::Error::source(error)
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    Failure {
        retryable: true,
        transient: true,
        ..Failure::new(
            FailureClass::Internal,
            format!("{error}{cause}"),
            "start Docker (20.10 or newer), or tell kiln where it is (`docker.host`, KILN_DOCKER_HOST)",
        )
    }
}

/// A fault of the engine outside a build step.
pub(crate) fn engine_failure(what: &str, error: &bollard::errors::Error) -> Failure {
    let text = error.to_string();
    if text.to_lowercase().contains("no space left") {
        return Failure::new(
            FailureClass::Disk,
            format!("the Docker Engine could not {what}: {text}"),
            "free space on the Docker Engine's disk, then ask again",
        );
    }
    Failure::new(
        FailureClass::Internal,
        format!("the Docker Engine could not {what}: {text}"),
        "see the Docker Engine's own log, then ask again",
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("write /x: no space left on device", FailureClass::Disk)]
    #[case(
        "process \"/bin/sh -c x\" did not complete successfully: exit code: 137",
        FailureClass::Memory
    )]
    #[case("pull access denied, repository does not exist", FailureClass::Auth)]
    #[case("localhost:5000/x@sha256:00: manifest unknown", FailureClass::NotFound)]
    #[case(
        "pulling from host x failed with status code [manifests 1]: 500 Internal Server Error",
        FailureClass::Registry
    )]
    #[case("exit code: 7", FailureClass::Invalid)]
    fn texts_have_their_class(#[case] error: &str, #[case] class: FailureClass) {
        let failure = build_failure(Some("RUN x"), error, &["last line".into()]);
        assert_eq!(failure.class, class);
        assert!(failure.message.contains("last line") && !failure.remedy.is_empty());
    }

    #[test]
    fn the_tail_tells_too() {
        let tail = ["ERROR: No matching distribution found for nopackage".to_owned()];
        assert_eq!(
            build_failure(Some("RUN"), "exit code: 1", &tail).class,
            FailureClass::NotFound
        );
    }
}
