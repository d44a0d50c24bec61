//! Extension headers: PAX records and GNU's long names.

use std::collections::BTreeMap;

use crate::error::Problem;
use crate::path::PathError;

/// The largest size that the header's own field can state (eleven octal digits).
const MAX_OCTAL_SIZE: u64 = 0o777_7777_7777;

/// A size may stand in an extension only where the header can't state it. Anywhere else it is needless
/// or wrong, and readers that apply it wrongly see entries that others don't.
pub(super) fn agreed_size(header: u64, pax: &BTreeMap<String, String>) -> Result<u64, Problem> {
    let Some(text) = pax.get("size") else {
        return Ok(header);
    };
    let size: u64 = text
        .parse()
        .map_err(|_| Problem::Archive("an extension's size is no number"))?;
    if size > MAX_OCTAL_SIZE && matches!(header, 0 | MAX_OCTAL_SIZE) {
        return Ok(size);
    }
    Err(Problem::Archive(
        "an extension states a size that the header states",
    ))
}

/// `LENGTH KEY=VALUE\n` records; the length counts the whole record.
pub(super) fn parse_pax(mut bytes: &[u8]) -> Result<BTreeMap<String, String>, Problem> {
    let broken = || Problem::Archive("an extension header is malformed");
    let mut records = BTreeMap::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|b| *b == b' ').ok_or_else(broken)?;
        let digits = std::str::from_utf8(&bytes[..space]).map_err(|_| broken())?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(broken());
        }
        let length: usize = digits.parse().map_err(|_| broken())?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(broken());
        }
        let record = &bytes[space + 1..length - 1];
        bytes = &bytes[length..];
        if record.starts_with(b"SCHILY.xattr.") || record.starts_with(b"LIBARCHIVE.xattr.") {
            continue; // may be binary, and is not kept
        }
        let record = std::str::from_utf8(record).map_err(|_| broken())?;
        let (key, value) = record.split_once('=').ok_or_else(broken)?;
        if key.starts_with("GNU.sparse.") {
            return Err(Problem::ForbiddenKind("sparse file"));
        }
        if value.contains('\0') && matches!(key, "path" | "linkpath" | "size" | "mtime") {
            return Err(broken());
        }
        if records.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Problem::Archive("an extension header has a key twice"));
        }
    }
    Ok(records)
}

/// A GNU long name: text up to its first NUL, behind which nothing may stand.
pub(super) fn long_text(bytes: &[u8]) -> Result<String, Problem> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    if bytes[end..].iter().any(|b| *b != 0) {
        return Err(Problem::Archive("a long name has text behind its end"));
    }
    String::from_utf8(bytes[..end].to_vec()).map_err(|_| Problem::UnsafePath(PathError::NotUtf8))
}
