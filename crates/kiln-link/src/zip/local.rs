//! Local headers and data descriptors, checked against the central directory.

use std::io::{Read, Seek, SeekFrom};

use super::ZipEntry;
use super::directory::{FLAG_DEFLATE_HINTS, FLAG_DESCRIPTOR, check_extra, u16_at, u32_at, u64_at};
use crate::error::Problem;

const LOCAL: [u8; 4] = *b"PK\x03\x04";
const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";
const LOCAL_BYTES: usize = 30;
const UNSET: u32 = u32::MAX;

/// Checks every local header, that entry follows entry from the file's first byte to the central
/// directory without gap, and notes where each entry's data begins.
pub(super) fn check<R: Read + Seek>(
    reader: &mut R,
    entries: &mut [ZipEntry],
    directory: u64,
) -> Result<(), Problem> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|index| entries[*index].header_offset);
    let mut at = 0;
    for (nth, index) in order.iter().enumerate() {
        let next = order
            .get(nth + 1)
            .map_or(directory, |next| entries[*next].header_offset);
        let entry = &mut entries[*index];
        if entry.header_offset != at {
            return Err(Problem::Archive("data stands between its entries"));
        }
        let local = read_header(reader, entry)?;
        entry.data_offset = local.data_offset;
        let end = local
            .data_offset
            .checked_add(entry.compressed)
            .filter(|end| *end <= next)
            .ok_or(Problem::Archive("an entry reaches into the next"))?;
        at = if local.descriptor {
            end + check_descriptor(reader, entry, end, next)?
        } else {
            end
        };
        if at != next {
            return Err(Problem::Archive("data stands between its entries"));
        }
    }
    if at != directory {
        return Err(Problem::Archive("data stands before the central directory"));
    }
    Ok(())
}

struct Local {
    data_offset: u64,
    descriptor: bool,
}

fn read_header<R: Read + Seek>(reader: &mut R, entry: &ZipEntry) -> Result<Local, Problem> {
    reader
        .seek(SeekFrom::Start(entry.header_offset))
        .map_err(Problem::from_read)?;
    let mut header = [0; LOCAL_BYTES];
    reader.read_exact(&mut header).map_err(Problem::from_read)?;
    if header[..4] != LOCAL {
        return Err(Problem::Archive("an entry has no local header"));
    }
    let mut name = vec![0; usize::from(u16_at(&header, 26))];
    let mut extra = vec![0; usize::from(u16_at(&header, 28))];
    reader.read_exact(&mut name).map_err(Problem::from_read)?;
    reader.read_exact(&mut extra).map_err(Problem::from_read)?;
    let zip64 = check_extra(&extra, &name)?;
    let flags = u16_at(&header, 6);
    let descriptor = flags & FLAG_DESCRIPTOR != 0;
    let (crc, compressed, size) = (
        u32_at(&header, 14),
        u32_at(&header, 18),
        u32_at(&header, 22),
    );
    let (compressed, size) = sizes(compressed, size, zip64)?;
    // With a descriptor the header may leave the three values open.
    let says = |found: u64, central: u64| found == central || (descriptor && found == 0);
    let agrees = name == entry.name.as_bytes()
        && flags & !FLAG_DEFLATE_HINTS == entry.flags & !FLAG_DEFLATE_HINTS
        && u16_at(&header, 8) == if entry.deflated { 8 } else { 0 }
        && says(u64::from(crc), u64::from(entry.crc))
        && says(compressed, entry.compressed)
        && says(size, entry.size);
    if !agrees {
        return Err(Problem::Archive(
            "a local header contradicts the central directory",
        ));
    }
    let data_offset =
        entry.header_offset + LOCAL_BYTES as u64 + name.len() as u64 + extra.len() as u64;
    Ok(Local {
        data_offset,
        descriptor,
    })
}

/// A local zip64 field has both sizes; some writers put in only the one they need.
fn sizes(compressed: u32, size: u32, zip64: Option<&[u8]>) -> Result<(u64, u64), Problem> {
    let plain = (u64::from(compressed), u64::from(size));
    let Some(values) = zip64 else {
        return Ok(plain);
    };
    match (size == UNSET, compressed == UNSET, values.len()) {
        (false, false, _) => Ok(plain),
        (true, true, 16) => Ok((u64_at(values, 8), u64_at(values, 0))),
        (true, false, 8) => Ok((plain.0, u64_at(values, 0))),
        (false, true, 8) => Ok((u64_at(values, 0), plain.1)),
        (true, false, 16) if u64_at(values, 8) == plain.0 => Ok((plain.0, u64_at(values, 0))),
        (false, true, 16) if u64_at(values, 0) == plain.1 => Ok((u64_at(values, 8), plain.1)),
        _ => Err(Problem::Archive("a zip64 extra field has the wrong length")),
    }
}

/// A data descriptor fills the gap up to the next entry and states the directory's values.
fn check_descriptor<R: Read + Seek>(
    reader: &mut R,
    entry: &ZipEntry,
    at: u64,
    next: u64,
) -> Result<u64, Problem> {
    let wrong = Problem::Archive("a data descriptor contradicts the central directory");
    let length = next - at;
    let (signed, wide) = match length {
        12 => (false, false),
        16 => (true, false),
        20 => (false, true),
        24 => (true, true),
        _ => return Err(wrong),
    };
    let mut bytes = vec![0; usize::try_from(length).expect("at most 24")];
    reader
        .seek(SeekFrom::Start(at))
        .map_err(Problem::from_read)?;
    reader.read_exact(&mut bytes).map_err(Problem::from_read)?;
    let fields = if signed {
        if bytes[..4] != DESCRIPTOR {
            return Err(wrong);
        }
        &bytes[4..]
    } else {
        &bytes[..]
    };
    let (compressed, size) = if wide {
        (u64_at(fields, 4), u64_at(fields, 12))
    } else {
        (u64::from(u32_at(fields, 4)), u64::from(u32_at(fields, 8)))
    };
    if u32_at(fields, 0) == entry.crc && compressed == entry.compressed && size == entry.size {
        Ok(length)
    } else {
        Err(wrong)
    }
}
