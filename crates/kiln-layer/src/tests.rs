//! Layers of packages and of groups, read back by a reader that isn't ours.

use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use kiln_link::{CONSTANT_MTIME, Entry, Node, Origin, PrefixPath, Sink as _, TargetPrefix};
use kiln_oci::Digest;
use proptest::prelude::*;

use crate::*;

/// Path, then content; or a link's target after `->`.
type Files = Vec<(String, String)>;

fn prefix() -> TargetPrefix {
    TargetPrefix::new("/opt/kiln/env").unwrap()
}

fn directories(files: &Files) -> Directories {
    let mut directories = Directories::of_prefix(&prefix());
    for (path, _) in files {
        directories.add_parents(&prefix(), &PrefixPath::new(path).unwrap());
    }
    directories
}

fn package(files: &Files, compressors: &Compressors) -> (Vec<u8>, PackageLayer) {
    let mut writer =
        PackageWriter::begin(Vec::new(), compressors, &prefix(), directories(files)).unwrap();
    for (path, content) in files {
        put(&mut writer, path, content).unwrap();
    }
    writer.finish().unwrap()
}

fn put(writer: &mut PackageWriter<Vec<u8>>, path: &str, content: &str) -> std::io::Result<()> {
    let path = PrefixPath::new(path).unwrap();
    let mut bytes = content.as_bytes();
    let node = match content.strip_prefix("->") {
        Some(target) => Node::Symlink { target, mtime: 7 },
        None => Node::File {
            mode: 0o644,
            mtime: 1_700_000_000,
            size: content.len() as u64,
            content: &mut bytes,
        },
    };
    let origin = Origin::Shipped;
    writer.put(Entry {
        path: &path,
        origin,
        node,
    })
}

/// Every entry in order: name, content or target, mode, time.
fn entries(layer: &[u8]) -> Vec<(String, String, u32, u64)> {
    let mut plain = Vec::new();
    MultiGzDecoder::new(layer).read_to_end(&mut plain).unwrap();
    let mut archive = tar::Archive::new(plain.as_slice());
    let mut found = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().to_vec()).unwrap();
        let mut content = String::new();
        match entry.link_name_bytes() {
            Some(target) => content = format!("->{}", String::from_utf8_lossy(&target)),
            None => drop(entry.read_to_string(&mut content).unwrap()),
        }
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        found.push((
            name,
            content,
            header.mode().unwrap(),
            header.mtime().unwrap(),
        ));
    }
    found
}

fn check(layer: &Layer, bytes: &[u8]) {
    let mut plain = Vec::new();
    MultiGzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    assert_eq!(
        *layer,
        Layer {
            digest: Digest::of(bytes),
            diff_id: Digest::of(&plain),
            size: bytes.len() as u64,
        }
    );
    assert!(plain.ends_with(&[0; 1024]) && plain.len().is_multiple_of(512));
}

fn files(parts: &[(&str, &str)]) -> Files {
    parts
        .iter()
        .map(|(path, content)| ((*path).to_owned(), (*content).to_owned()))
        .collect()
}

#[test]
fn a_package_is_a_layer_of_its_directories_and_its_entries() {
    let (bytes, package) = package(
        &files(&[("lib/libz.so.1", "elf"), ("lib/libz.so", "->libz.so.1")]),
        &Compressors::inline(),
    );
    check(&package.layer, &bytes);
    let time = u64::try_from(CONSTANT_MTIME).unwrap();
    let directory = |path: &str| (path.to_owned(), String::new(), 0o755, time);
    assert_eq!(
        entries(&bytes),
        [
            directory("opt/"),
            directory("opt/kiln/"),
            directory("opt/kiln/env/"),
            directory("opt/kiln/env/lib/"),
            (
                "opt/kiln/env/lib/libz.so.1".into(),
                "elf".into(),
                0o644,
                1_700_000_000
            ),
            (
                "opt/kiln/env/lib/libz.so".into(),
                "->libz.so.1".into(),
                0o777,
                7
            ),
        ]
    );
    let segment = package.segment_offset as usize..;
    let segment = &bytes[segment][..package.segment_size as usize];
    let mut plain = Vec::new();
    MultiGzDecoder::new(segment)
        .read_to_end(&mut plain)
        .unwrap();
    assert_eq!(plain.len(), 3 * 512, "two headers, one content, no end");
}

