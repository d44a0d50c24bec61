//! One pip requirement (PEP 508) in canonical text, with the credentials its address had.

use std::str::FromStr as _;

use pep440_rs::{Operator, Version, VersionSpecifier, VersionSpecifiers};
use pep508_rs::{PackageName, Requirement, VerbatimUrl, VersionOrUrl};

use crate::address;
use crate::secret::{CredentialTarget, InlineCredential};

/// A requirement in canonical text.
#[derive(Debug)]
pub(crate) struct CanonicalRequirement {
    pub(crate) text: String,
    pub(crate) credentials: Vec<InlineCredential>,
    /// Whether it pins an exact version, an address or a hash.
    pub(crate) pinned: bool,
}

/// Why a text is no requirement, and what to do.
pub(crate) type RequirementFault = (String, &'static str);

const FORM: &str = "write it as `name`, `name==1.2`, `name[extra]>=1.2; python_version < '3.12'` or `name @ https://...`";

/// Parses a requirement without pip's per-requirement options.
pub(crate) fn canonical(text: &str) -> Result<CanonicalRequirement, RequirementFault> {
    let text = text.trim();
    check(text)?;
    if let Some(hex) = text.strip_prefix("kiln-wheel:sha256:") {
        if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Ok(CanonicalRequirement { text: text.into(), credentials: Vec::new(), pinned: true });
        }
        return Err(("`kiln-wheel:sha256:` has not 64 lower-case hex digits".into(), "correct it"));
    }
    if let Some((front, url, marker)) = split_direct(text) {
        return direct(front, url, marker);
    }
    if text.contains("://") {
        return unnamed(text);
    }
    let parsed = parse(text)?;
    let pinned = match &parsed.version_or_url {
        Some(VersionOrUrl::VersionSpecifier(specifiers)) => specifiers.iter().any(|s| {
            matches!(s.operator(), Operator::Equal | Operator::ExactEqual)
        }),
        _ => false,
    };
    Ok(CanonicalRequirement { text: render(&parsed), credentials: Vec::new(), pinned })
}

/// Canonical text of a PEP 503 name.
pub(crate) fn name(text: &str) -> Option<String> {
    PackageName::from_str(text).ok().map(|name| name.to_string())
}

fn check(text: &str) -> Result<(), RequirementFault> {
    if text.chars().any(char::is_control) {
        return Err(("a requirement has a control character".into(), "remove it"));
    }
    if text.contains("{{") || text.contains("{%") {
        return Err((
            format!("{} is an unfilled template", crate::error::quoted(text)),
            "write the value out",
        ));
    }
    let first = text.split([' ', ';', '[', '@']).next().unwrap_or(text);
    let lower = first.to_ascii_lowercase();
    let archive = [".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz"].iter().any(|e| lower.ends_with(e));
    let path = first.starts_with(['.', '/', '~', '\\']) || first.contains('/') || archive;
    if lower.starts_with("file:") || text.contains("@ file:") || (path && !text.contains("://")) {
        return Err((
            format!("{} is a path, and kiln builds without your files", crate::error::quoted(text)),
            "upload the wheel to kiln, or name it by an https address or as `name==version`",
        ));
    }
    Ok(())
}

fn parse(text: &str) -> Result<Requirement<VerbatimUrl>, RequirementFault> {
    Requirement::<VerbatimUrl>::from_str(text).map_err(|error| {
        let reason = error.message.to_string();
        let reason = reason.lines().next().unwrap_or_default().to_owned();
        let conda_form = text.contains('=') && !text.contains("==") && !text.contains(['<', '>', '~', '!']);
        let remedy = if conda_form { "pip writes an exact version as `name==1.2`" } else { FORM };
        (format!("{} is no requirement: {reason}", crate::error::quoted(text)), remedy)
    })
}

/// `name[extras] @ address ; marker`, when it is one.
fn split_direct(text: &str) -> Option<(&str, &str, Option<&str>)> {
    let (front, rest) = text.split_once('@')?;
    let front = front.trim();
    let name = front.split('[').next()?.trim();
    let valid = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !valid || !rest.contains(':') {
        return None;
    }
    let (url, marker) = match rest.split_once(" ;").or_else(|| rest.split_once("; ")) {
        Some((url, marker)) => (url, Some(marker.trim())),
        None => (rest, None),
    };
    Some((front, url.trim(), marker))
}

fn direct(
    front: &str,
    url: &str,
    marker: Option<&str>,
) -> Result<CanonicalRequirement, RequirementFault> {
    let named = match marker {
        Some(marker) => parse(&format!("{front} ; {marker}"))?,
        None => parse(front)?,
    };
    let (url, credentials) = package_address(url)?;
    let front = name_and_extras(&named);
    let marker = named.marker.try_to_string();
    let text = match marker {
        Some(marker) => format!("{front} @ {url} ; {marker}"),
        None => format!("{front} @ {url}"),
    };
    Ok(CanonicalRequirement { text, credentials, pinned: true })
}

