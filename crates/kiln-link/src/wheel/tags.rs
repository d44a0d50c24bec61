//! Compatibility tags: whether a wheel is made for the environment's python and machine.
//!
//! The resolver has chosen the wheel; this only catches one that can't work. The C library's version
//! is the resolver's business.

use super::name::WheelName;
use crate::error::Problem;
use crate::target::PythonTarget;

/// Refuses a wheel that has no tag for this python.
pub(super) fn check(name: &WheelName<'_>, python: &PythonTarget) -> Result<(), Problem> {
    let fits = name.python.split('.').any(|tag| {
        name.abi
            .split('.')
            .any(|abi| interpreter_fits(tag, abi, python.minor))
    }) && name
        .platform
        .split('.')
        .any(|platform| platform_fits(platform, &python.machine));
    if fits {
        return Ok(());
    }
    Err(Problem::Unfit(format!(
        "its tags are {}-{}-{}, the environment has CPython 3.{} on Linux {}",
        name.python, name.abi, name.platform, python.minor, python.machine
    )))
}

fn interpreter_fits(tag: &str, abi: &str, minor: u32) -> bool {
    let (kind, version) = tag.split_at(tag.find(|c: char| c.is_ascii_digit()).unwrap_or(tag.len()));
    let tag_minor = match version.strip_prefix('3') {
        Some("") => None,
        Some(digits) => match digits.parse::<u32>() {
            Ok(minor) => Some(minor),
            Err(_) => return false,
        },
        None => return false,
    };
    match (kind, abi) {
        ("py", "none") => tag_minor.is_none_or(|tag| tag <= minor),
        ("cp", "abi3") => tag_minor.is_some_and(|tag| tag <= minor),
        ("cp", "none") => tag_minor.is_none_or(|tag| tag == minor),
        // Up to 3.7 the ABI had an `m`; `t` is the free-threaded build, which is another.
        ("cp", abi) => {
            tag_minor == Some(minor)
                && (abi == tag || (minor < 8 && abi.strip_suffix('m') == Some(tag)))
        }
        _ => false,
    }
}

fn platform_fits(platform: &str, machine: &str) -> bool {
    platform == "any"
        || (platform.starts_with("linux_")
            || platform.starts_with("manylinux")
            || platform.starts_with("musllinux"))
            && platform
                .strip_suffix(machine)
                .is_some_and(|rest| rest.ends_with('_'))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::target::PythonHome;

    #[rstest]
    #[case("py3-none-any", true)]
    #[case("py2.py3-none-any", true)]
    #[case("py2-none-any", false)]
    #[case("py311-none-any", true)]
    #[case("py312-none-any", false)]
    #[case("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", true)]
    #[case("cp311-cp311t-manylinux_2_17_x86_64", false)]
    #[case("cp310-cp310-manylinux_2_17_x86_64", false)]
    #[case("cp38-abi3-manylinux_2_17_x86_64", true)]
    #[case("cp312-abi3-manylinux_2_17_x86_64", false)]
    #[case("py3-none-manylinux_2_17_x86_64", true)]
    #[case("py3-none-manylinux_2_17_aarch64", false)]
    #[case("cp311-cp311-win_amd64", false)]
    #[case("cp311-cp311-macosx_11_0_x86_64", false)]
    #[case("pp311-pypy311_pp73-manylinux_2_17_x86_64", false)]
    fn a_wheel_fits_or_not(#[case] tags: &str, #[case] fits: bool) {
        let file = format!("a-1-{tags}.whl");
        let name = WheelName::parse(&file).expect("valid");
        let python = PythonTarget::new(11, PythonHome::Venv, "x86_64");
        assert_eq!(check(&name, &python).is_ok(), fits);
    }
}
