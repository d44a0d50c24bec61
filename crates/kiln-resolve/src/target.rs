//! What wheels are chosen for: a python, a C library, a machine.

use kiln_lock::BaseFacts;

use crate::tags::TagRanks;
use crate::uv::PypiError;

/// glibc minors for which uv knows a platform name.
const UV_GLIBC: [u32; 12] = [17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40];

/// The target of a pip resolution.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `3.11` or `3.11.2`.
    pub(crate) python: String,
    /// uv's name of the platform.
    pub(crate) uv_platform: String,
    /// Ranks of wheels.
    pub(crate) ranks: TagRanks,
}

impl Target {
    /// The target of a platform `os/arch[/variant]` with a base's C library and a python version.
    pub(crate) fn new(platform: &str, facts: &BaseFacts, python: &str) -> Result<Self, PypiError> {
        let refuse = |why: &str| PypiError::Target(format!("{platform}: {why}"));
        let mut parts = platform.split('/');
        let machine = match (parts.next(), parts.next()) {
            (Some("linux"), Some("amd64")) => "x86_64",
            (Some("linux"), Some("arm64")) => "aarch64",
            _ => return Err(refuse("there is no resolver for this platform")),
        };
        let minor: u8 = python
            .split('.')
            .nth(1)
            .filter(|_| python.starts_with("3."))
            .and_then(|minor| minor.parse().ok())
            .ok_or_else(|| refuse("the python version is not one of Python 3"))?;
        let glibc = match &facts.glibc {
            Some(version) => {
                let parsed = glibc_parts(version)
                    .ok_or_else(|| refuse("the base's glibc version is not readable"))?;
                Some(parsed)
            }
            None if facts.os_id.as_deref() == Some("alpine") => None,
            None => return Err(refuse("the base has no glibc")),
        };
        let uv_platform = match glibc {
            None => format!("{machine}-unknown-linux-musl"),
            Some((_, minor)) => {
                let known = UV_GLIBC.iter().rev().find(|known| **known <= minor);
                let known =
                    known.ok_or_else(|| refuse("the base's glibc is older than any wheel's"))?;
                format!("{machine}-manylinux_2_{known}")
            }
        };
        Ok(Self {
            python: python.to_owned(),
            uv_platform,
            ranks: TagRanks::new(minor, glibc, machine),
        })
    }
}

fn glibc_parts(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    let minor = minor.split('.').next()?;
    Some((
        major.parse().ok().filter(|major| *major == 2)?,
        minor.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(platform: &str, glibc: Option<&str>, os: &str) -> Option<String> {
        let facts = BaseFacts {
            glibc: glibc.map(str::to_owned),
            os_id: Some(os.into()),
            ..BaseFacts::default()
        };
        Target::new(platform, &facts, "3.11.2")
            .ok()
            .map(|target| target.uv_platform)
    }

    #[test]
    fn the_platform_is_the_newest_that_the_base_can_run() {
        assert_eq!(
            platform("linux/amd64", Some("2.36"), "debian").as_deref(),
            Some("x86_64-manylinux_2_36")
        );
        assert_eq!(
            platform("linux/arm64", Some("2.41"), "debian").as_deref(),
            Some("aarch64-manylinux_2_40")
        );
        assert_eq!(
            platform("linux/amd64", Some("2.26"), "amzn").as_deref(),
            Some("x86_64-manylinux_2_17")
        );
        assert_eq!(
            platform("linux/amd64", None, "alpine").as_deref(),
            Some("x86_64-unknown-linux-musl")
        );
        assert_eq!(platform("linux/amd64", Some("2.12"), "centos"), None);
        assert_eq!(platform("linux/amd64", None, "scratch"), None);
        assert_eq!(platform("linux/riscv64", Some("2.36"), "debian"), None);
    }
}
