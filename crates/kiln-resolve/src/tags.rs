//! Compatibility tags of a target (PEP 425, PEP 600): which wheel of several is the best.

use std::collections::HashMap;

/// A target's tags, best first, as CPython's own installers order them.
#[derive(Debug, Clone)]
pub struct TagRanks {
    ranks: HashMap<String, usize>,
}

/// The parts of a wheel's file name (binary distribution format, "File name convention").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelName {
    /// The distribution's name as written.
    pub distribution: String,
    /// The version as written.
    pub version: String,
    /// The build tag: its number and the rest; without one it sorts first.
    pub build: (u64, String),
    /// Python tags.
    pub python: Vec<String>,
    /// ABI tags.
    pub abi: Vec<String>,
    /// Platform tags.
    pub platform: Vec<String>,
}

impl WheelName {
    /// Parses a file name; `None` when it is no wheel's.
    pub fn parse(file_name: &str) -> Option<Self> {
        let stem = file_name.strip_suffix(".whl")?;
        let fine =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+' | b'!');
        if !stem.bytes().all(fine) || stem.starts_with('.') {
            return None;
        }
        let parts: Vec<&str> = stem.split('-').collect();
        let (build, tags) = match parts.len() {
            5 => (None, &parts[2..]),
            6 => (Some(parts[2]), &parts[3..]),
            _ => return None,
        };
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        let split = |tag: &str| tag.split('.').map(str::to_owned).collect();
        Some(Self {
            distribution: parts[0].to_owned(),
            version: parts[1].to_owned(),
            build: match build {
                None => (0, String::new()),
                Some(build) => {
                    let digits = build.bytes().take_while(u8::is_ascii_digit).count();
                    (build[..digits].parse().ok()?, build[digits..].to_owned())
                }
            },
            python: split(tags[0]),
            abi: split(tags[1]),
            platform: split(tags[2]),
        })
    }
}

impl TagRanks {
    /// The tags of CPython 3.`minor` on Linux with a glibc `(major, minor)` and a machine's name such as
    /// `x86_64`; `None` as glibc is musl 1.2.
    pub fn new(minor: u8, glibc: Option<(u32, u32)>, machine: &str) -> Self {
        let platforms = platforms(glibc, machine);
        let mut tags: Vec<String> = Vec::new();
        let own = format!("cp3{minor}");
        let mut each = |python: &str, abi: &str| {
            tags.extend(
                platforms
                    .iter()
                    .map(|platform| format!("{python}-{abi}-{platform}")),
            );
        };
        each(&own, &own);
        each(&own, "abi3");
        each(&own, "none");
        for older in (2..minor).rev() {
            each(&format!("cp3{older}"), "abi3");
        }
        let generic: Vec<String> = std::iter::once(format!("py3{minor}"))
            .chain(std::iter::once("py3".to_owned()))
            .chain((0..minor).rev().map(|older| format!("py3{older}")))
            .collect();
        for python in &generic {
            each(python, "none");
        }
        tags.push(format!("{own}-none-any"));
        tags.extend(generic.iter().map(|python| format!("{python}-none-any")));
        let mut ranks = HashMap::with_capacity(tags.len());
        for (rank, tag) in tags.into_iter().enumerate() {
            ranks.entry(tag).or_insert(rank);
        }
        Self { ranks }
    }

    /// The rank of a wheel's best tag, 0 is best; `None` when it does not run on the target.
    pub fn rank(&self, wheel: &WheelName) -> Option<usize> {
        let mut best = None;
        for python in &wheel.python {
            for abi in &wheel.abi {
                for platform in &wheel.platform {
                    let rank = self
                        .ranks
                        .get(&format!("{python}-{abi}-{platform}"))
                        .copied();
                    best = match (best, rank) {
                        (Some(one), Some(other)) => Some(std::cmp::min::<usize>(one, other)),
                        (one, other) => one.or(other),
                    };
                }
            }
        }
        best
    }
}

/// Platform tags, best first.
fn platforms(glibc: Option<(u32, u32)>, machine: &str) -> Vec<String> {
    let mut platforms = Vec::new();
    match glibc {
        Some((2, newest)) => {
            // manylinux1 and 2010 exist for x86 alone; others begin with 2014.
            let oldest = if matches!(machine, "x86_64" | "i686") {
                5
            } else {
                17
            };
            for minor in (oldest..=newest).rev() {
                platforms.push(format!("manylinux_2_{minor}_{machine}"));
                match minor {
                    17 => platforms.push(format!("manylinux2014_{machine}")),
                    12 => platforms.push(format!("manylinux2010_{machine}")),
                    5 => platforms.push(format!("manylinux1_{machine}")),
                    _ => {}
                }
            }
        }
        Some(_) => {}
        None => {
            platforms.push(format!("musllinux_1_2_{machine}"));
            platforms.push(format!("musllinux_1_1_{machine}"));
            platforms.push(format!("musllinux_1_0_{machine}"));
        }
    }
    platforms.push(format!("linux_{machine}"));
    platforms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best<'a>(ranks: &TagRanks, names: &[&'a str]) -> Option<&'a str> {
        names
            .iter()
            .filter_map(|name| {
                let wheel = WheelName::parse(name).expect("the test's name is a wheel's");
                Some((ranks.rank(&wheel)?, std::cmp::Reverse(wheel.build), *name))
            })
            .min()
            .map(|(_, _, name)| name)
    }

    #[test]
    fn the_most_specific_wheel_wins() {
        let ranks = TagRanks::new(11, Some((2, 36)), "x86_64");
        let names = [
            "a-1-py3-none-any.whl",
            "a-1-cp37-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "a-1-cp311-cp311-manylinux_2_28_x86_64.whl",
            "a-1-cp312-cp312-manylinux_2_28_x86_64.whl",
            "a-1-cp311-cp311-manylinux_2_39_x86_64.whl",
            "a-1-cp311-cp311-musllinux_1_2_x86_64.whl",
            "a-1-cp311-cp311-manylinux_2_28_aarch64.whl",
        ];
        assert_eq!(best(&ranks, &names), Some(names[3]));
        assert_eq!(best(&ranks, &names[..3]), Some(names[2]));
        assert_eq!(best(&ranks, &names[..2]), Some(names[1]));
        assert_eq!(best(&ranks, &names[4..]), None);
    }

    #[test]
    fn the_highest_build_tag_breaks_a_tie() {
        let ranks = TagRanks::new(12, Some((2, 31)), "aarch64");
        let names = [
            "a-1-py3-none-any.whl",
            "a-1-2-py3-none-any.whl",
            "a-1-10b-py3-none-any.whl",
        ];
        assert_eq!(best(&ranks, &names), Some(names[2]));
        let two = ["a-1-py2.py3-none-any.whl"];
        assert_eq!(best(&ranks, &two), Some(two[0]));
    }

    #[test]
    fn names_that_are_no_wheels_are_refused() {
        for name in [
            "a-1.tar.gz",
            "a-1.whl",
            "../a-1-py3-none-any.whl",
            "a--py3-none-any.whl",
            "a-1-x-py3-none-any.whl",
        ] {
            assert_eq!(WheelName::parse(name), None, "{name}");
        }
    }
}
