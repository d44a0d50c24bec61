//! Small things about MatchSpecs.

use rattler_conda_types::{MatchSpec, PackageName, ParseStrictness, RepoDataRecord};

use crate::channel::NamedChannel;

/// The spec of any version of a package.
pub(crate) fn bare_spec(name: &str) -> Option<MatchSpec> {
    MatchSpec::from_str(name, ParseStrictness::Lenient).ok()
}

/// The one package a spec names.
pub(crate) fn name_of(spec: &MatchSpec) -> Option<&str> {
    spec.name.as_exact().map(PackageName::as_normalized)
}

/// A package that only some channels may give.
pub(crate) struct Pin {
    pub(crate) name: String,
    pub(crate) channels: Vec<NamedChannel>,
}

impl Pin {
    /// Whether a record is of the package and of another channel.
    pub(crate) fn forbids(&self, record: &RepoDataRecord) -> bool {
        let from = record.channel.as_deref().unwrap_or_default();
        let from = from.trim_end_matches('/');
        record.package_record.name.as_normalized() == self.name
            && self
                .channels
                .iter()
                .all(|known| known.channel.base_url.as_str().trim_end_matches('/') != from)
    }
}
