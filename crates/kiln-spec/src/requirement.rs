//! One pip requirement (PEP 508) in canonical text, with the credentials its address had.

use std::str::FromStr as _;

use pep440_rs::{Operator, Version, VersionSpecifier};

use crate::address;
use crate::error::quoted;
use crate::marker;
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

/// A wheel of kiln's own store, by its content.
const KILN_WHEEL: &str = "kiln-wheel:sha256:";

/// Parses a requirement without pip's per-requirement options.
pub(crate) fn canonical(text: &str) -> Result<CanonicalRequirement, RequirementFault> {
    let text = text.trim();
    check(text)?;
    let (front, rest) = name_and_extras(text);
    if let (Some(front), Some(address)) = (&front, rest.strip_prefix('@')) {
        let front = front
            .as_ref()
            .map_err(|reason| no_requirement(text, reason))?;
        return direct(front, address);
    }
    if text.contains("://") || text.starts_with(KILN_WHEEL) {
        return unnamed(text);
    }
    let front = front
        .ok_or_else(|| no_requirement(text, "it begins with no name of a package"))?
        .map_err(|reason| no_requirement(text, &reason))?;
    let (specifiers, marker) = match rest.split_once(';') {
        Some((specifiers, marker)) => (specifiers.trim(), Some(marker)),
        None => (rest.trim(), None),
    };
    let specifiers = match specifiers.strip_prefix('(') {
        Some(inner) => inner
            .strip_suffix(')')
            .ok_or_else(|| no_requirement(text, "a parenthesis has no end"))?,
        None => specifiers,
    };
    let (specifiers, pinned) =
        specifiers_text(specifiers).map_err(|reason| no_requirement(text, &reason))?;
    let text = with_marker(format!("{front}{specifiers}"), marker)?;
    Ok(CanonicalRequirement {
        text,
        credentials: Vec::new(),
        pinned,
    })
}

/// A name in its normal form (PEP 503), or `None` when it is none (PEP 508).
pub(crate) fn normal_name(text: &str) -> Option<String> {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let valid = ends(text.chars().next())
        && ends(text.chars().next_back())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !valid {
        return None;
    }
    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    Some(name)
}

fn no_requirement(text: &str, reason: &str) -> RequirementFault {
    let conda_form =
        text.contains('=') && !text.contains("==") && !text.contains(['<', '>', '~', '!', ':']);
    let remedy = if conda_form {
        "pip writes an exact version as `name==1.2`"
    } else {
        FORM
    };
    (
        format!("{} is no requirement: {reason}", quoted(text)),
        remedy,
    )
}

fn check(text: &str) -> Result<(), RequirementFault> {
    if text.chars().any(char::is_control) {
        return Err(("a requirement has a control character".into(), "remove it"));
    }
    if text.contains("{{") || text.contains("{%") {
        return Err((
            format!("{} is an unfilled template", quoted(text)),
            "write the value out",
        ));
    }
    let first = text.split([' ', ';', '[', '@']).next().unwrap_or(text);
    let lower = first.to_ascii_lowercase();
    let archive = [".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz"]
        .iter()
        .any(|e| lower.ends_with(e));
    let path = first.starts_with(['.', '/', '~', '\\']) || first.contains('/') || archive;
    let behind = text
        .split_once('@')
        .map_or("", |(_, rest)| rest.trim_start());
    let local = |text: &str| {
        let lower = text.get(..5).unwrap_or_default().to_ascii_lowercase();
        lower == "file:" || text.starts_with(['.', '/', '~'])
    };
    if local(text) || local(behind) || (path && !text.contains("://")) {
        return Err((
            format!(
                "{} is a path, and kiln builds without your files",
                quoted(text)
            ),
            "upload the wheel to kiln, or name it by an https address or as `name==version`",
        ));
    }
    Ok(())
}

