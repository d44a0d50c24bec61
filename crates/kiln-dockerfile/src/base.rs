//! What `FROM` and `USER` name.

use std::fmt;

use kiln_lock::Lock;
use kiln_oci::Reference;
use kiln_spec::SpecHash;

use crate::PlanError;

/// What kiln's steps start from.
#[derive(Debug, Clone, Copy)]
pub enum BaseImage<'a> {
    /// An image with a digest.
    Pinned(&'a Reference),
    /// The image that the user's own Dockerfile made on the same engine, under [`user_image_name`].
    UserDockerfile,
}

/// The local name of the image that a definition's own Dockerfile makes. Its host is one that can
/// never be reached (RFC 2606), so that no registry is asked for it.
pub fn user_image_name(spec_hash: &SpecHash) -> String {
    format!("kiln.invalid/azureml/azureml_{}:base", spec_hash.short())
}

/// The image of a `FROM` instruction: a parsed reference, or a constant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromReference(String);

impl FromReference {
    pub(crate) fn of(
        base: BaseImage<'_>,
        lock: &Lock,
        spec_hash: &SpecHash,
    ) -> Result<Self, PlanError> {
        let BaseImage::Pinned(reference) = base else {
            return Ok(Self(user_image_name(spec_hash)));
        };
        let Some(digest) = reference.digest() else {
            return Err(PlanError::BaseNotPinned {
                reference: reference.to_string(),
            });
        };
        if let Some(locked) = &lock.base
            && locked.digest != digest
        {
            return Err(PlanError::OtherBase {
                locked: locked.digest.to_string(),
                given: digest.to_string(),
            });
        }
        Ok(Self(reference.to_string()))
    }

    pub(crate) fn local(image: &Reference) -> Self {
        Self(image.to_string())
    }

    pub(crate) fn constant(image: &'static str) -> Self {
        Self(image.to_owned())
    }
}

impl fmt::Display for FromReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `user[:group]`, by names or numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserName(String);

impl UserName {
    /// The superuser.
    pub(crate) fn root() -> Self {
        Self("root".to_owned())
    }

    /// The user of a base's configuration; `None` where it is root in any spelling.
    pub(crate) fn of_base(user: &str) -> Result<Option<Self>, PlanError> {
        let (name, group) = match user.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (user, None),
        };
        if matches!(name, "" | "root" | "0") && matches!(group, None | Some("" | "root" | "0")) {
            return Ok(None);
        }
        if is_account(name) && group.is_none_or(is_account) {
            return Ok(Some(Self(user.to_owned())));
        }
        Err(PlanError::BaseUser {
            user: user.chars().take(80).collect(),
        })
    }
}

/// A name of POSIX's portable characters, which Dockerfiles read as itself.
fn is_account(name: &str) -> bool {
    let start = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let safe = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    start && name.len() <= 64 && name.chars().all(safe)
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", None)]
    #[case("root:root", None)]
    #[case("0", None)]
    #[case("1000", Some("1000"))]
    #[case("app:users", Some("app:users"))]
    #[case("root:app", Some("root:app"))]
    fn the_bases_user_is_restored_unless_it_is_root(
        #[case] user: &str,
        #[case] restored: Option<&str>,
    ) {
        let found = UserName::of_base(user).expect("it is a user");
        assert_eq!(found.map(|u| u.to_string()).as_deref(), restored);
    }

    #[rstest]
    #[case("a b")]
    #[case("a\nRUN id")]
    #[case("$USER")]
    #[case("-x")]
    #[case("a:b:c")]
    #[case(":1000")]
    fn a_user_that_is_no_name_is_refused(#[case] user: &str) {
        assert!(matches!(
            UserName::of_base(user),
            Err(PlanError::BaseUser { .. })
        ));
    }
}
