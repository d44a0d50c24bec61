//! `default_environment`: the environment of a build that names none.

use kiln_engine::DefaultEnvironment;
use serde::Deserialize;

/// `default_environment` of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FileDefaultEnvironment {
    pub(super) base: Option<String>,
    pub(super) python: Option<String>,
}

impl FileDefaultEnvironment {
    /// The environment, with defaults for what is not set.
    pub(super) fn checked(self, faults: &mut Vec<String>) -> DefaultEnvironment {
        let default = DefaultEnvironment::default();
        if let Some(base) = &self.base
            && base.parse::<kiln_oci::Reference>().is_err()
        {
            faults.push(format!(
                "default_environment.base: `{base}` is no image, for example example.org/base:1"
            ));
        }
        let python = self.python.unwrap_or(default.python);
        let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !(2..=3).contains(&python.split('.').count()) || !python.split('.').all(number) {
            faults.push(format!(
                "default_environment.python: `{python}` is no version of python, for example 3.11"
            ));
        }
        DefaultEnvironment {
            base: self.base,
            python,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_that_is_no_image_and_a_python_that_is_no_version_are_faults() {
        let check = |base: Option<&str>, python: Option<&str>| {
            let mut faults = Vec::new();
            let file = FileDefaultEnvironment {
                base: base.map(str::to_owned),
                python: python.map(str::to_owned),
            };
            let environment = file.checked(&mut faults);
            (environment, faults.len())
        };
        assert_eq!(check(None, None), (DefaultEnvironment::default(), 0));
        let (set, faults) = check(Some("h.example.org/b:1"), Some("3.12.4"));
        assert_eq!((set.python.as_str(), faults), ("3.12.4", 0));
        for python in ["3", "3.x", "three", "3.11.", ""] {
            assert_eq!(check(None, Some(python)).1, 1, "{python}");
        }
        assert_eq!(check(Some("a b"), None).1, 1);
    }
}