/// `name[extra,...]` in its normal form, and the rest. `None` when no name begins the text.
fn name_and_extras(text: &str) -> (Option<Result<String, String>>, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)))
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let Some(name) = normal_name(name) else {
        return (None, text);
    };
    let rest = rest.trim_start();
    let Some(inner) = rest.strip_prefix('[') else {
        return (Some(Ok(name)), rest);
    };
    let Some((extras, rest)) = inner.split_once(']') else {
        return (Some(Err("the list of extras has no end".into())), rest);
    };
    let mut names = Vec::new();
    for extra in extras.split(',').map(str::trim) {
        match normal_name(extra) {
            Some(extra) => names.push(extra),
            None if extras.trim().is_empty() => {}
            None => return (Some(Err(format!("{} is no extra", quoted(extra)))), rest),
        }
    }
    names.sort();
    names.dedup();
    let front = if names.is_empty() {
        name
    } else {
        format!("{name}[{}]", names.join(","))
    };
    (Some(Ok(front)), rest.trim_start())
}

fn with_marker(text: String, marker: Option<&str>) -> Result<String, RequirementFault> {
    let Some(marker) = marker else {
        return Ok(text);
    };
    match marker::canonical(marker) {
        Ok(marker) => Ok(format!("{text} ; {marker}")),
        Err(reason) => Err((
            reason,
            "write the marker as `; python_version >= '3.8' and sys_platform == 'linux'`",
        )),
    }
}

/// An address and the marker behind it: white space and `;`, since `;` may stand in an address.
fn split_marker(text: &str) -> (&str, Option<&str>) {
    let split = text.split_once(" ;").or_else(|| text.split_once("; "));
    match split {
        Some((address, marker)) => (address.trim(), Some(marker)),
        None => (text.trim(), None),
    }
}

/// `name[extras] @ address ; marker`.
fn direct(front: &str, rest: &str) -> Result<CanonicalRequirement, RequirementFault> {
    let (address, marker) = split_marker(rest);
    if address.starts_with(KILN_WHEEL) {
        let text = with_marker(format!("{front} @ {}", kiln_wheel(address)?), marker)?;
        return Ok(CanonicalRequirement {
            text,
            credentials: Vec::new(),
            pinned: true,
        });
    }
    let (address, credentials) = package_address(address)?;
    let text = with_marker(format!("{front} @ {address}"), marker)?;
    Ok(CanonicalRequirement {
        text,
        credentials,
        pinned: true,
    })
}

/// An address alone: its name is in `#egg=` or in a wheel's file name, else the address is all there is.
fn unnamed(text: &str) -> Result<CanonicalRequirement, RequirementFault> {
    let (address, marker) = split_marker(text);
    if address.starts_with(KILN_WHEEL) {
        let text = with_marker(kiln_wheel(address)?.to_owned(), marker)?;
        return Ok(CanonicalRequirement {
            text,
            credentials: Vec::new(),
            pinned: true,
        });
    }
    if address.contains(char::is_whitespace) {
        return Err((format!("{} is no requirement", quoted(address)), FORM));
    }
    let fragment = address.split_once('#').map_or("", |(_, fragment)| fragment);
    let egg = fragment
        .split('&')
        .find_map(|part| part.strip_prefix("egg="));
    let bare = address.split(['#', '?']).next().unwrap_or(address);
    let file = bare.rsplit('/').next().unwrap_or_default();
    let wheel = file
        .strip_suffix(".whl")
        .and_then(|stem| stem.split('-').next());
    let front = egg.or(wheel).and_then(|name| match name_and_extras(name) {
        (Some(Ok(front)), _) => Some(front),
        _ => None,
    });
    let (address, credentials) = package_address(address)?;
    let text = match front {
        Some(front) => format!("{front} @ {address}"),
        None => address,
    };
    Ok(CanonicalRequirement {
        text: with_marker(text, marker)?,
        credentials,
        pinned: true,
    })
}

fn kiln_wheel(address: &str) -> Result<&str, RequirementFault> {
    let hex = address.strip_prefix(KILN_WHEEL).unwrap_or_default();
    let digits = hex
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if hex.len() == 64 && digits {
        return Ok(address);
    }
    Err((
        format!("`{KILN_WHEEL}` has not 64 lower-case hex digits"),
        "correct it",
    ))
}

