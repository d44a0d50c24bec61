//! conda's MatchSpec in kiln's canonical text.
//!
//! Grammar, after conda's `MatchSpec` (conda/models/match_spec.py) and CEP 29:
//!
//! ```text
//! spec    = [channel "::"] name [version [build]] ["[" key "=" value, ... "]"]
//! version = alternatives of constraints: "," is and, "|" is or and binds looser
//! ```
//!
//! `name=1.2` is `name 1.2.*`; `name 1.2` and `name==1.2` are exact; `name=1.2=build` is exact with a build.

use std::fmt::Write as _;

use crate::version::{self, VersionFault};

/// A MatchSpec whose text form is canonical: equal specs have equal texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MatchSpec {
    pub(crate) name: String,
    text: String,
}

/// Why a text is no MatchSpec, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MatchSpecFault {
    pub(crate) reason: String,
    pub(crate) remedy: &'static str,
}

fn fault(reason: impl Into<String>, remedy: &'static str) -> MatchSpecFault {
    MatchSpecFault {
        reason: reason.into(),
        remedy,
    }
}

const FORM: &str = "write it as `name`, `name=1.2`, `name>=1.2,<2` or `name==1.2=build`";

/// The keys that brackets may hold; those that only conda-build or the solver's caches use are refused.
#[derive(Default)]
struct Keys {
    version: Option<String>,
    build: Option<String>,
    build_number: Option<String>,
    channel: Option<String>,
    subdir: Option<String>,
    md5: Option<String>,
    sha256: Option<String>,
    file_name: Option<String>,
}

impl MatchSpec {
    /// The canonical text.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Parses any spelling that conda takes.
    pub(crate) fn parse(text: &str) -> Result<Self, MatchSpecFault> {
        let text = text.split_once(" #").map_or(text, |(spec, _)| spec).trim();
        check(text)?;
        let (front, mut keys) = brackets(text)?;
        let (channel, front) = match front.split_once("::") {
            Some((channel, rest)) => (Some(channel.trim()), rest.trim()),
            None => (None, front),
        };
        if let Some(channel) = channel {
            split_channel(channel, &mut keys)?;
        }
        let end = front
            .find(|c: char| " =<>!~,|".contains(c))
            .unwrap_or(front.len());
        let (name, rest) = front.split_at(end);
        let name = package_name(name)?;
        let (version, build) = version_and_build(rest.trim())?;
        let version = pick("version", version, keys.version.take())?;
        let build = pick("build", build, keys.build.take())?;
        let version = version
            .map(|v| version::canonical(&v))
            .transpose()
            .map_err(|VersionFault(reason)| fault(reason, FORM))?;
        let version = version.filter(|v| v != "*");
        let build = build.filter(|b| b != "*");
        if let Some(build) = &build {
            check_word("build string", build, "_.*^$+-[]()!")?;
        }
        Ok(Self {
            text: render(&name, version, build, &keys),
            name,
        })
    }
}

fn render(name: &str, version: Option<String>, build: Option<String>, keys: &Keys) -> String {
    let mut text = String::new();
    if let Some(channel) = &keys.channel {
        text.push_str(channel);
        text.push_str("::");
    }
    text.push_str(name);
    match (version, build) {
        (None, None) => {}
        (Some(version), None) => {
            text.push(' ');
            text.push_str(&version);
        }
        (version, Some(build)) => {
            let version = version.as_deref().unwrap_or("*");
            write!(text, " {version} {build}").expect("writing to a String never fails");
        }
    }
    let extra = [
        ("build_number", &keys.build_number),
        ("fn", &keys.file_name),
        ("md5", &keys.md5),
        ("sha256", &keys.sha256),
        ("subdir", &keys.subdir),
    ];
    let extra: Vec<String> = extra
        .iter()
        .filter_map(|(key, value)| value.as_ref().map(|value| format!("{key}=\"{value}\"")))
        .collect();
    if !extra.is_empty() {
        write!(text, "[{}]", extra.join(",")).expect("writing to a String never fails");
    }
    text
}

