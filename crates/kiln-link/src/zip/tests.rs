use std::io::{Cursor, Read as _};

use proptest::prelude::*;

use super::*;
use crate::testing::zip;

fn read_all(bytes: Vec<u8>) -> Result<Vec<(String, Vec<u8>)>, Problem> {
    let mut archive = Zip::open(Cursor::new(bytes), &Limits::default())?;
    let names: Vec<String> = archive
        .entries()
        .iter()
        .map(|entry| entry.name.clone())
        .collect();
    let mut all = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let mut content = Vec::new();
        archive
            .read(index)?
            .read_to_end(&mut content)
            .map_err(Problem::from_read)?;
        all.push((name, content));
    }
    Ok(all)
}

fn sample() -> Vec<u8> {
    zip(&[
        ("a/b.py", b"print(1)\n".repeat(30).as_slice(), 0o644),
        ("a/c", b"", 0o755),
    ])
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for at in memchr::memmem::find_iter(bytes, from) {
        out[at..at + to.len()].copy_from_slice(to);
    }
    out
}

#[test]
fn what_is_written_is_read() {
    let all = read_all(sample()).expect("valid");
    assert_eq!(all[0], ("a/b.py".to_owned(), b"print(1)\n".repeat(30)));
    assert_eq!(all[1], ("a/c".to_owned(), Vec::new()));
    let archive = Zip::open(Cursor::new(sample()), &Limits::default()).expect("valid");
    assert_eq!(archive.entries()[1].unix_mode & 0o777, 0o755);
}

#[test]
fn a_changed_archive_is_refused() {
    let bytes = sample();
    let central = memchr::memmem::find(&bytes, b"PK\x01\x02").expect("there is a directory");
    let with = |at: usize, value: u8| {
        let mut out = bytes.clone();
        out[at] = value;
        out
    };
    let hidden: Vec<u8> = [&bytes[..central], b"hidden", &bytes[central..]].concat();
    for (what, bytes) in [
        ("junk before", [b"junk".as_slice(), &bytes].concat()),
        ("junk behind", [&bytes, b"junk".as_slice()].concat()),
        ("data between", hidden),
        ("twice", [bytes.clone(), bytes.clone()].concat()),
        ("other local name", with(30, b'z')),
        ("other local method", with(8, 0)),
        ("other local crc", with(14, bytes[14] ^ 1)),
        ("other local flags", with(6, 8)),
        ("encrypted", with(central + 8, 1)),
        ("unknown method", with(central + 10, 14)),
        ("one name for two", replaced(&bytes, b"a/b.py", b"a/c\0py")),
        (
            "a duplicate",
            replaced(&zip(&[("x1", b"1", 0), ("x2", b"2", 0)]), b"x2", b"x1"),
        ),
        (
            "a folder and a file",
            replaced(&zip(&[("x", b"", 0), ("y/", b"", 0)]), b"y/", b"x/"),
        ),
        ("no zip", b"no zip".to_vec()),
        ("nothing", Vec::new()),
    ] {
        assert!(read_all(bytes).is_err(), "{what}");
    }
}

#[test]
fn a_content_that_is_not_the_stated_one_is_refused() {
    let mut bytes = sample();
    let crc = Zip::open(Cursor::new(bytes.clone()), &Limits::default())
        .expect("valid")
        .entries()[0]
        .crc;
    bytes = replaced(&bytes, &crc.to_le_bytes(), &(crc ^ 1).to_le_bytes());
    assert!(matches!(
        read_all(bytes),
        Err(Problem::Content { what: "CRC-32", .. })
    ));
}