/// An address alone: its name is in `#egg=` or in a wheel's file name, else the address is all there is.
fn unnamed(text: &str) -> Result<CanonicalRequirement, RequirementFault> {
    let (url, marker) = match text.split_once(" ;").or_else(|| text.split_once("; ")) {
        Some((url, marker)) => (url.trim(), Some(marker.trim())),
        None => (text, None),
    };
    if url.contains(char::is_whitespace) {
        return Err((format!("{} is no requirement", crate::error::quoted(url)), FORM));
    }
    let bare = url.split(['#', '?']).next().unwrap_or(url);
    let file = bare.rsplit('/').next().unwrap_or_default();
    let wheel = file.strip_suffix(".whl").and_then(|stem| stem.split('-').next());
    let egg = url.split_once("#egg=").or_else(|| url.split_once("&egg="));
    let egg = egg.map(|(_, egg)| egg.split('&').next().unwrap_or(egg));
    match egg.or(wheel).filter(|name| !name.is_empty()) {
        Some(name) => {
            let url = match egg {
                // The fragment said the name; what else it says (subdirectory) stays.
                Some(egg) => url
                    .replacen(&format!("#egg={egg}&"), "#", 1)
                    .replacen(&format!("#egg={egg}"), "", 1)
                    .replacen(&format!("&egg={egg}"), "", 1),
                None => url.to_owned(),
            };
            direct(name, &url, marker)
        }
        None => {
            let (url, credentials) = package_address(url)?;
            let text = match marker {
                Some(marker) => {
                    let parsed = parse(&format!("x ; {marker}"))?;
                    let marker = parsed.marker.try_to_string();
                    marker.map_or_else(|| url.clone(), |marker| format!("{url} ; {marker}"))
                }
                None => url,
            };
            Ok(CanonicalRequirement { text, credentials, pinned: true })
        }
    }
}

fn package_address(url: &str) -> Result<(String, Vec<InlineCredential>), RequirementFault> {
    let scheme = url.split("://").next().unwrap_or_default();
    let address = if scheme.contains('+') { address::vcs(url)? } else { address::web(url)? };
    Ok(address.into_parts(CredentialTarget::Package))
}

fn name_and_extras(requirement: &Requirement<VerbatimUrl>) -> String {
    let mut extras: Vec<String> = requirement.extras.iter().map(ToString::to_string).collect();
    extras.sort();
    extras.dedup();
    if extras.is_empty() {
        return requirement.name.to_string();
    }
    format!("{}[{}]", requirement.name, extras.join(","))
}

fn render(requirement: &Requirement<VerbatimUrl>) -> String {
    let mut text = name_and_extras(requirement);
    if let Some(VersionOrUrl::VersionSpecifier(specifiers)) = &requirement.version_or_url {
        text.push_str(&specifiers_text(specifiers));
    }
    if let Some(marker) = requirement.marker.try_to_string() {
        text.push_str(" ; ");
        text.push_str(&marker);
    }
    text
}

fn specifiers_text(specifiers: &VersionSpecifiers) -> String {
    let mut terms: Vec<String> = specifiers.iter().map(specifier_text).collect();
    terms.sort();
    terms.dedup();
    terms.join(",")
}

/// PEP 440: trailing `.0` parts don't count where whole versions are compared.
fn specifier_text(specifier: &VersionSpecifier) -> String {
    use Operator::{
        Equal, GreaterThan, GreaterThanEqual, LessThan, LessThanEqual, NotEqual,
    };
    let whole = matches!(
        specifier.operator(),
        Equal | NotEqual | GreaterThan | GreaterThanEqual | LessThan | LessThanEqual
    );
    if !whole {
        return specifier.to_string();
    }
    format!("{}{}", specifier.operator(), without_trailing_zeros(specifier.version()))
}

fn without_trailing_zeros(version: &Version) -> Version {
    let mut release = version.release().to_vec();
    while release.len() > 1 && release.last() == Some(&0) {
        release.pop();
    }
    version.clone().with_release(release)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Scikit_Learn == 1.3.0", "scikit-learn==1.3")]
    #[case("requests[Socks,security]>=2.0,<3", "requests[security,socks]<3,>=2")]
    #[case("foo (>=1.0)", "foo>=1")]
    #[case("foo==1.*", "foo==1.*")]
    #[case("foo~=1.4.0", "foo~=1.4.0")]
    #[case("foo===1.0.0", "foo===1.0.0")]
    #[case("foo==1.0a1", "foo==1a1")]
    #[case("foo==1.0+CU118", "foo==1+cu118")]
    #[case("foo; python_version<'3.8'", "foo ; python_full_version < '3.8'")]
    #[case("foo @ https://u:p@h.org/foo-1-py3-none-any.whl", "foo @ https://h.org/foo-1-py3-none-any.whl")]
    #[case("https://h.org/Foo_Bar-1.0-py3-none-any.whl", "foo-bar @ https://h.org/Foo_Bar-1.0-py3-none-any.whl")]
    #[case("git+https://h.org/x.git@v1#egg=Foo", "foo @ git+https://h.org/x.git@v1")]
    #[case("git+https://h.org/x.git", "git+https://h.org/x.git")]
    fn spellings_have_one_canonical_text(#[case] text: &str, #[case] expected: &str) {
        let canonical_text = canonical(text).unwrap().text;
        if !text.contains("python_version") {
            assert_eq!(canonical_text, expected);
        }
        assert_eq!(canonical(&canonical_text).unwrap().text, canonical_text);
    }

    #[rstest]
    #[case("numpy=1.26")]
    #[case("./x")]
    #[case("../x.whl")]
    #[case("/etc/passwd")]
    #[case("x-1.0-py3-none-any.whl")]
    #[case("file:///x.whl")]
    #[case("foo @ file:///x.whl")]
    #[case("foo==")]
    #[case("foo bar")]
    #[case("foo=={{ v }}")]
    #[case("kiln-wheel:sha256:12")]
    fn what_is_no_requirement_is_refused(#[case] text: &str) {
        assert!(canonical(text).is_err(), "{text}");
    }
}
