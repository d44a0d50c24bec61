//! Strict grammars for what channels and indexes say of packages: it was written by others, and it goes
//! into files that installers interpret.

use kiln_lock::{CondaPackage, Wheel};

use crate::PlanError;

fn fault(package: &str, part: &'static str, value: &str) -> PlanError {
    let cut = |text: &str| text.chars().take(80).collect();
    PlanError::Package {
        package: cut(package),
        part,
        value: cut(value),
    }
}

/// ASCII letters, digits and some punctuation; begins with a letter, digit or `_`, so that nothing is
/// taken for an option or a hidden path.
fn is_word(text: &str, punctuation: &str) -> bool {
    text.len() <= 200
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || punctuation.contains(c))
}

/// Checks every field of a conda package that is written into a file.
pub(crate) fn conda(package: &CondaPackage) -> Result<(), PlanError> {
    let parts = [
        ("name", &package.name, is_word(&package.name, "_.-")),
        (
            "version",
            &package.version,
            is_word(&package.version, "_.!+"),
        ),
        (
            "build string",
            &package.build,
            is_word(&package.build, "_.+"),
        ),
        ("subdir", &package.subdir, is_word(&package.subdir, "_-")),
        (
            "file name",
            &package.file_name,
            is_archive(&package.file_name),
        ),
        ("address", &package.url, is_address(&package.url)),
    ];
    first_fault(&package.name, parts)?;
    if let Some(md5) = &package.md5
        && !(md5.len() == 32 && md5.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        return Err(fault(&package.name, "MD5", md5));
    }
    let token = package.url.contains("/t/");
    no_credentials(&package.name, &package.url, token)
}

/// Checks every field of a wheel that is written into a file, its address aside.
pub(crate) fn wheel(wheel: &Wheel) -> Result<(), PlanError> {
    let is_wheel =
        is_word(&wheel.file_name, "_.!+-") && wheel.file_name.strip_suffix(".whl").is_some();
    let parts = [
        ("name", &wheel.name, is_word(&wheel.name, "_.-")),
        ("version", &wheel.version, is_word(&wheel.version, "_.!+-")),
        ("file name", &wheel.file_name, is_wheel),
    ];
    first_fault(&wheel.name, parts)
}

/// Checks a wheel's address before something is told to fetch it.
pub(crate) fn wheel_address(wheel: &Wheel) -> Result<(), PlanError> {
    if !is_address(&wheel.url) {
        return Err(fault(&wheel.name, "address", &wheel.url));
    }
    no_credentials(&wheel.name, &wheel.url, false)
}

fn first_fault<const N: usize>(
    package: &str,
    parts: [(&'static str, &String, bool); N],
) -> Result<(), PlanError> {
    match parts.into_iter().find(|(_, _, good)| !good) {
        Some((part, value, _)) => Err(fault(package, part, value)),
        None => Ok(()),
    }
}

fn is_archive(name: &str) -> bool {
    is_word(name, "_.!+-")
        && (name.strip_suffix(".conda").is_some() || name.strip_suffix(".tar.bz2").is_some())
}

/// The characters of RFC 3986, after a scheme.
fn is_address(url: &str) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
    url.len() <= 4096
        && url.chars().all(safe)
        && ["https://", "http://", "file:///"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
}

/// Refuses userinfo and conda's tokens: the lock promises to have none, and here they would be published.
fn no_credentials(package: &str, url: &str, token: bool) -> Result<(), PlanError> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest
        .split_once('/')
        .map_or(rest, |(authority, _)| authority);
    if authority.contains('@') || token {
        return Err(PlanError::Credentials {
            package: package.to_owned(),
        });
    }
    Ok(())
}

/// Version numbers of facts: digits and dots.
pub(crate) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() <= 20 && text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// An absolute path without characters that a `PATH` or a shebang would split.
pub(crate) fn is_absolute_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= 1024
        && !path
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || c == ':')
}

/// An absolute path that a shell reads as one word.
pub(crate) fn is_shell_path(path: &str) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || "/_.+-".contains(c);
    path.starts_with('/') && path.len() <= 1024 && path.chars().all(safe)
}
