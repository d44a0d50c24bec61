//! tar headers: POSIX ustar, with a pax extended header (POSIX.1-2001) where ustar is too narrow.
//!
//! The owner is 0:0 by number, without names; a time is whole seconds. Nothing else of the machine is in one.

use std::fmt::Write as _;

use tar::{EntryType, Header};

/// tar's unit.
pub(crate) const BLOCK_BYTES: usize = 512;
/// What eleven octal digits hold.
const MAX_OCTAL: u64 = 0o77_777_777_777;
const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    File { mode: u32, size: u64 },
    Symlink { target: &'a str },
    Directory,
}

/// The header of an entry, with its extended header where it needs one.
///
/// Times before 1970 and after 2242 become the nearest one that ustar holds.
pub(crate) fn header(path: &str, kind: Kind<'_>, mtime: i64) -> Vec<u8> {
    let mtime = u64::try_from(mtime).unwrap_or(0).min(MAX_OCTAL);
    let (entry_type, mode, size, target) = match kind {
        Kind::File { mode, size } => (EntryType::Regular, mode, size, ""),
        Kind::Symlink { target } => (EntryType::Symlink, 0o777, 0, target),
        Kind::Directory => (EntryType::Directory, 0o755, 0, ""),
    };
    let mut records = String::new();
    let split = split(path);
    if split.is_none() {
        record(&mut records, "path", path);
    }
    let plain_target = target.is_ascii() && target.len() <= NAME_BYTES;
    if !plain_target {
        record(&mut records, "linkpath", target);
    }
    if size > MAX_OCTAL {
        record(&mut records, "size", &size.to_string());
    }
    let mut bytes = Vec::new();
    if !records.is_empty() {
        let extended = basic(EntryType::XHeader, 0o644, records.len() as u64, mtime);
        bytes.extend(named(extended, "", "pax", "").as_bytes());
        bytes.extend(records.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    // Who reads no extended header sees an entry of an odd name, not one that overwrites another.
    let (prefix, name) = split.unwrap_or(("", "pax-entry"));
    let target = if plain_target { target } else { "pax-target" };
    let own = basic(entry_type, mode, size.min(MAX_OCTAL), mtime);
    bytes.extend(named(own, prefix, name, target).as_bytes());
    bytes
}

fn basic(entry_type: EntryType, mode: u32, size: u64, mtime: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(entry_type);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(mtime);
    header
}

/// Writes the names as they are: the crate's own functions take apart what they get.
fn named(mut header: Header, prefix: &str, name: &str, target: &str) -> Header {
    let ustar = header.as_ustar_mut().expect("it was made as one");
    ustar.prefix[..prefix.len()].copy_from_slice(prefix.as_bytes());
    ustar.name[..name.len()].copy_from_slice(name.as_bytes());
    ustar.linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_cksum();
    header
}

/// A path as ustar's prefix and name; `None` where it doesn't fit or is not ASCII.
fn split(path: &str) -> Option<(&str, &str)> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= NAME_BYTES {
        return Some(("", path));
    }
    // The last slash that leaves a prefix; a directory's own slash at the end stays with its name.
    let inner = path.strip_suffix('/').unwrap_or(path);
    let at = inner.get(..=PREFIX_BYTES).unwrap_or(inner).rfind('/')?;
    let (prefix, name) = (&path[..at], &path[at + 1..]);
    (!prefix.is_empty() && name.len() <= NAME_BYTES).then_some((prefix, name))
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(records: &mut String, key: &str, value: &str) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + digits(length) {
        length = rest + digits(length);
    }
    // Writing to a String can't fail.
    let _ = writeln!(records, "{length} {key}={value}");
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tar::Archive;

    use super::*;

    /// Reads an entry back with a reader that isn't ours.
    fn read(bytes: &[u8], size: u64) -> (String, Option<String>, u64, u32, u64) {
        let mut bytes = bytes.to_vec();
        bytes.resize(
            bytes.len() + (size as usize).next_multiple_of(BLOCK_BYTES) + 1024,
            0,
        );
        let mut archive = Archive::new(bytes.as_slice());
        let mut entries = archive.entries().unwrap();
        let entry = entries.next().unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (
            text(&entry.path_bytes()),
            entry.link_name_bytes().map(|link| text(&link)),
            entry.size(),
            entry.header().mode().unwrap(),
            entry.header().mtime().unwrap(),
        )
    }

    #[test]
    fn a_short_entry_is_one_block_of_fixed_bytes() {
        let kind = Kind::File {
            mode: 0o755,
            size: 5,
        };
        let bytes = header("opt/kiln/env/bin/x", kind, 1_700_000_000);
        assert_eq!(bytes.len(), BLOCK_BYTES);
        assert_eq!(&bytes[257..265], b"ustar\x0000");
        // User and group: numbers alone.
        assert_eq!(
            (&bytes[108..116], &bytes[265..329]),
            (b"0000000\0".as_slice(), [0; 64].as_slice())
        );
        assert_eq!(
            read(&bytes, 5),
            ("opt/kiln/env/bin/x".into(), None, 5, 0o755, 1_700_000_000)
        );
    }

    #[test]
    fn times_and_sizes_that_ustar_cannot_hold_are_told_otherwise() {
        for (mtime, read_back) in [(-5, 0), (i64::MAX, MAX_OCTAL)] {
            let kind = Kind::File {
                mode: 0o644,
                size: 0,
            };
            assert_eq!(read(&header("a", kind, mtime), 0).4, read_back);
        }
        let kind = Kind::File {
            mode: 0o644,
            size: MAX_OCTAL + 1,
        };
        let bytes = header("a", kind, 0);
        assert_eq!(bytes.len(), 3 * BLOCK_BYTES);
        assert!(bytes[BLOCK_BYTES..].starts_with(b"19 size=8589934592\n"));
    }

    #[test]
    fn an_extended_record_counts_its_own_length() {
        for length in 1..2000 {
            let mut records = String::new();
            record(&mut records, "path", &"x".repeat(length));
            let stated: usize = records.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(stated, records.len());
        }
    }

    proptest! {
        #[test]
        fn every_path_and_target_reads_back(
            path in "[a-zä]{1,60}(/[a-z0-9é._-]{1,120}){0,12}",
            target in "[a-zö./]{1,200}",
            directory in any::<bool>(),
        ) {
            let path = if directory { format!("{path}/") } else { path };
            let kind = Kind::Symlink { target: &target };
            let kind = if directory { Kind::Directory } else { kind };
            let (found, link, ..) = read(&header(&path, kind, 7), 0);
            prop_assert_eq!(found, path);
            prop_assert_eq!(link, (!directory).then_some(target));
        }
    }
}