fn check(text: &str) -> Result<(), MatchSpecFault> {
    if text.is_empty() {
        return Err(fault(
            "a dependency is empty",
            "leave it out or write a package's name",
        ));
    }
    if text.starts_with('-') {
        return Err(fault(
            format!(
                "{} starts with `-` and reads as an option",
                crate::error::quoted(text)
            ),
            FORM,
        ));
    }
    if text.contains("{{") || text.contains("}}") || text.contains("{%") {
        return Err(fault(
            format!("{} is an unfilled template", crate::error::quoted(text)),
            "write the value out",
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(fault("a dependency has a control character", "remove it"));
    }
    if text.starts_with("sel(") {
        return Err(fault(
            format!(
                "{} is a selector of conda-build",
                crate::error::quoted(text)
            ),
            "list the packages of the platform that is built",
        ));
    }
    let address = text.contains("://") && !text.contains("::");
    if address
        || [".conda", ".tar.bz2"].iter().any(|end| text.ends_with(end))
        || text.starts_with(['/', '.'])
    {
        return Err(fault(
            format!("{} names an archive", crate::error::quoted(text)),
            "name the package, and its channel as `channel::name`",
        ));
    }
    Ok(())
}

/// Cuts `[key=value,...]` off the end.
fn brackets(text: &str) -> Result<(&str, Keys), MatchSpecFault> {
    let mut keys = Keys::default();
    let Some(inner) = text.strip_suffix(']') else {
        return Ok((text, keys));
    };
    let Some((front, inner)) = inner.split_once('[') else {
        return Err(fault(
            format!("{} has `]` without `[`", crate::error::quoted(text)),
            FORM,
        ));
    };
    for (key, value) in pairs(inner)? {
        let slot = match key.as_str() {
            "version" => &mut keys.version,
            "build" => &mut keys.build,
            "build_number" => &mut keys.build_number,
            "channel" => {
                split_channel(&value, &mut keys)?;
                continue;
            }
            "subdir" => &mut keys.subdir,
            "md5" => &mut keys.md5,
            "sha256" => &mut keys.sha256,
            "fn" => &mut keys.file_name,
            other => {
                return Err(fault(
                    format!(
                        "the key {} of a dependency is not supported",
                        crate::error::quoted(other)
                    ),
                    "use version, build, build_number, channel, subdir, md5, sha256 or fn",
                ));
            }
        };
        if slot.replace(value).is_some() {
            return Err(fault(
                format!("the key `{key}` is there twice"),
                "keep one of them",
            ));
        }
    }
    for (name, value, digits) in [("md5", &mut keys.md5, 32), ("sha256", &mut keys.sha256, 64)] {
        if let Some(value) = value {
            value.make_ascii_lowercase();
            if value.len() != digits || !value.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(fault(
                    format!("`{name}` has not {digits} hex digits"),
                    "correct it",
                ));
            }
        }
    }
    if let Some(number) = &mut keys.build_number {
        *number = build_number(number)?;
    }
    for (what, value) in [("subdir", &keys.subdir), ("fn", &keys.file_name)] {
        if let Some(value) = value {
            check_word(what, value, "_.-+!")?;
        }
    }
    Ok((front.trim(), keys))
}

/// `3`, `>=3`, ...: an operator and a number.
fn build_number(text: &str) -> Result<String, MatchSpecFault> {
    let digits = text.trim_start_matches(['<', '>', '=', '!']);
    let operator = text[..text.len() - digits.len()].trim();
    let number: u64 = digits.trim().parse().map_err(|_| {
        fault(
            format!("{} is no build number", crate::error::quoted(text)),
            "write it as `3` or `>=3`",
        )
    })?;
    match operator {
        "" | "=" | "==" => Ok(number.to_string()),
        ">=" | "<=" | ">" | "<" | "!=" => Ok(format!("{operator}{number}")),
        _ => Err(fault(
            format!("{} is no operator", crate::error::quoted(operator)),
            "use one of >=, <=, >, <, !=",
        )),
    }
}

/// `key=value` pairs; values may be quoted, and then hold commas.
fn pairs(text: &str) -> Result<Vec<(String, String)>, MatchSpecFault> {
    let mut pairs = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let Some((key, after)) = rest.split_once('=') else {
            return Err(fault(
                format!(
                    "{} in brackets is not key=value",
                    crate::error::quoted(rest)
                ),
                "write it as [version='>=1.2',build=py*]; extras belong to pip, under `pip:`",
            ));
        };
        let after = after.trim_start();
        let (value, tail) =
            if let Some(quote) = after.chars().next().filter(|c| *c == '\'' || *c == '"') {
                after[1..]
                    .split_once(quote)
                    .ok_or_else(|| fault("a quote in brackets has no end", "close it"))?
            } else {
                let end = after.find([',', ' ']).unwrap_or(after.len());
                after.split_at(end)
            };
        pairs.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        rest = tail.trim_start_matches([',', ' ']);
    }
    Ok(pairs)
}

