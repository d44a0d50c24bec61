//! Text from bytes: UTF-8 and UTF-16, with or without a byte order mark.

/// Bytes that are no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They are not UTF-8, and no mark says that they are UTF-16.
    #[error("the document is not UTF-8 (byte {0})")]
    Utf8(usize),
    /// They are not the UTF-16 that their mark says.
    #[error("the document is not the UTF-16 that its byte order mark says")]
    Utf16,
}

impl DecodeError {
    /// The line of the first bad byte, where it is known.
    pub(crate) fn line(&self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Utf8(at) => Some(
                1 + bytes
                    .iter()
                    .take(*at)
                    .filter(|byte| **byte == b'\n')
                    .count(),
            ),
            Self::Utf16 => None,
        }
    }
}

/// Decodes, and drops the mark.
pub(crate) fn decode(bytes: &[u8]) -> Result<String, DecodeError> {
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
        bytes => utf8(bytes),
    }
}

fn utf8(bytes: &[u8]) -> Result<String, DecodeError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(DecodeError::Utf8(error.valid_up_to())),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, DecodeError> {
    let (pairs, odd) = bytes.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(DecodeError::Utf16);
    }
    let units = pairs.iter().map(|pair| unit(*pair));
    char::decode_utf16(units)
        .collect::<Result<String, _>>()
        .map_err(|_| DecodeError::Utf16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_dropped_and_utf_16_is_read() {
        assert_eq!(decode(b"\xef\xbb\xbfnumpy").unwrap(), "numpy");
        assert_eq!(decode(b"\xff\xfen\0\xe9\0").unwrap(), "né");
        assert_eq!(decode(b"\xfe\xff\0n\0\xe9").unwrap(), "né");
        assert_eq!(decode(b"\xff\xfen"), Err(DecodeError::Utf16));
        assert_eq!(decode(b"ab\xff"), Err(DecodeError::Utf8(2)));
    }
}