#[test]
fn what_was_not_announced_is_refused() {
    let announced = files(&[("lib/a/x", "")]);
    for (path, content, why) in [
        ("lib/a", "text", "a directory and something else"),
        ("lib/a", "->b", "a directory and something else"),
        ("other/x", "", "was not announced"),
    ] {
        let mut writer = PackageWriter::begin(
            Vec::new(),
            &Compressors::inline(),
            &prefix(),
            directories(&announced),
        )
        .unwrap();
        let error = put(&mut writer, path, content).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    for announced in [2, 4] {
        let mut writer = PackageWriter::begin(
            Vec::new(),
            &Compressors::inline(),
            &prefix(),
            Directories::of_prefix(&prefix()),
        )
        .unwrap();
        let path = PrefixPath::new("x").unwrap();
        let node = Node::File {
            mode: 0o644,
            mtime: 0,
            size: announced,
            content: &mut b"abc".as_slice(),
        };
        let origin = Origin::Shipped;
        let entry = Entry {
            path: &path,
            origin,
            node,
        };
        let error = writer.put(entry).unwrap_err().to_string();
        assert!(error.contains("bytes that were announced"), "{error}");
    }
}

#[test]
fn a_damaged_package_makes_no_group() {
    let (bytes, package) = package(&files(&[("a", "text")]), &Compressors::inline());
    let directories = Directories::of_prefix(&prefix());
    for at in [0, package.segment_offset as usize + 12, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let parts = [(package.clone(), damaged.as_slice())];
        let error = write_group(Vec::new(), parts, &directories).unwrap_err();
        assert!(
            matches!(error, GroupError::Corrupt { .. }),
            "{at}: {error:?}"
        );
    }
    let parts = [(package, &bytes[..bytes.len() - 1])];
    let error = write_group(Vec::new(), parts, &directories).unwrap_err();
    assert!(matches!(error, GroupError::Corrupt { .. }), "{error:?}");
}

#[test]
fn a_small_layer_has_its_parents_and_says_what_it_is() {
    let file = |text: &str| SmallEntry::File {
        mode: 0o644,
        content: text.into(),
    };
    let entries_of = BTreeMap::from([
        (
            "azureml-envs/x".to_owned(),
            SmallEntry::Symlink("/opt/kiln/env".into()),
        ),
        ("opt/kiln/env/conda-meta/history".to_owned(), file("==>")),
        ("opt/kiln/env/include".to_owned(), SmallEntry::Directory),
    ]);
    let (bytes, layer) = small_layer(&entries_of).unwrap();
    check(&layer, &bytes);
    let names: Vec<String> = entries(&bytes).into_iter().map(|entry| entry.0).collect();
    assert_eq!(
        names,
        [
            "azureml-envs/",
            "opt/",
            "opt/kiln/",
            "opt/kiln/env/",
            "opt/kiln/env/conda-meta/",
            "opt/kiln/env/include/",
            "azureml-envs/x",
            "opt/kiln/env/conda-meta/history",
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_group_has_every_entry_of_its_packages_and_every_directory_once(
        packages in prop::collection::vec(
            prop::collection::btree_map("[a-z]{1,8}(/[a-zé]{1,90}){0,3}", "(->)?[a-z]{1,4}|[a-z]{0,3000}", 0..5),
            0..4,
        ),
        threads in 0_usize..3,
    ) {
        // Each package below a folder of its own: owners are settled before layers are made.
        let packages: Vec<Files> = packages
            .into_iter()
            .enumerate()
            .map(|(n, files)| {
                let below = |path: String| format!("p{n}/{}/f", path.replace('/', "_/"));
                files.into_iter().map(|(path, content)| (below(path), content)).collect()
            })
            .collect();
        let compressors = match threads {
            0 => Compressors::inline(),
            n => Compressors::threads(n).unwrap(),
        };
        let made: Vec<(Vec<u8>, PackageLayer)> =
            packages.iter().map(|files| package(files, &compressors)).collect();
        let mut all = Directories::of_prefix(&prefix());
        for (bytes, package) in &made {
            check(&package.layer, bytes);
            all.extend(&package.directories);
        }
        let parts = made.iter().map(|(bytes, package)| (package.clone(), bytes.as_slice()));
        let (bytes, layer) = write_group(Vec::new(), parts, &all).unwrap();
        check(&layer, &bytes);
        let found: Vec<(String, String)> =
            entries(&bytes).into_iter().map(|(name, content, ..)| (name, content)).collect();
        let expected: Vec<(String, String)> = all
            .iter()
            .map(|path| (format!("{path}/"), String::new()))
            .chain(packages.iter().flatten().map(|(path, content)| {
                (format!("opt/kiln/env/{path}"), content.clone())
            }))
            .collect();
        prop_assert_eq!(found, expected);
    }
}
