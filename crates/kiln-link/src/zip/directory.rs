//! The end records and the central directory.

use std::collections::HashSet;
use std::io::{Read, Seek, SeekFrom};

use super::ZipEntry;
use crate::error::Problem;
use crate::path::PathError;

const END: [u8; 4] = *b"PK\x05\x06";
const END64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR64: [u8; 4] = *b"PK\x06\x07";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const END_BYTES: usize = 22;
const END64_BYTES: usize = 56;
const LOCATOR64_BYTES: usize = 20;
const CENTRAL_BYTES: usize = 46;

/// Flags an entry may have: deflate's two hints, a data descriptor, a UTF-8 name.
const ALLOWED_FLAGS: u16 = FLAG_DEFLATE_HINTS | FLAG_DESCRIPTOR | FLAG_UTF8;
pub(super) const FLAG_DEFLATE_HINTS: u16 = 0b110;
pub(super) const FLAG_DESCRIPTOR: u16 = 1 << 3;
const FLAG_UTF8: u16 = 1 << 11;

/// Where the central directory is.
pub(super) struct End {
    pub entries: u64,
    pub offset: u64,
    pub size: u64,
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Finds the end record nearest to the file's end; its comment has to reach exactly to there.
pub(super) fn find_end<R: Read + Seek>(reader: &mut R, length: u64) -> Result<End, Problem> {
    let span = END64_BYTES + LOCATOR64_BYTES + END_BYTES + usize::from(u16::MAX);
    let span = usize::try_from(length).unwrap_or(usize::MAX).min(span);
    let start = length - span as u64;
    reader
        .seek(SeekFrom::Start(start))
        .map_err(Problem::from_read)?;
    let mut tail = vec![0; span];
    reader.read_exact(&mut tail).map_err(Problem::from_read)?;
    let at = memchr::memmem::rfind(&tail, &END)
        .filter(|at| at + END_BYTES <= tail.len())
        .ok_or(Problem::Archive("it is no zip: there is no end record"))?;
    let end = &tail[at..];
    if END_BYTES + usize::from(u16_at(end, 20)) != end.len() {
        return Err(Problem::Archive("the end record is not at its end"));
    }
    if u16_at(end, 4) != 0 || u16_at(end, 6) != 0 {
        return Err(Problem::Archive("it spans several disks"));
    }
    if u16_at(end, 8) != u16_at(end, 10) {
        return Err(Problem::Archive("the end record contradicts itself"));
    }
    let plain = End {
        entries: u64::from(u16_at(end, 10)),
        size: u64::from(u32_at(end, 12)),
        offset: u64::from(u32_at(end, 16)),
    };
    let end_offset = start + at as u64;
    let has_locator = at >= LOCATOR64_BYTES && tail[at - LOCATOR64_BYTES..][..4] == LOCATOR64;
    let (found, directory_end) = if has_locator {
        let locator = at - LOCATOR64_BYTES;
        (
            end64(&tail, start, locator, &plain)?,
            start + locator as u64 - END64_BYTES as u64,
        )
    } else {
        (plain, end_offset)
    };
    if found.offset.checked_add(found.size) != Some(directory_end) {
        return Err(Problem::Archive(
            "the central directory does not end at the end record",
        ));
    }
    Ok(found)
}

/// The zip64 end record stands directly before its locator, without extensible data, and agrees
/// with the plain one wherever that one states a value.
fn end64(tail: &[u8], start: u64, locator: usize, plain: &End) -> Result<End, Problem> {
    let wrong = Problem::Archive("the zip64 end record is not where its locator says");
    let Some(at) = locator.checked_sub(END64_BYTES) else {
        return Err(wrong);
    };
    let record = &tail[at..locator];
    if record[..4] != END64
        || u64_at(tail, locator + 8) != start + at as u64
        || u32_at(tail, locator + 4) != 0
        || u32_at(tail, locator + 16) > 1
        || u64_at(record, 4) != END64_BYTES as u64 - 12
    {
        return Err(wrong);
    }
    let found = End {
        entries: u64_at(record, 32),
        size: u64_at(record, 40),
        offset: u64_at(record, 48),
    };
    let agrees = |plain: u64, full: u64, unset: u64| plain == full || plain == unset;
    if u64_at(record, 24) != found.entries
        || !agrees(plain.entries, found.entries, u64::from(u16::MAX))
        || !agrees(plain.size, found.size, u64::from(u32::MAX))
        || !agrees(plain.offset, found.offset, u64::from(u32::MAX))
    {
        return Err(Problem::Archive(
            "the two end records contradict each other",
        ));
    }
    Ok(found)
}

/// Reads exactly the stated number of entries, which have to fill the directory exactly.
pub(super) fn read_entries<R: Read + Seek>(
    reader: &mut R,
    end: &End,
) -> Result<Vec<ZipEntry>, Problem> {
    reader
        .seek(SeekFrom::Start(end.offset))
        .map_err(Problem::from_read)?;
    let mut bytes = Vec::new();
    reader
        .take(end.size)
        .read_to_end(&mut bytes)
        .map_err(Problem::from_read)?;
    let mut rest = bytes.as_slice();
    let mut names = HashSet::new();
    let mut entries = Vec::new();
    for _ in 0..end.entries {
        let (entry, after) = read_entry(rest)?;
        rest = after;
        // A file and a directory of one name are two contents for one path.
        if !names.insert(entry.name.trim_end_matches('/').to_owned()) {
            return Err(Problem::Archive("it has a name twice"));
        }
        entries.push(entry);
    }
    if !rest.is_empty() {
        return Err(Problem::Archive(
            "the central directory has more than its entries",
        ));
    }
    Ok(entries)
}

fn read_entry(bytes: &[u8]) -> Result<(ZipEntry, &[u8]), Problem> {
    let broken = Problem::Archive("the central directory is malformed");
    if bytes.len() < CENTRAL_BYTES || bytes[..4] != CENTRAL {
        return Err(broken);
    }
    let flags = u16_at(bytes, 8);
    let (name_bytes, extra_bytes, comment_bytes) = (
        usize::from(u16_at(bytes, 28)),
        usize::from(u16_at(bytes, 30)),
        usize::from(u16_at(bytes, 32)),
    );
    let total = CENTRAL_BYTES + name_bytes + extra_bytes + comment_bytes;
    if bytes.len() < total {
        return Err(broken);
    }
    if flags & !ALLOWED_FLAGS != 0 {
        return Err(Problem::Archive(
            "an entry is encrypted or uses an unsupported feature",
        ));
    }
    let name = &bytes[CENTRAL_BYTES..][..name_bytes];
    let extra = &bytes[CENTRAL_BYTES + name_bytes..][..extra_bytes];
    let (mut compressed, mut size, mut header_offset) = (
        u64::from(u32_at(bytes, 20)),
        u64::from(u32_at(bytes, 24)),
        u64::from(u32_at(bytes, 42)),
    );
    let zip64 = check_extra(extra, name)?;
    let mut unset: Vec<&mut u64> = [&mut size, &mut compressed, &mut header_offset]
        .into_iter()
        .filter(|value| **value == u64::from(u32::MAX))
        .collect();
    if let Some(values) = zip64
        && !unset.is_empty()
    {
        if values.len() != 8 * unset.len() {
            return Err(Problem::Archive("a zip64 extra field has the wrong length"));
        }
        for (at, value) in unset.iter_mut().enumerate() {
            **value = u64_at(values, 8 * at);
        }
    }
    let method = u16_at(bytes, 10);
    if !matches!(method, 0 | 8) {
        return Err(Problem::Archive("an entry is neither stored nor deflated"));
    }
    if u16_at(bytes, 34) != 0 {
        return Err(Problem::Archive("it spans several disks"));
    }
    let entry = ZipEntry {
        name: entry_name(name, flags)?,
        size,
        unix_mode: u32_at(bytes, 38) >> 16,
        deflated: method == 8,
        flags,
        crc: u32_at(bytes, 16),
        compressed,
        header_offset,
        data_offset: 0,
    };
    if entry.is_directory() && (entry.size != 0 || entry.compressed > 2) {
        return Err(Problem::Archive("a directory has content"));
    }
    Ok((entry, &bytes[total..]))
}

/// Names are ASCII, or UTF-8 and marked so: without the mark readers disagree about the encoding.
fn entry_name(bytes: &[u8], flags: u16) -> Result<String, Problem> {
    if bytes.is_empty() {
        return Err(Problem::Archive("an entry has no name"));
    }
    let name = std::str::from_utf8(bytes).map_err(|_| Problem::UnsafePath(PathError::NotUtf8))?;
    if !name.is_ascii() && flags & FLAG_UTF8 == 0 {
        return Err(Problem::Archive(
            "a name is not ASCII and not marked as UTF-8",
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(Problem::UnsafePath(PathError::Control));
    }
    Ok(name.to_owned())
}

/// Checks the extra fields' framing and names; gives the zip64 field's values.
pub(super) fn check_extra<'a>(
    mut extra: &'a [u8],
    name: &[u8],
) -> Result<Option<&'a [u8]>, Problem> {
    let mut zip64 = None;
    while !extra.is_empty() {
        if extra.len() < 4 {
            return Err(Problem::Archive("an extra field is malformed"));
        }
        let (id, length) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        if extra.len() < 4 + length {
            return Err(Problem::Archive("an extra field is malformed"));
        }
        let value = &extra[4..4 + length];
        extra = &extra[4 + length..];
        match id {
            0x0001 if zip64.is_some() => {
                return Err(Problem::Archive("an extra field stands twice"));
            }
            0x0001 => zip64 = Some(value),
            // Info-ZIP's Unicode path: a second name that some readers use.
            0x7075 if value.get(5..) != Some(name) => {
                return Err(Problem::Archive("an extra field states another name"));
            }
            _ => {}
        }
    }
    Ok(zip64)
}
