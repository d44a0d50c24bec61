//! Names and versions of distributions and of wheel files.

use std::str::FromStr;

use pep440_rs::Version;

use crate::error::Problem;

/// The PEP 503 form of a name.
pub fn normalised(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            _ => out.push(c.to_ascii_lowercase()),
        }
    }
    out
}

/// Whether two texts are one PEP 440 version; texts that are none have to be equal.
pub(super) fn same_version(one: &str, other: &str) -> bool {
    match (Version::from_str(one), Version::from_str(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// The parts of `NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WheelName<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub python: &'a str,
    pub abi: &'a str,
    pub platform: &'a str,
}

impl<'a> WheelName<'a> {
    pub(super) fn parse(file_name: &'a str) -> Result<Self, Problem> {
        let invalid = || Problem::Metadata(format!("{file_name:?} is no wheel's file name"));
        let stem = file_name.strip_suffix(".whl").ok_or_else(invalid)?;
        let parts: Vec<&str> = stem.split('-').collect();
        let (name, version, tags) = match parts.as_slice() {
            [name, version, tags @ ..] if tags.len() == 3 => (name, version, tags),
            [name, version, build, tags @ ..]
                if tags.len() == 3 && build.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                (name, version, tags)
            }
            _ => return Err(invalid()),
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(invalid());
        }
        Ok(Self {
            name,
            version,
            python: tags[0],
            abi: tags[1],
            platform: tags[2],
        })
    }

    /// Checks that the file is the wheel that the lock names.
    pub(super) fn check(&self, name: &str, version: &str) -> Result<(), Problem> {
        not_the_one("name", &normalised(name), &normalised(self.name), |a, b| {
            a == b
        })?;
        not_the_one("version", version, self.version, same_version)
    }
}

/// Compares a field with the lock's.
pub(super) fn not_the_one(
    field: &'static str,
    expected: &str,
    found: &str,
    same: fn(&str, &str) -> bool,
) -> Result<(), Problem> {
    if same(expected, found) {
        return Ok(());
    }
    Err(Problem::NotTheOne {
        field,
        expected: expected.to_owned(),
        found: found.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_in_their_normal_form() {
        assert_eq!(normalised("Flask_SQL--Alchemy.x"), "flask-sql-alchemy-x");
        assert!(same_version("1.0", "1.0.0"));
        assert!(same_version("2.0rc1", "2.0.RC.1"));
        assert!(!same_version("1.0", "1.0.post1"));
    }

    #[test]
    fn a_wheels_file_name_has_five_or_six_parts() {
        let name = WheelName::parse("a_b-1.0-2x-py2.py3-none-any.whl").expect("valid");
        assert_eq!(
            (name.name, name.version, name.python),
            ("a_b", "1.0", "py2.py3")
        );
        name.check("A-b", "1").expect("it is the one");
        assert!(name.check("other", "1").is_err() && name.check("a-b", "2").is_err());
        for text in [
            "a-1-py3-none-any.zip",
            "a-1-py3-none.whl",
            "a-1-x-py3-none-any.whl",
            "a--py3-none-any.whl",
        ] {
            assert!(WheelName::parse(text).is_err(), "{text}");
        }
    }
}
