//! `METADATA` and `WHEEL`: header lines as in an e-mail.

use crate::error::Problem;

/// The headers of a metadata file, in order, continuation lines joined.
pub(super) struct Headers(Vec<(String, String)>);

impl Headers {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        // Old METADATA files are not always UTF-8; the fields that are read here are ASCII.
        let text = String::from_utf8_lossy(bytes);
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            if line.trim().is_empty() {
                break;
            }
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = headers.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            } else if let Some((key, value)) = line.split_once(':') {
                headers.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        Self(headers)
    }

    /// The first value of a header, its name in lower case.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(found, _)| found == key)
            .map(|(_, value)| value.as_str())
    }

    /// The first value, or an error that names what is missing.
    pub(super) fn need(&self, key: &str) -> Result<&str, Problem> {
        self.get(key)
            .ok_or_else(|| Problem::Metadata(format!("it has no {key}")))
    }
}

/// Reads `WHEEL`: whether the root belongs to the pure libraries. The distinction changes nothing
/// where both are one directory, but the version has to be one that is understood.
pub(super) fn check_wheel(bytes: &[u8]) -> Result<(), Problem> {
    let headers = Headers::parse(bytes);
    let version = headers.need("wheel-version")?;
    match version.split('.').next().map(str::trim) {
        Some("1") => Ok(()),
        _ => Err(Problem::Metadata(format!(
            "wheel version {version:?} is not known"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_end_at_the_first_empty_line() {
        let headers = Headers::parse(b"Name: a\r\nSummary: one\n  two\nVersion : 1\n\nName: b\n");
        assert_eq!(headers.get("name"), Some("a"));
        assert_eq!(headers.get("summary"), Some("one two"));
        assert_eq!(headers.get("version"), Some("1"));
        assert!(check_wheel(b"Wheel-Version: 1.9\n").is_ok());
        assert!(check_wheel(b"Wheel-Version: 2.0\n").is_err());
        assert!(check_wheel(b"Generator: x\n").is_err());
    }
}
