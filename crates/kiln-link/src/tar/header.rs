//! One header block.

use super::BLOCK;
use crate::error::Problem;
use crate::path::PathError;

/// A block of 512 bytes, read as a header.
pub(super) struct Header<'a>(pub &'a [u8; BLOCK]);

impl Header<'_> {
    pub(super) fn text(&self, at: usize, length: usize) -> Result<String, Problem> {
        let field = &self.0[at..at + length];
        let end = field.iter().position(|b| *b == 0).unwrap_or(length);
        std::str::from_utf8(&field[..end])
            .map(str::to_owned)
            .map_err(|_| Problem::UnsafePath(PathError::NotUtf8))
    }

    pub(super) fn name(&self) -> Result<String, Problem> {
        let name = self.text(0, 100)?;
        let prefix = self.text(345, 155)?;
        if prefix.is_empty() {
            return Ok(name);
        }
        // Old GNU archives keep other things there; a reader that takes them for a prefix and one
        // that doesn't see two names.
        if &self.0[257..263] != b"ustar\0" {
            return Err(Problem::Archive("a header's prefix field is ambiguous"));
        }
        Ok(format!("{prefix}/{name}"))
    }

    /// An octal number, or GNU's base 256.
    pub(super) fn number(&self, at: usize, length: usize) -> Result<u64, Problem> {
        let field = &self.0[at..at + length];
        if field[0] == 0x80 {
            let mut value = 0u64;
            for byte in &field[1..] {
                value = value
                    .checked_mul(256)
                    .and_then(|v| v.checked_add(u64::from(*byte)))
                    .ok_or(Problem::Archive("a header's number is too large"))?;
            }
            return Ok(value);
        }
        let text = std::str::from_utf8(field)
            .map_err(|_| Problem::Archive("a header's number is malformed"))?;
        let text = text.trim_matches([' ', '\0']);
        if text.is_empty() {
            return Ok(0);
        }
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Problem::Archive("a header's number is malformed"));
        }
        u64::from_str_radix(text, 8).map_err(|_| Problem::Archive("a header's number is malformed"))
    }

    pub(super) fn verify_checksum(&self) -> Result<(), Problem> {
        let stated = self.number(148, 8)?;
        let sum: u64 = self
            .0
            .iter()
            .enumerate()
            .map(|(i, b)| {
                if (148..156).contains(&i) {
                    32
                } else {
                    u64::from(*b)
                }
            })
            .sum();
        if sum == stated {
            Ok(())
        } else {
            Err(Problem::Archive("a header's checksum is wrong"))
        }
    }
}