fn package_address(url: &str) -> Result<(String, Vec<InlineCredential>), RequirementFault> {
    let scheme = url.split(['/', ':']).next().unwrap_or_default();
    if ["hg+", "svn+", "bzr+"]
        .iter()
        .any(|tool| scheme.starts_with(tool))
    {
        return Err((
            format!(
                "{} is no git address, and kiln fetches sources by git alone",
                quoted(url)
            ),
            "use a git mirror, or build a wheel and upload it to kiln",
        ));
    }
    let address = if scheme.contains('+') {
        address::vcs(url)?
    } else {
        address::web(url)?
    };
    let (text, credentials) = address.into_parts(CredentialTarget::Package);
    let (bare, fragment) = match text.split_once('#') {
        Some((bare, fragment)) => (bare, fragment_text(fragment)?),
        None => (text.as_str(), String::new()),
    };
    let text = if fragment.is_empty() {
        bare.to_owned()
    } else {
        format!("{bare}#{fragment}")
    };
    let credentials = credentials
        .into_iter()
        .map(|c| InlineCredential {
            target: CredentialTarget::Package(bare.to_owned()),
            ..c
        })
        .collect();
    Ok((text, credentials))
}

/// `key=value` parts, sorted; `egg` said the name, and goes.
fn fragment_text(fragment: &str) -> Result<String, RequirementFault> {
    let mut parts = Vec::new();
    for part in fragment.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("egg", _)) => {}
            Some(("subdirectory", folder)) => {
                let folder = folder.trim_matches('/');
                if folder.split('/').any(|step| step == "..") {
                    return Err((
                        "the subdirectory leaves its repository".into(),
                        "correct it",
                    ));
                }
                parts.push(format!("subdirectory={folder}"));
            }
            Some((
                algorithm @ ("md5" | "sha1" | "sha224" | "sha256" | "sha384" | "sha512"),
                hex,
            )) => {
                let valid = hex.bytes().all(|b| b.is_ascii_hexdigit());
                if !valid || (algorithm == "sha256" && hex.len() != 64) {
                    return Err((
                        format!("{} is no {algorithm} hash", quoted(hex)),
                        "write it as #sha256=<64 hex digits>",
                    ));
                }
                parts.push(format!("{algorithm}={}", hex.to_ascii_lowercase()));
            }
            _ => parts.push(part.to_owned()),
        }
    }
    parts.sort();
    parts.dedup();
    Ok(parts.join("&"))
}

/// The canonical specifiers, and whether one of them is exact.
fn specifiers_text(text: &str) -> Result<(String, bool), String> {
    if text.trim().is_empty() {
        return Ok((String::new(), false));
    }
    let mut pinned = false;
    let mut terms = Vec::new();
    for part in text.split(',') {
        let specifier = VersionSpecifier::from_str(part.trim()).map_err(|error| {
            let message = error.to_string();
            message
                .lines()
                .next()
                .unwrap_or("it has no version")
                .to_owned()
        })?;
        pinned |= matches!(specifier.operator(), Operator::Equal | Operator::ExactEqual);
        terms.push(specifier_text(&specifier));
    }
    terms.sort();
    terms.dedup();
    Ok((terms.join(","), pinned))
}

/// PEP 440: trailing `.0` parts don't count where whole versions are compared.
fn specifier_text(specifier: &VersionSpecifier) -> String {
    use Operator::{Equal, GreaterThan, GreaterThanEqual, LessThan, LessThanEqual, NotEqual};
    let whole = matches!(
        specifier.operator(),
        Equal | NotEqual | GreaterThan | GreaterThanEqual | LessThan | LessThanEqual
    );
    if !whole {
        return specifier.to_string();
    }
    format!(
        "{}{}",
        specifier.operator(),
        without_trailing_zeros(specifier.version())
    )
}

