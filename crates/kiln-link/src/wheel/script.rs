//! Scripts of `.data` that name no interpreter but "python".

use std::io::Read;

use crate::error::Problem;

/// How such a script begins.
const PYTHON_MARK: &[u8] = b"#!python";
/// Longest first line of a script that is rewritten.
const MAX_FIRST_LINE_BYTES: u64 = 64 << 10;

/// The bytes up to and with the first line end, and the rest.
pub(super) fn split_first_line<R: Read>(mut content: R) -> Result<(Vec<u8>, impl Read), Problem> {
    let mut head = Vec::new();
    let mut byte = [0];
    while head.last() != Some(&b'\n') {
        if head.len() as u64 > MAX_FIRST_LINE_BYTES {
            return Err(Problem::TooLarge {
                what: "bytes in a script's first line",
                limit: MAX_FIRST_LINE_BYTES,
            });
        }
        // Only a line that names python is looked at to its end.
        if head.len() >= PYTHON_MARK.len() && !head.starts_with(PYTHON_MARK) {
            break;
        }
        if content.read(&mut byte).map_err(Problem::from_read)? == 0 {
            break;
        }
        head.push(byte[0]);
    }
    Ok((head, content))
}

/// A first line and the length that it had.
pub(super) struct FirstLine {
    pub bytes: Vec<u8>,
    pub was: u64,
}

/// `#!python` with whatever follows becomes the environment's interpreter, as pip does.
pub(super) fn rewritten(line: Vec<u8>, interpreter: &str) -> FirstLine {
    let was = line.len() as u64;
    let bytes = if line.starts_with(PYTHON_MARK) {
        format!("#!{interpreter}\n").into_bytes()
    } else {
        line
    };
    FirstLine { bytes, was }
}
