//! Registry hosts: `host[:port]`, as in the reference grammar of the distribution project.

use std::net::Ipv6Addr;

/// The registry that a reference without a host means.
pub(crate) const DEFAULT_REGISTRY: &str = "docker.io";
/// An older name of the same registry.
const LEGACY_REGISTRY: &str = "index.docker.io";

/// Whether the first part of a reference is a host by Docker's rule: it holds a dot, a colon or an
/// upper-case letter, or is `localhost`.
pub(crate) fn looks_like_host(part: &str) -> bool {
    part == "localhost"
        || part.contains(['.', ':', '['])
        || part.bytes().any(|b| b.is_ascii_uppercase())
}

/// Checks `host[:port]` and returns it in lower case, with the older name of Docker's registry replaced.
pub(crate) fn normalise(text: &str) -> Option<String> {
    let (host, port) = split_port(text)?;
    let good_port = port.is_none_or(|p| {
        !p.is_empty()
            && p.bytes().all(|b| b.is_ascii_digit())
            && p.parse::<u16>().is_ok_and(|n| n > 0)
    });
    let good_host = match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok()),
        None => !host.is_empty() && host.len() <= 253 && host.split('.').all(is_label),
    };
    if !good_port || !good_host {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    Some(if lower == LEGACY_REGISTRY {
        DEFAULT_REGISTRY.to_owned()
    } else {
        lower
    })
}

/// Splits the port off; the brackets of an IPv6 address stay with the host.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if text.starts_with('[') {
        let end = text.find(']')? + 1;
        let (host, rest) = text.split_at(end);
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match text.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

/// One label of a host name: letters, digits and inner hyphens.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("localhost", Some("localhost"))]
    #[case("LOCALHOST:5000", Some("localhost:5000"))]
    #[case("registry.example.com", Some("registry.example.com"))]
    #[case("index.docker.io", Some("docker.io"))]
    #[case("10.0.0.1:443", Some("10.0.0.1:443"))]
    #[case("[::1]:5000", Some("[::1]:5000"))]
    #[case("[::1]", Some("[::1]"))]
    #[case("[::1]x", None)]
    #[case("[x]", None)]
    #[case("a..b", None)]
    #[case("-a.b", None)]
    #[case("a_b.c", None)]
    #[case("host:", None)]
    #[case("host:0", None)]
    #[case("host:70000", None)]
    #[case("host:+80", None)]
    #[case("user@host.x", None)]
    #[case("", None)]
    fn hosts_are_checked_and_put_in_lower_case(#[case] text: &str, #[case] host: Option<&str>) {
        assert_eq!(normalise(text).as_deref(), host);
    }
}
