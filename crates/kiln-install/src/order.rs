//! The order in which conda links packages.
//!
//! conda's `PrefixGraph`: packages that nobody depends on and that depend on nobody first, then
//! layer by layer what depends only on earlier ones, each layer by name. Of a cycle the package with
//! the fewest open dependencies comes first. The order decides who keeps a path that two have.

use std::collections::{BTreeMap, BTreeSet};

/// A package's name and its dependencies as match specs.
pub(crate) struct Node<'a> {
    pub name: &'a str,
    pub depends: &'a [String],
}

/// Positions of the packages in conda's order.
pub(crate) fn conda_order(nodes: &[Node<'_>]) -> Vec<usize> {
    let by_name: BTreeMap<&str, usize> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| (node.name, at))
        .collect();
    let mut open: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for node in nodes {
        let parents = node
            .depends
            .iter()
            .filter_map(|spec| {
                by_name
                    .get_key_value(spec_name(spec))
                    .map(|(name, _)| *name)
            })
            // pip depends on python; where a channel says the reverse too, python comes first.
            .filter(|parent| *parent != node.name && !(node.name == "python" && *parent == "pip"));
        open.insert(node.name, parents.collect());
    }
    let wanted: BTreeSet<&str> = open.values().flatten().copied().collect();
    let alone =
        |(name, parents): (&&str, &BTreeSet<&str>)| parents.is_empty() && !wanted.contains(*name);
    let mut layer: Vec<&str> = open
        .iter()
        .filter(|(name, parents)| alone((name, parents)))
        .map(|(name, _)| *name)
        .collect();
    let mut order = Vec::new();
    loop {
        for name in &layer {
            open.remove(name);
            order.push(by_name[name]);
        }
        for parents in open.values_mut() {
            for name in &layer {
                parents.remove(name);
            }
        }
        layer = open
            .iter()
            .filter(|(_, p)| p.is_empty())
            .map(|(name, _)| *name)
            .collect();
        if layer.is_empty() {
            let Some((name, _)) = open.iter().min_by_key(|(_, parents)| parents.len()) else {
                return order;
            };
            layer = vec![name];
        }
    }
}

/// The package name at the start of a match spec, without a channel.
fn spec_name(spec: &str) -> &str {
    let spec = spec.rsplit_once("::").map_or(spec, |(_, spec)| spec).trim();
    let end = spec.find(|c: char| c.is_whitespace() || "=<>!~[;,".contains(c));
    &spec[..end.unwrap_or(spec.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(packages: &[(&str, &[&str])]) -> Vec<String> {
        let depends: Vec<Vec<String>> = packages
            .iter()
            .map(|(_, depends)| depends.iter().map(|spec| (*spec).to_owned()).collect())
            .collect();
        let nodes: Vec<Node<'_>> = packages
            .iter()
            .zip(&depends)
            .map(|((name, _), depends)| Node { name, depends })
            .collect();
        conda_order(&nodes)
            .into_iter()
            .map(|at| packages[at].0.to_owned())
            .collect()
    }

    #[test]
    fn layers_follow_dependencies_and_each_is_sorted_by_name() {
        let packages: &[(&str, &[&str])] = &[
            ("numpy", &["python >=3.11,<3.12.0a0", "libblas"]),
            ("zlib", &[]),
            ("python", &["zlib >=1", "pip"]),
            ("pip", &["python"]),
            ("libblas", &["__glibc >=2.17"]),
            ("tzdata", &[]),
        ];
        let expected = ["tzdata", "libblas", "zlib", "python", "numpy", "pip"];
        assert_eq!(order(packages), expected);
        let reversed: Vec<_> = packages.iter().rev().copied().collect();
        assert_eq!(order(&reversed), expected);
    }

    #[test]
    fn a_cycle_is_cut_at_the_package_that_needs_least() {
        let packages: &[(&str, &[&str])] = &[("a", &["b", "c"]), ("b", &["a"]), ("c", &["c", "b"])];
        assert_eq!(order(packages), ["b", "c", "a"]);
    }

    #[test]
    fn a_specs_name_ends_where_its_version_begins() {
        for (spec, name) in [
            ("numpy", "numpy"),
            ("numpy 1.26.*", "numpy"),
            ("numpy>=1", "numpy"),
            ("conda-forge::numpy=1.26=py311*", "numpy"),
            ("numpy[version='>=1']", "numpy"),
        ] {
            assert_eq!(spec_name(spec), name);
        }
    }
}
