//! Makes sense of what uv says when it fails, in classes and with remedies.

use super::PypiError;

/// The most lines of uv's explanation that reach a person.
const MOST_LINES: usize = 60;

/// What uv wrote to its standard error, without log lines, escapes and secrets.
pub(super) fn message(stderr: &str, secrets: &[String]) -> String {
    let lines: Vec<String> = stderr
        .lines()
        .filter(|line| !is_log(line))
        .map(|line| {
            let mut line = without_escapes(line);
            for secret in secrets.iter().filter(|secret| secret.len() >= 4) {
                line = line.replace(secret.as_str(), "***");
            }
            line
        })
        .filter(|line| !line.starts_with("Resolved ") && !line.starts_with("warning: "))
        .take(MOST_LINES)
        .collect();
    lines.join("\n").trim().to_owned()
}

/// Log lines begin with their level; indented ones continue an explanation.
pub(super) fn is_log(line: &str) -> bool {
    ["TRACE ", "DEBUG ", " INFO ", "INFO ", " WARN ", "WARN "]
        .iter()
        .any(|level| line.starts_with(level))
}

fn without_escapes(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.peek() == Some(&'[') {
                while chars.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
            }
        } else if !c.is_control() || c == '\t' {
            out.push(c);
        }
    }
    out
}

/// The failure that a message of uv's means.
pub(super) fn failure(message: &str) -> PypiError {
    let says = |part: &str| message.contains(part);
    let message = message
        .strip_prefix("error: ")
        .unwrap_or(message)
        .to_owned();
    if [
        "401 Unauthorized",
        "403 Forbidden",
        "status code 401",
        "status code 403",
        "lack of valid authentication",
    ]
    .iter()
    .any(|part| message.contains(part))
    {
        PypiError::Denied { message }
    } else if says("Failed to fetch")
        || says("Request failed")
        || says("error sending request")
        || says("HTTP status server error")
    {
        PypiError::Unreachable { message }
    } else if says("building from source is disabled")
        || says("Building source distributions")
        || says("has no usable wheels")
    {
        PypiError::OnlySource {
            packages: only_source(&message),
            message,
        }
    } else if says("No solution found") {
        if says("was not found in the package registry") && !says("depend on") {
            PypiError::NotFound { message }
        } else {
            PypiError::Unsatisfiable {
                clash: message,
                help: Vec::new(),
            }
        }
    } else if says("Failed to parse") || says("Couldn't parse") || says("invalid") {
        PypiError::Requirement {
            requirement: "the pip section".into(),
            reason: message,
        }
    } else {
        PypiError::Failed { message }
    }
}

/// The packages that uv's hints name as having no wheel.
fn only_source(message: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (start, end) in [
        ("Wheels are required for `", '`'),
        ("Building source distributions for `", '`'),
    ] {
        for part in message.split(start).skip(1) {
            if let Some(name) = part.split(end).next() {
                let name = name.to_owned();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::PypiErrorKind;
    use super::*;

    #[test]
    fn what_uv_says_has_a_class() {
        use PypiErrorKind as Kind;
        for (said, kind) in [
            (
                "error: No solution found when resolving dependencies\n  cause: Because only-sdist==1.0 has no usable wheels and only only-sdist==1.0 is available, we can conclude that all versions of only-sdist cannot be used.\n\nhint: Wheels are required for `only-sdist` because building from source is disabled for all packages (i.e., with `--no-build`)",
                Kind::NotFound,
            ),
            (
                "error: No solution found when resolving dependencies\n  cause: Because nope was not found in the package registry and you require nope, we can conclude that your requirements are unsatisfiable.",
                Kind::NotFound,
            ),
            (
                "error: No solution found when resolving dependencies\n  cause: Because all versions of a depend on foo>=2 and all versions of b depend on foo<2, we can conclude",
                Kind::Unsatisfiable,
            ),
            (
                "error: No solution found when resolving dependencies\n  cause: Because secretpkg was not found in the package registry\n\nhint: An index URL (http://localhost/simple/) could not be queried due to a lack of valid authentication credentials (401 Unauthorized)",
                Kind::Auth,
            ),
            (
                "error: Request failed after 3 retries in 8.1s\n  cause: Failed to fetch: http://localhost:9/simple/x/\n  cause: tcp connect error",
                Kind::Network,
            ),
            ("error: something new", Kind::Internal),
        ] {
            assert_eq!(failure(said).kind(), kind, "{said}");
        }
    }

    #[test]
    fn logs_escapes_and_secrets_do_not_reach_a_person() {
        let said = "DEBUG Found stale response for: https://kiln:s3cret@localhost/\n\u{1b}[1merror\u{1b}[0m: https://kiln:s3cret@localhost/ failed\n  cause: it";
        assert_eq!(
            message(said, &["s3cret".into()]),
            "error: https://kiln:***@localhost/ failed\n  cause: it"
        );
    }
}