fn split_channel(text: &str, keys: &mut Keys) -> Result<(), MatchSpecFault> {
    const SUBDIRS: [&str; 8] = [
        "noarch",
        "linux-64",
        "linux-aarch64",
        "linux-32",
        "linux-ppc64le",
        "osx-64",
        "osx-arm64",
        "win-64",
    ];
    let (channel, subdir) = match text.rsplit_once('/') {
        Some((channel, subdir)) if SUBDIRS.contains(&subdir) => (channel, Some(subdir)),
        _ => (text, None),
    };
    let channel = crate::channel::canonical_without_credentials(channel)
        .map_err(|(reason, remedy)| fault(reason, remedy))?;
    if keys.channel.replace(channel).is_some() {
        return Err(fault("a dependency names two channels", "keep one of them"));
    }
    if let Some(subdir) = subdir {
        keys.subdir = Some(subdir.to_owned());
    }
    Ok(())
}

/// conda names: letters, digits, `_`, `-`, `.`; case does not count, `-` and `_` do.
fn package_name(text: &str) -> Result<String, MatchSpecFault> {
    let name = text.trim().to_ascii_lowercase();
    let valid = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if valid {
        return Ok(name);
    }
    Err(fault(
        format!(
            "{} is no name of a conda package",
            crate::error::quoted(text)
        ),
        FORM,
    ))
}

fn check_word(what: &str, text: &str, also: &str) -> Result<(), MatchSpecFault> {
    if !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || also.contains(c))
    {
        return Ok(());
    }
    Err(fault(
        format!("{} is no {what}", crate::error::quoted(text)),
        FORM,
    ))
}

/// The two places where version or build may stand must agree.
fn pick(
    what: &str,
    positional: Option<String>,
    keyed: Option<String>,
) -> Result<Option<String>, MatchSpecFault> {
    match (positional, keyed) {
        (Some(_), Some(_)) => Err(fault(
            format!("a dependency has two {what}s"),
            "keep one of them",
        )),
        (positional, keyed) => Ok(positional.or(keyed)),
    }
}

/// Cuts `=1.2=build`, `>=1.2,<2`, ` 1.2 build` into version and build, as conda's
/// `_parse_version_plus_build` does, and turns `=1.2` into `1.2.*`.
fn version_and_build(text: &str) -> Result<(Option<String>, Option<String>), MatchSpecFault> {
    let text = tightened(text);
    if text.is_empty() {
        return Ok((None, None));
    }
    let mut words = text.split(' ');
    let first = words.next().unwrap_or_default().to_owned();
    let second = words.next().map(str::to_owned);
    if words.next().is_some() {
        return Err(fault(
            format!("{} has too many parts", crate::error::quoted(&text)),
            FORM,
        ));
    }
    let (version, build) = match second {
        Some(build) => (first, Some(build)),
        None => match build_split(&first) {
            Some(at) => (first[..at].to_owned(), Some(first[at + 1..].to_owned())),
            None => (first, None),
        },
    };
    let simple = |rest: &str| !rest.contains(['=', ',', '|', '<', '>', '!', '~']);
    let version = match version.strip_prefix('=') {
        Some(rest) if rest.starts_with('=') => version,
        Some("") => return Err(fault("a dependency ends with `=`", FORM)),
        Some(rest) if simple(rest) && build.is_none() && !rest.ends_with('*') => {
            format!("{rest}.*")
        }
        Some(rest) if simple(rest) => rest.to_owned(),
        _ => version,
    };
    Ok((Some(version), build))
}

/// No space around `,` and `|` and after an operator; one space elsewhere.
fn tightened(text: &str) -> String {
    let mut tight = String::with_capacity(text.len());
    let mut space = false;
    for c in text.chars() {
        if c == ' ' || c == '\t' {
            space = true;
            continue;
        }
        let after_operator = tight.ends_with([',', '|', '<', '>', '=', '!', '~', '(']);
        if space && !tight.is_empty() && !after_operator && !",|)".contains(c) {
            tight.push(' ');
        }
        space = false;
        tight.push(c);
    }
    // `1.2 >=3`: an operator after a space begins a version, never a build.
    tight
}