pub(crate) fn without_trailing_zeros(version: &Version) -> Version {
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
    #[case("a.-_b", "a-b")]
    #[case("requests[Socks,security]>=2.0,<3", "requests[security,socks]<3,>=2")]
    #[case("requests [ socks ] >= 2", "requests[socks]>=2")]
    #[case("requests[]", "requests")]
    #[case("foo (>=1.0)", "foo>=1")]
    #[case("foo==1.*", "foo==1.*")]
    #[case("foo==1.0.*", "foo==1.0.*")]
    #[case("foo~=1.4.0", "foo~=1.4.0")]
    #[case("foo===1.0.0", "foo===1.0.0")]
    #[case("foo==1.0a1", "foo==1a1")]
    #[case("foo==1.0-1", "foo==1.post1")]
    #[case("foo==v1.0RC1", "foo==1rc1")]
    #[case("foo==1.0+CU118", "foo==1+cu118")]
    #[case("foo;python_version<'3.8'", "foo ; python_version < '3.8'")]
    #[case(
        "foo @ https://u:p@h.org/foo-1-py3-none-any.whl",
        "foo @ https://h.org/foo-1-py3-none-any.whl"
    )]
    #[case("foo@https://h.org/x.zip", "foo @ https://h.org/x.zip")]
    #[case("foo @ https://h.org/x.zip#egg=foo", "foo @ https://h.org/x.zip")]
    #[case(
        "foo[b,A] @ https://h.org/x.zip ; os_name=='nt'",
        "foo[a,b] @ https://h.org/x.zip ; os_name == 'nt'"
    )]
    #[case(
        "https://h.org/Foo_Bar-1.0-py3-none-any.whl",
        "foo-bar @ https://h.org/Foo_Bar-1.0-py3-none-any.whl"
    )]
    #[case(
        "git+https://h.org/x.git@v1#egg=Foo",
        "foo @ git+https://h.org/x.git@v1"
    )]
    #[case(
        "git+https://h.org/x.git@v1#subdirectory=a/&egg=Foo[B]",
        "foo[b] @ git+https://h.org/x.git@v1#subdirectory=a"
    )]
    #[case("git+https://h.org/x.git", "git+https://h.org/x.git")]
    #[case("git+ssh://git@h.org/x.git", "git+ssh://git@h.org/x.git")]
    fn spellings_have_one_canonical_text(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(canonical(text).unwrap().text, expected);
        assert_eq!(canonical(expected).unwrap().text, expected);
    }

    #[rstest]
    #[case("numpy=1.26")]
    #[case("./x")]
    #[case("../x.whl")]
    #[case("/etc/passwd")]
    #[case("x-1.0-py3-none-any.whl")]
    #[case("file:///x.whl")]
    #[case("FILE:///x.whl")]
    #[case("foo @ file:///x.whl")]
    #[case("foo @ ./x.whl")]
    #[case("foo==")]
    #[case("foo>=1,")]
    #[case("foo bar")]
    #[case("foo[a")]
    #[case("foo[a b]")]
    #[case("-foo")]
    #[case("foo-")]
    #[case("foo>=1.*")]
    #[case("foo~=1")]
    #[case("foo=={{ v }}")]
    #[case("foo; python_version > 3")]
    #[case("kiln-wheel:sha256:12")]
    #[case("hg+https://h.org/x")]
    #[case("git+git@h.org:x.git")]
    #[case("git://h.org/x.git")]
    #[case("git+file:///x")]
    #[case("pytest >= 2.0.0 [tests]")]
    #[case("foo @ https://h.org/x.whl#sha256=12")]
    #[case("foo @ git+https://h.org/x#subdirectory=../y")]
    fn what_is_no_requirement_is_refused(#[case] text: &str) {
        assert!(canonical(text).is_err(), "{text}");
    }

    #[test]
    fn a_wheel_of_the_store_is_named_by_its_content() {
        let wheel = format!("kiln-wheel:sha256:{}", "0a".repeat(32));
        assert_eq!(canonical(&wheel).unwrap().text, wheel);
        assert_eq!(
            canonical(&format!("Foo@{wheel}")).unwrap().text,
            format!("foo @ {wheel}")
        );
    }
}
