//! What would help: near names, and constraints whose loosening makes a set solvable.

use crate::error::Explanation;

/// How many near names are offered.
const NEAR_NAMES: usize = 3;

/// The names that look most like `wanted`, best first.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let limit = (wanted.len() / 3).clamp(1, 3);
    let folded = fold(wanted);
    let mut ranked: Vec<(usize, &str)> = names
        .filter_map(|name| {
            let other = fold(name);
            if has_common_affix(&other, &folded) {
                return Some((2, name));
            }
            // The distance is at least the difference of the lengths.
            if other.len().abs_diff(folded.len()) > limit {
                return None;
            }
            let distance = distance(&other, &folded);
            (distance <= limit).then_some((distance, name))
        })
        .collect();
    ranked.sort_unstable();
    ranked.dedup();
    ranked
        .into_iter()
        .take(NEAR_NAMES)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// conda does not fold `-` and `_`, but people do.
fn fold(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}

/// `opencv` and `py-opencv`, `torch` and `torch-cpu`: one is the other with a part before or after.
fn has_common_affix(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() < other.len() {
        (one, other)
    } else {
        (other, one)
    };
    short.len() >= 4
        && (long
            .strip_prefix(short)
            .is_some_and(|rest| rest.starts_with('-'))
            || long
                .strip_suffix(short)
                .is_some_and(|rest| rest.ends_with('-')))
}

/// The number of insertions, deletions, substitutions and swaps of neighbours.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let mut before_last: Vec<usize> = vec![0; other.len() + 1];
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for i in 1..=one.len() {
        let mut row = vec![i; other.len() + 1];
        for j in 1..=other.len() {
            let substituted = last[j - 1] + usize::from(one[i - 1] != other[j - 1]);
            row[j] = substituted.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

/// Sentences about virtual packages the clash names.
pub(crate) fn virtual_help(clash: &str, offered: &[(String, String, String)]) -> Vec<String> {
    let version = |name: &str| {
        offered
            .iter()
            .find(|(offered, ..)| offered == name)
            .map(|(_, version, _)| version.as_str())
    };
    let mut help = Vec::new();
    if clash.contains("__cuda") {
        help.push(match version("__cuda") {
            None => "the base image has no CUDA and a package asks for it: choose a GPU base, or take the CPU build".into(),
            Some(found) => format!("a package asks for another CUDA than the base image's {found}: choose a base with a newer one"),
        });
    }
    if clash.contains("__glibc") {
        help.push(match version("__glibc") {
            None => "the base image has no glibc and a package asks for it: choose a base with glibc, such as Debian or Ubuntu".into(),
            Some(found) => format!("a package asks for another glibc than the base image's {found}: choose a newer base, or an older version of the package"),
        });
    }
    if clash.contains("__archspec") {
        help.push("a package asks for a newer processor than the platform's baseline: take its generic build".into());
    }
    help
}

/// Puts an explanation together.
pub(crate) fn explanation(
    clash: &str,
    mut loosened: Vec<String>,
    offered: &[(String, String, String)],
) -> Explanation {
    let mut help = virtual_help(clash, offered);
    help.append(&mut loosened);
    Explanation {
        clash: clash.trim_end().to_owned(),
        help,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = [
            "numpy",
            "numba",
            "scikit-learn",
            "pandas",
            "py-opencv",
            "pytorch",
            "num",
        ];
        let near = |wanted| nearest(wanted, names.into_iter());
        assert_eq!(near("numpi"), ["numpy"]);
        assert_eq!(near("scikit_learn"), ["scikit-learn"]);
        assert_eq!(near("opencv"), ["py-opencv"]);
        assert_eq!(near("pnadas"), ["pandas"]);
        assert!(near("tensorflow").is_empty());
    }

    #[test]
    fn swapped_neighbours_are_one_step() {
        assert_eq!(distance("pnadas", "pandas"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn a_clash_over_cuda_names_the_base() {
        let help = virtual_help("gpulib would require __cuda >=12", &[]);
        assert_eq!(help.len(), 1);
        assert!(help[0].contains("no CUDA"), "{}", help[0]);
    }
}
