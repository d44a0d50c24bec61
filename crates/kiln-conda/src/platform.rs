//! Conda subdirs of OCI platforms.

use rattler_conda_types::Subdir;

use crate::CondaError;

/// The subdir of `os/arch[/variant]`.
pub(crate) fn subdir(platform: &str) -> Result<Subdir, CondaError> {
    let mut parts = platform.split('/');
    let (os, arch, variant) = (parts.next(), parts.next(), parts.next());
    match (os, arch, variant) {
        (Some("linux"), Some("amd64"), _) => Ok(Subdir::Linux64),
        (Some("linux"), Some("386"), _) => Ok(Subdir::Linux32),
        (Some("linux"), Some("arm64"), None | Some("v8")) => Ok(Subdir::LinuxAarch64),
        (Some("linux"), Some("arm"), None | Some("v7")) => Ok(Subdir::LinuxArmV7l),
        (Some("linux"), Some("arm"), Some("v6")) => Ok(Subdir::LinuxArmV6l),
        (Some("linux"), Some("ppc64le"), _) => Ok(Subdir::LinuxPpc64le),
        (Some("linux"), Some("s390x"), _) => Ok(Subdir::LinuxS390X),
        (Some("linux"), Some("riscv64"), _) => Ok(Subdir::LinuxRiscv64),
        _ => Err(CondaError::Platform {
            platform: platform.to_owned(),
        }),
    }
}

/// The name of conda's subdir for `os/arch[/variant]`, for example `linux-64` for `linux/amd64`.
pub fn subdir_name(platform: &str) -> Result<String, CondaError> {
    subdir(platform).map(|subdir| subdir.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_have_condas_names_and_others_are_refused() {
        let name = |platform| subdir_name(platform).ok();
        assert_eq!(name("linux/amd64").as_deref(), Some("linux-64"));
        assert_eq!(name("linux/amd64/v3").as_deref(), Some("linux-64"));
        assert_eq!(name("linux/arm64").as_deref(), Some("linux-aarch64"));
        assert_eq!(name("linux/arm64/v8").as_deref(), Some("linux-aarch64"));
        assert_eq!(name("linux/arm/v7").as_deref(), Some("linux-armv7l"));
        assert_eq!(name("windows/amd64"), None);
        assert_eq!(name("linux"), None);
    }
}
