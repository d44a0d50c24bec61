//! Requirements that name a wheel which the workspace keeps itself.

use std::io;
use std::path::Path;

use kiln_spec::Pip;
use url::Url;

use super::PypiError;
use super::error::failed;
use crate::{PrivateWheel, PrivateWheels};

/// A private wheel, and the address by which a requirement names it.
#[derive(Debug, Clone)]
pub(crate) struct Private {
    pub(crate) address: String,
    pub(crate) wheel: PrivateWheel,
}

/// The address of a requirement that is one: behind `name @`, or alone.
pub(super) fn address_of(requirement: &str) -> Option<&str> {
    let text = requirement.split(" ;").next().unwrap_or(requirement);
    let address = match text.split_once(" @ ") {
        Some((_, address)) => address,
        None => text,
    };
    let address = address.split('#').next().unwrap_or(address).trim();
    ["kiln-wheel:", "https://", "http://"]
        .iter()
        .any(|scheme| address.starts_with(scheme))
        .then_some(address)
}

/// The private wheels that a pip section names.
pub(crate) async fn private(
    wheels: &dyn PrivateWheels,
    pip: &Pip,
) -> Result<Vec<Private>, PypiError> {
    let mut found = Vec::new();
    for requirement in &pip.requirements {
        let Some(address) = address_of(&requirement.requirement) else {
            continue;
        };
        let wheel = wheels
            .find(address)
            .await
            .map_err(io::Error::other)
            .map_err(failed("looking for private wheels failed"))?;
        found.extend(wheel.map(|wheel| Private {
            address: address.to_owned(),
            wheel,
        }));
    }
    Ok(found)
}

impl Private {
    /// A requirement of it that PEP 508 can be read by: with a name, and an address of an ordinary scheme
    /// that leads nowhere (RFC 2606).
    pub(super) fn readable(&self, requirement: &str) -> String {
        let stands_for = format!("https://wheel.invalid/{}", self.wheel.sha256.to_hex());
        let text = requirement.replacen(&self.address, &stands_for, 1);
        if requirement.starts_with(&self.address) {
            return format!("{} @ {text}", self.wheel.name);
        }
        text
    }

    /// Puts the wheel into a folder under its own name, and answers its address there.
    pub(super) fn place(&self, folder: &Path) -> io::Result<Url> {
        let unusable = || io::Error::other("a wheel's file name is no plain name");
        let name = &self.wheel.file_name;
        if name.contains('/') || name.starts_with('.') {
            return Err(unusable());
        }
        let path = folder.join(name);
        if !path.exists() {
            // Another file system can have no link to it.
            fs_err::hard_link(&self.wheel.path, &path)
                .or_else(|_| fs_err::copy(&self.wheel.path, &path).map(drop))?;
        }
        Url::from_file_path(&path).map_err(|()| unusable())
    }
}

#[cfg(test)]
mod tests {
    use super::address_of;

    #[test]
    fn addresses_are_found_with_and_without_a_name() {
        for (text, address) in [
            ("kiln-wheel:sha256:00", Some("kiln-wheel:sha256:00")),
            (
                "a @ kiln-wheel:sha256:00 ; python_version >= '3.8'",
                Some("kiln-wheel:sha256:00"),
            ),
            (
                "a[b] @ https://h/a-1.whl#sha256=1",
                Some("https://h/a-1.whl"),
            ),
            ("https://h/a-1.whl", Some("https://h/a-1.whl")),
            ("a==1", None),
            ("a ; extra == 'https://x'", None),
        ] {
            assert_eq!(address_of(text), address, "{text}");
        }
    }
}
