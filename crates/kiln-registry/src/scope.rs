//! What a token is asked for, as in the distribution project's token scope documentation.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::RepositoryName;

/// What may be done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Action {
    Delete,
    Pull,
    Push,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Pull => "pull",
            Self::Push => "push",
        }
    }
}

/// A set of scopes in one order, so that equal needs share a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Scopes {
    repositories: BTreeMap<String, BTreeSet<Action>>,
    /// Scopes in a registry's own words, which it asked for in a challenge.
    opaque: BTreeSet<String>,
}

impl Scopes {
    /// Reads a repository.
    pub(crate) fn pull(repository: &RepositoryName) -> Self {
        Self::default().and(repository, [Action::Pull])
    }

    /// Reads and writes a repository.
    pub(crate) fn push(repository: &RepositoryName) -> Self {
        Self::default().and(repository, [Action::Pull, Action::Push])
    }

    /// Reads and deletes in a repository.
    pub(crate) fn delete(repository: &RepositoryName) -> Self {
        Self::default().and(repository, [Action::Pull, Action::Delete])
    }

    /// Adds actions on a repository.
    pub(crate) fn and<const N: usize>(
        mut self,
        repository: &RepositoryName,
        actions: [Action; N],
    ) -> Self {
        self.repositories
            .entry(repository.to_string())
            .or_default()
            .extend(actions);
        self
    }

    /// Adds what a challenge asks for beside these scopes. Other repositories than the request's are left
    /// out: a registry has no business with them.
    pub(crate) fn with_challenge(&self, text: &str) -> Self {
        let mut all = self.clone();
        for scope in text
            .split_ascii_whitespace()
            .take(8)
            .filter(|s| s.len() <= 512)
        {
            if !scope.starts_with("repository:") && !scope.starts_with("registry:") {
                all.opaque.insert(scope.to_owned());
            }
        }
        all
    }

    /// Each scope as a token service takes it.
    pub(crate) fn texts(&self) -> Vec<String> {
        let repository = |(name, actions): (&String, &BTreeSet<Action>)| {
            let actions: Vec<_> = actions.iter().map(|action| action.as_str()).collect();
            format!("repository:{name}:{}", actions.join(","))
        };
        self.repositories
            .iter()
            .map(repository)
            .chain(self.opaque.iter().cloned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_have_one_order_and_ignore_foreign_repositories() {
        let (a, b) = ("b/target".parse().unwrap(), "a/source".parse().unwrap());
        let scopes = Scopes::push(&a).and(&b, [Action::Pull]);
        assert_eq!(
            scopes.texts(),
            ["repository:a/source:pull", "repository:b/target:pull,push"]
        );
        let asked = scopes.with_challenge("aws repository:other:pull registry:catalog:*");
        assert_eq!(asked.texts().len(), 3);
        assert_eq!(asked.texts()[2], "aws");
        assert_eq!(
            Scopes::delete(&a).texts(),
            ["repository:b/target:delete,pull"]
        );
    }
}
