//! `RECORD`: the list of a distribution's files with their hashes.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::Problem;
use crate::hash::Expected;

/// One line: path, hash, size.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RecordRow {
    pub path: String,
    pub hash: String,
    pub size: String,
}

impl RecordRow {
    /// A row with the hash of content.
    pub(super) fn hashed(path: String, sha256: &[u8; 32], size: u64) -> Self {
        let hash = format!("sha256={}", URL_SAFE_NO_PAD.encode(sha256));
        Self {
            path,
            hash,
            size: size.to_string(),
        }
    }

    /// A row without hash: RECORD itself, byte-compiled files.
    pub(super) fn bare(path: String) -> Self {
        Self {
            path,
            hash: String::new(),
            size: String::new(),
        }
    }

    fn write(&self, out: &mut String) {
        for (nth, field) in [&self.path, &self.hash, &self.size].into_iter().enumerate() {
            if nth > 0 {
                out.push(',');
            }
            if field.contains([',', '"', '\r', '\n']) {
                out.push('"');
                out.push_str(&field.replace('"', "\"\""));
                out.push('"');
            } else {
                out.push_str(field);
            }
        }
        // What python's csv module ends lines with, and pip leaves so.
        out.push_str("\r\n");
    }
}

/// The text of a RECORD, rows sorted as pip sorts them.
pub(super) fn write(mut rows: Vec<RecordRow>) -> String {
    rows.sort();
    rows.dedup();
    let mut out = String::new();
    for row in &rows {
        row.write(&mut out);
    }
    out
}

/// Reads rows of comma-separated values with quotes doubled inside quotes.
pub(crate) fn parse_csv(bytes: &[u8]) -> Result<Vec<RecordRow>, Problem> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| Problem::Metadata("it is not UTF-8".to_owned()))?;
    let mut rows = Vec::new();
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                fields.last_mut().expect("there is a field").push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            '\r' | '\n' if !quoted => end_row(&mut fields, &mut rows),
            c => fields.last_mut().expect("there is a field").push(c),
        }
    }
    if quoted {
        return Err(Problem::Metadata("a quote is not closed".to_owned()));
    }
    end_row(&mut fields, &mut rows);
    Ok(rows)
}

fn end_row(fields: &mut Vec<String>, rows: &mut Vec<RecordRow>) {
    let mut fields = std::mem::replace(fields, vec![String::new()]).into_iter();
    let mut next = || fields.next().unwrap_or_default();
    let row = RecordRow {
        path: next(),
        hash: next(),
        size: next(),
    };
    if !row.path.is_empty() {
        rows.push(row);
    }
}

/// What a wheel's RECORD demands of each of its files, by the archive's names.
pub(super) struct Demands(HashMap<String, (Option<Expected>, Option<u64>)>);

impl Demands {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let mut demands = HashMap::new();
        for row in parse_csv(bytes)? {
            let size = match row.size.trim() {
                "" => None,
                text => Some(text.parse().map_err(|_| {
                    Problem::Metadata(format!("the size {text:?} of {:?} is no number", row.path))
                })?),
            };
            let demand = (expected(&row.hash), size);
            if demands.get(&row.path).is_some_and(|other| *other != demand) {
                return Err(Problem::Metadata(format!("{:?} stands twice", row.path)));
            }
            demands.insert(row.path, demand);
        }
        Ok(Self(demands))
    }

    /// The hash and size that a file must have; `None` where RECORD has no strong hash of it.
    pub(super) fn of(&self, name: &str) -> Option<(Expected, Option<u64>)> {
        let (expected, size) = self.0.get(name)?;
        Some((expected.clone()?, *size))
    }
}

/// `sha256=` and its siblings; md5 and sha1 are no hashes to PEP 427.
fn expected(text: &str) -> Option<Expected> {
    let (algorithm, value) = text.split_once('=')?;
    let bytes = URL_SAFE_NO_PAD.decode(value.trim_end_matches('=')).ok()?;
    match (algorithm, bytes.len()) {
        ("sha256", 32) => Some(Expected::Sha256(bytes)),
        ("sha384", 48) => Some(Expected::Sha384(bytes)),
        ("sha512", 64) => Some(Expected::Sha512(bytes)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_strong_hashes_count() {
        let hash = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        let text = format!("a,{hash},0\nb,md5=1B2M2Y8AsgTpgAmY7PhCfg,0\nc,,\n");
        let demands = Demands::parse(text.as_bytes()).expect("valid");
        assert!(demands.of("a").is_some());
        assert!(
            demands.of("b").is_none() && demands.of("c").is_none() && demands.of("d").is_none()
        );
        assert!(Demands::parse(format!("a,{hash},0\na,,\n").as_bytes()).is_err());
        assert!(Demands::parse(b"\"a").is_err());
        assert!(Demands::parse(b"a,,x").is_err());
    }

    proptest! {
        #[test]
        fn rows_read_back_equal(paths in prop::collection::btree_set("[a-z/,\" éπ.]{1,12}", 0..20)) {
            let rows: Vec<RecordRow> = paths.into_iter().map(RecordRow::bare).collect();
            prop_assert_eq!(parse_csv(write(rows.clone()).as_bytes()).expect("valid"), rows);
        }
    }
}