/// A stream writer's archive: sizes open in the local header, stated in a descriptor behind.
fn with_descriptor(descriptor: &[u8]) -> Vec<u8> {
    let flags = 8u16.to_le_bytes();
    let crc = {
        let mut crc = Crc::new();
        crc.update(b"hello");
        crc.sum()
    };
    let mut out = b"PK\x03\x04\x14\0".to_vec();
    out.extend(flags);
    out.extend([0; 6]);
    out.extend([0; 12]);
    out.extend([1, 0, 0, 0]);
    out.extend(b"xhello");
    out.extend(descriptor);
    let offset = out.len() as u32;
    out.extend(b"PK\x01\x02\x14\x03\x14\0");
    out.extend(flags);
    out.extend([0; 6]);
    out.extend(crc.to_le_bytes());
    out.extend(5u32.to_le_bytes());
    out.extend(5u32.to_le_bytes());
    out.extend([1, 0]);
    out.extend([0; 16]);
    out.extend(b"x");
    let size = out.len() as u32 - offset;
    out.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    out.extend(size.to_le_bytes());
    out.extend(offset.to_le_bytes());
    out.extend([0, 0]);
    out
}

#[test]
fn a_data_descriptor_has_to_state_the_directorys_values() {
    let crc = {
        let mut crc = Crc::new();
        crc.update(b"hello");
        crc.sum().to_le_bytes()
    };
    let five = 5u32.to_le_bytes();
    let wide = 5u64.to_le_bytes();
    let good: [Vec<u8>; 4] = [
        [crc.as_slice(), &five, &five].concat(),
        [b"PK\x07\x08".as_slice(), &crc, &five, &five].concat(),
        [crc.as_slice(), &wide, &wide].concat(),
        [b"PK\x07\x08".as_slice(), &crc, &wide, &wide].concat(),
    ];
    for descriptor in &good {
        let all = read_all(with_descriptor(descriptor)).expect("it agrees");
        assert_eq!(all, [("x".to_owned(), b"hello".to_vec())]);
        for at in 0..descriptor.len() {
            let mut bad = descriptor.clone();
            bad[at] ^= 1;
            assert!(read_all(with_descriptor(&bad)).is_err(), "{at}");
        }
    }
    assert!(read_all(with_descriptor(b"")).is_err());
    assert!(read_all(with_descriptor(&[good[0].as_slice(), b"x"].concat())).is_err());
}

#[test]
fn a_bomb_is_refused_before_it_unpacks() {
    let zeros = vec![0; 80 << 20];
    let bytes = zip(&[("zeros", &zeros, 0o644)]);
    assert!(matches!(
        Zip::open(Cursor::new(bytes), &Limits::default()).err(),
        Some(Problem::TooLarge { limit: 50, .. })
    ));
    let limits = Limits {
        entries: 1,
        ..Limits::default()
    };
    assert!(Zip::open(Cursor::new(sample()), &limits).is_err());
}

/// The corpus of zip confusions, where it is at hand: all good archives have a readable structure,
/// and of the bad ones none can be read to its end.
#[test]
fn the_corpus_of_confusing_archives_is_told_apart() {
    let Some(corpus) = std::env::var_os("KILN_CORPUS") else {
        return;
    };
    let folder = std::path::Path::new(&corpus).join("archives/warehouse-zipdata");
    let files = |kind: &str| -> Vec<std::path::PathBuf> {
        let files = fs_err::read_dir(folder.join(kind)).expect("the corpus is readable");
        files.map(|file| file.expect("readable").path()).collect()
    };
    for path in files("accept") {
        let bytes = fs_err::read(&path).expect("readable");
        let opened = Zip::open(Cursor::new(bytes), &Limits::default());
        assert!(opened.is_ok(), "{}: {:?}", path.display(), opened.err());
    }
    for path in files("reject") {
        let read = read_all(fs_err::read(&path).expect("readable"));
        assert!(read.is_err(), "{}: {read:?}", path.display());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_flipped_byte_never_panics_and_never_changes_a_content(at in 0usize..400, bit in 0u8..8) {
        let good = read_all(sample()).expect("valid");
        let mut bytes = sample();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(read) = read_all(bytes) {
            prop_assert_eq!(read, good, "byte {}", at);
        }
    }
}
