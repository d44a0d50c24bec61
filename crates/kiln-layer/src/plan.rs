//! Which packages share a layer.
//!
//! Large packages have layers of their own; the others are grouped by a hash of their names. So a package that is
//! added, removed or replaced changes its own layer or its one group, and at most one other: where the large ones
//! are too many, the smallest of them goes to its group.

use kiln_oci::Digest;

/// Layers above the base at most, the top one included.
pub const MAX_LAYERS: usize = 64;
/// As many as kiln lets an image have, base and all. Docker refuses more than 125; what is left is for those who
/// build upon the image.
const MAX_IMAGE_LAYERS: usize = 120;
/// An archive of this size is worth a layer of its own.
pub const LARGE_BYTES: u64 = 1 << 20;

/// How many layers an image's packages may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerBudget {
    /// Packages with layers of their own at most.
    pub alone: usize,
    /// Groups of the others, a power of two.
    pub groups: usize,
}

/// A base that has too many layers already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the base has {layers} layers: with kiln's it would have more than {MAX_IMAGE_LAYERS}, and engines refuse more \
     than 125"
)]
pub struct TooManyLayers {
    /// The base's.
    pub layers: usize,
}

impl LayerBudget {
    /// The budget above a base of so many layers. It doesn't depend on the base up to 56 layers, so that groups are
    /// shared by images on different bases.
    pub fn above(base_layers: usize) -> Result<Self, TooManyLayers> {
        let layers = MAX_IMAGE_LAYERS.saturating_sub(base_layers).min(MAX_LAYERS);
        if layers < 2 {
            return Err(TooManyLayers {
                layers: base_layers,
            });
        }
        // A power of two: groups of a small budget are unions of those of a large one.
        let groups = 1 << (layers / 2).ilog2();
        Ok(Self {
            alone: layers - groups - 1,
            groups,
        })
    }
}

/// A package as the plan sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned<'a> {
    /// Its name; a conda package and a wheel may have the same.
    pub name: &'a str,
    /// Its archive's size in bytes: known before anything is unpacked, and the same everywhere.
    pub archive_bytes: u64,
    /// The archive's digest, which settles what is otherwise equal.
    pub archive: Digest,
}

/// Says which packages, by position, are together in a layer; from the lowest layer up.
///
/// Layers of one package come first, the largest lowest: an engine keeps a layer only with all that is below it, and
/// what changes often should lie high. Neither the layers nor their order depend on the packages' order, but for
/// positions; within a group they are sorted by name.
pub fn plan_layers(packages: &[Planned<'_>], budget: LayerBudget) -> Vec<Vec<usize>> {
    let mut large: Vec<usize> = (0..packages.len())
        .filter(|at| packages[*at].archive_bytes >= LARGE_BYTES)
        .collect();
    large.sort_by_key(|at| {
        let package = &packages[*at];
        (
            std::cmp::Reverse(package.archive_bytes),
            package.name,
            package.archive,
        )
    });
    large.truncate(budget.alone);
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); budget.groups];
    for at in (0..packages.len()).filter(|at| !large.contains(at)) {
        groups[group_of(packages[at].name, budget.groups)].push(at);
    }
    for group in &mut groups {
        group.sort_by_key(|at| (packages[*at].name, packages[*at].archive));
    }
    let alone = large.into_iter().map(|at| vec![at]);
    alone
        .chain(groups.into_iter().filter(|group| !group.is_empty()))
        .collect()
}