/// Where `=build` begins: an `=` inside, not part of an operator.
fn build_split(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (1..bytes.len().saturating_sub(1)).rev().find(|&at| {
        bytes[at] == b'='
            && !b"=!|,<>~".contains(&bytes[at - 1])
            && bytes[at + 1] != b'='
            && !text[at + 1..].contains([',', '|', '<', '>', '~'])
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn canonical(text: &str) -> String {
        MatchSpec::parse(text)
            .unwrap_or_else(|fault| panic!("{text}: {fault:?}"))
            .text
    }

    #[rstest]
    #[case("numpy", "numpy")]
    #[case("NumPy", "numpy")]
    #[case("numpy *", "numpy")]
    #[case("numpy=1.26", "numpy 1.26.*")]
    #[case("numpy 1.26.*", "numpy 1.26.*")]
    #[case("numpy=1.26.*", "numpy 1.26.*")]
    #[case("numpy 1.26*", "numpy 1.26.*")]
    #[case("numpy==1.26.*", "numpy 1.26.*")]
    #[case("numpy=1.026", "numpy 1.26.*")]
    #[case("numpy 1.26", "numpy ==1.26")]
    #[case("numpy==1.26.0", "numpy ==1.26")]
    #[case("numpy 1.26.0", "numpy ==1.26")]
    #[case("numpy=1.26.0", "numpy 1.26.0.*")]
    #[case("numpy >= 1.20 , < 2", "numpy <2,>=1.20")]
    #[case("numpy<2.0,>=1.20.0", "numpy <2,>=1.20")]
    #[case("numpy=1.26=py311_0", "numpy ==1.26 py311_0")]
    #[case("numpy==1.26=py311_0", "numpy ==1.26 py311_0")]
    #[case("numpy 1.26.4 py312h*_0", "numpy ==1.26.4 py312h*_0")]
    #[case("numpy=1.2|1.1", "numpy 1.2.*|==1.1")]
    #[case("numpy 1.2|1.1", "numpy ==1.1|==1.2")]
    #[case("numpy[version='>=1.2', build=py*]", "numpy >=1.2 py*")]
    #[case("numpy[build=py*]", "numpy * py*")]
    #[case("conda-forge::numpy", "conda-forge::numpy")]
    #[case(
        "conda-forge/linux-64::numpy=1",
        "conda-forge::numpy 1.*[subdir=\"linux-64\"]"
    )]
    #[case("numpy[channel=conda-forge]", "conda-forge::numpy")]
    #[case(
        "numpy[channel=conda-forge,subdir=linux-64]",
        "conda-forge::numpy[subdir=\"linux-64\"]"
    )]
    #[case("numpy >=1.8.*", "numpy >=1.8")]
    #[case("numpy!=1.8.*", "numpy !=1.8.*")]
    #[case("numpy~=1.8.0", "numpy ~=1.8.0")]
    #[case("pytorch=2.1=*cuda*", "pytorch ==2.1 *cuda*")]
    #[case("blas=*=mkl", "blas * mkl")]
    #[case("python 3.8 # why", "python ==3.8")]
    #[case("x[build_number='>= 3']", "x[build_number=\">=3\"]")]
    #[case("_libgcc_mutex=0.1=main", "_libgcc_mutex ==0.1 main")]
    #[case("openssl=1.1.1g", "openssl 1.1.1g.*")]
    #[case("tzdata=2023c=h04d1e81_0", "tzdata ==2023c h04d1e81_0")]
    fn spellings_have_one_canonical_text(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(canonical(text), expected);
        assert_eq!(
            canonical(expected),
            expected,
            "the canonical text is canonical"
        );
    }

    #[rstest]
    #[case("")]
    #[case("-r requirements.txt")]
    #[case("--index-url=x")]
    #[case("numpy {{ version }}")]
    #[case("sel(linux): x")]
    #[case("https://example.org/numpy-1-0.conda")]
    #[case("./local.conda")]
    #[case("numpy=")]
    #[case("numpy 1 2 3")]
    #[case("numpy[optional=true]")]
    #[case("numpy[version=")]
    #[case("num py>=1,,")]
    #[case("a::b::c")]
    #[case("nüm")]
    #[case("numpy;rm -rf")]
    fn what_is_no_match_spec_is_refused(#[case] text: &str) {
        assert!(MatchSpec::parse(text).is_err(), "{text}");
    }
}
