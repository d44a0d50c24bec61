//! Virtual packages: what a base image and its platform offer to the solver.

use kiln_lock::BaseFacts;
use rattler_conda_types::package::BuildString;
use rattler_conda_types::{GenericVirtualPackage, PackageName, Version};

/// The kernel version packages may count on: a container runs on kernels that nobody knows when it
/// is built, and this is the oldest one of a supported enterprise distribution.
const KERNEL: &str = "4.18";

/// The virtual packages `(name, version, build)` of a base image on a platform, sorted by name.
///
/// They come from the base alone, never from the machine that solves. `__cuda` stands for the driver
/// the base asks for; `__archspec` is the platform's baseline, so that an image runs on every node of
/// its platform.
pub fn virtual_packages(platform: &str, facts: &BaseFacts) -> Vec<(String, String, String)> {
    let mut found: Vec<(&str, String, String)> = vec![
        ("__linux", KERNEL.into(), "0".into()),
        ("__unix", "0".into(), "0".into()),
    ];
    if let Some(family) = archspec(platform) {
        found.push(("__archspec", "1".into(), family.into()));
    }
    if let Some(cuda) = &facts.cuda {
        found.push(("__cuda", cuda.clone(), "0".into()));
    }
    if let Some(glibc) = &facts.glibc {
        found.push(("__glibc", glibc.clone(), "0".into()));
    }
    found.sort();
    found
        .into_iter()
        .map(|(name, version, build)| (name.to_owned(), version, build))
        .collect()
}

/// archspec's name of the platform's generic family.
fn archspec(platform: &str) -> Option<&'static str> {
    match platform.split('/').nth(1)? {
        "amd64" => Some("x86_64"),
        "386" => Some("x86"),
        "arm64" => Some("aarch64"),
        "ppc64le" => Some("ppc64le"),
        "s390x" => Some("s390x"),
        "riscv64" => Some("riscv64"),
        _ => None,
    }
}

/// Leaves out what has no version rattler can read: a fact that is not one is no fact.
pub(crate) fn generic(packages: &[(String, String, String)]) -> Vec<GenericVirtualPackage> {
    packages
        .iter()
        .filter_map(|(name, version, build)| {
            Some(GenericVirtualPackage {
                name: name.parse::<PackageName>().ok()?,
                version: version.parse::<Version>().ok()?,
                build_string: BuildString::new_unchecked(build.as_str()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_base_and_its_platform_speak() {
        let facts = BaseFacts {
            glibc: Some("2.36".into()),
            cuda: Some("12.4".into()),
            ..BaseFacts::default()
        };
        let names = |facts: &BaseFacts| -> Vec<String> {
            virtual_packages("linux/amd64", facts)
                .into_iter()
                .map(|(name, version, build)| format!("{name}={version}={build}"))
                .collect()
        };
        assert_eq!(
            names(&facts),
            [
                "__archspec=1=x86_64",
                "__cuda=12.4=0",
                "__glibc=2.36=0",
                "__linux=4.18=0",
                "__unix=0=0"
            ]
        );
        assert_eq!(
            names(&BaseFacts::default()),
            ["__archspec=1=x86_64", "__linux=4.18=0", "__unix=0=0"]
        );
    }

    #[test]
    fn a_version_that_is_none_is_left_out() {
        let packages = [("__cuda".to_owned(), "!!".to_owned(), "0".to_owned())];
        assert!(generic(&packages).is_empty());
    }
}
