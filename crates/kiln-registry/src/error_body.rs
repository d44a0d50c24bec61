//! What registries and token services say about errors.

use std::fmt;

use serde::Deserialize;

/// One entry of the distribution specification's error body, cut and without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistributionError {
    /// The code, for example `MANIFEST_UNKNOWN`.
    pub code: String,
    /// The registry's own words; may be empty.
    pub message: String,
}

impl fmt::Display for DistributionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            (code, "") => f.write_str(code),
            ("", message) => f.write_str(message),
            (code, message) => write!(f, "{code}: {message}"),
        }
    }
}

impl DistributionError {
    /// Reads an error body: the distribution specification's, or a token service's. Anything else gives
    /// nothing. `secrets` are replaced, should the registry repeat them.
    pub(crate) fn read(body: &[u8], secrets: &[&str]) -> Vec<Self> {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            errors: Vec<Entry>,
            error: Option<String>,
            error_description: Option<String>,
            details: Option<String>,
        }
        #[derive(Deserialize)]
        struct Entry {
            #[serde(default)]
            code: Option<String>,
            #[serde(default)]
            message: Option<String>,
        }
        let Ok(body) = serde_json::from_slice::<Body>(body) else {
            return Vec::new();
        };
        let text = |text: Option<String>| clean(&text.unwrap_or_default(), secrets);
        let single = body.error.or(body.details.clone()).map(|code| Entry {
            code: Some(code),
            message: body.error_description,
        });
        body.errors
            .into_iter()
            .take(4)
            .chain(single)
            .map(|entry| Self {
                code: text(entry.code),
                message: text(entry.message),
            })
            .collect()
    }
}

/// At most 200 characters, in one line, without control characters and known secrets.
fn clean(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= 4) {
        text = text.replace(secret, "***");
    }
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_secret_is_replaced_and_long_texts_are_cut() {
        let body = format!(
            r#"{{"error":"invalid_grant","error_description":"bad hunter2 {}"}}"#,
            "x".repeat(1000)
        );
        let read = DistributionError::read(body.as_bytes(), &["hunter2"]);
        assert_eq!(read[0].code, "invalid_grant");
        assert!(read[0].message.starts_with("bad *** xxx"));
        assert_eq!(read[0].message.len(), 200);
        assert_eq!(DistributionError::read(b"<html>", &[]), []);
    }
}