/// The group of a name: the first bits of its hash.
fn group_of(name: &str, groups: usize) -> usize {
    let hash = Digest::of(name.as_bytes());
    let first = hash.as_bytes()[..2]
        .iter()
        .fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
    (first * groups) >> 16
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    type Owned = Vec<(String, u64)>;

    fn planned(packages: &Owned) -> Vec<Planned<'_>> {
        let archive = |name: &str| Digest::of(name.as_bytes());
        packages
            .iter()
            .map(|(name, archive_bytes)| Planned {
                name,
                archive_bytes: *archive_bytes,
                archive: archive(name),
            })
            .collect()
    }

    fn layers(packages: &Owned, budget: LayerBudget) -> Vec<Vec<String>> {
        let name = |at: usize| packages[at].0.clone();
        plan_layers(&planned(packages), budget)
            .into_iter()
            .map(|layer| layer.into_iter().map(name).collect())
            .collect()
    }

    #[rstest]
    #[case(0, 31, 32)]
    #[case(56, 31, 32)]
    #[case(57, 46, 16)]
    #[case(58, 45, 16)]
    #[case(60, 43, 16)]
    #[case(118, 0, 1)]
    fn the_budget_is_the_same_for_all_usual_bases(
        #[case] base: usize,
        #[case] alone: usize,
        #[case] groups: usize,
    ) {
        assert_eq!(
            LayerBudget::above(base).unwrap(),
            LayerBudget { alone, groups }
        );
    }

    #[test]
    fn a_base_without_room_is_refused() {
        assert_eq!(LayerBudget::above(119), Err(TooManyLayers { layers: 119 }));
        assert_eq!(LayerBudget::above(400), Err(TooManyLayers { layers: 400 }));
    }

    #[test]
    fn groups_are_by_name_and_the_large_are_alone() {
        let packages = [
            ("numpy", 18 << 20),
            ("pandas", 12 << 20),
            ("six", 12_000),
            ("idna", 60_000),
            ("click", 90_000),
        ];
        let packages: Owned = packages
            .map(|(name, size)| (name.to_owned(), size))
            .to_vec();
        let budget = LayerBudget {
            alone: 1,
            groups: 2,
        };
        let found = layers(&packages, budget);
        assert_eq!(found[0], ["numpy"]);
        assert_eq!(found.len(), 3);
        assert!(found[1..].iter().flatten().any(|name| name == "pandas"));
    }

    proptest! {
        #[test]
        fn a_plan_has_every_package_once_within_its_budget_in_any_order(
            packages in prop::collection::btree_map("[a-z]{1,6}", 0_u64..4 << 20, 0..150),
            base in 0_usize..119,
        ) {
            let mut packages: Owned = packages.into_iter().collect();
            let budget = LayerBudget::above(base).unwrap();
            let found = layers(&packages, budget);
            prop_assert!(found.len() < MAX_LAYERS && base + found.len() < MAX_IMAGE_LAYERS);
            let mut names: Vec<&String> = found.iter().flatten().collect();
            names.sort();
            prop_assert_eq!(names, packages.iter().map(|(name, _)| name).collect::<Vec<_>>());
            packages.reverse();
            prop_assert_eq!(layers(&packages, budget), found);
        }

        #[test]
        fn one_more_package_changes_at_most_one_layer_of_the_others(
            packages in prop::collection::btree_map("[a-z]{1,6}", 0_u64..4 << 20, 1..150),
            pick in any::<prop::sample::Index>(),
        ) {
            let with: Owned = packages.into_iter().collect();
            let mut without = with.clone();
            let added = without.remove(pick.index(with.len())).0;
            let budget = LayerBudget::above(10).unwrap();
            let before: BTreeSet<Vec<String>> = layers(&without, budget).into_iter().collect();
            let after: BTreeSet<Vec<String>> = layers(&with, budget).into_iter().collect();
            let new: Vec<&Vec<String>> = after.difference(&before).collect();
            // Its own layer, and the group that takes in the smallest of the large ones; or the group it joins.
            let others = new.iter().filter(|layer| layer.iter().any(|name| *name != added));
            prop_assert!(others.count() <= 1, "{:?}", new);
        }

        #[test]
        fn groups_of_a_smaller_budget_are_unions(name in "[a-z]{1,9}") {
            prop_assert_eq!(group_of(&name, 32) / 2, group_of(&name, 16));
            prop_assert_eq!(group_of(&name, 1), 0);
        }
    }
}
