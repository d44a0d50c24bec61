//! Keeps secrets and terminal escapes out of logs and messages.

/// Replaces known secrets, and what looks like one in an address, with `***`.
#[derive(Clone, Default)]
pub struct Redactor {
    needles: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} secrets)", self.needles.len())
    }
}

/// Shorter texts occur by chance; replacing them would only garble the log.
const SHORTEST_SECRET_BYTES: usize = 4;

/// Query parameters of signed addresses whose values are secrets.
const SECRET_PARAMETERS: [&str; 5] = [
    "sig=",
    "X-Amz-Signature=",
    "X-Goog-Signature=",
    "token=",
    "access_token=",
];

impl Redactor {
    /// Knows these secrets, also in their percent-encoded and base64 forms.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut needles = Vec::new();
        for secret in secrets
            .into_iter()
            .filter(|s| s.len() >= SHORTEST_SECRET_BYTES)
        {
            needles.push(secret.to_owned());
            needles.push(percent_encoded(secret));
            needles.push(base64(secret.as_bytes()));
        }
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        needles.dedup();
        Self { needles }
    }

    /// The text without secrets, escapes and control characters (tabs stay).
    pub fn clean(&self, text: &str) -> String {
        let mut clean = without_escapes(text);
        for needle in &self.needles {
            if clean.contains(needle.as_str()) {
                clean = clean.replace(needle.as_str(), "***");
            }
        }
        if clean.contains("://") {
            without_address_secrets(&clean)
        } else {
            clean
        }
    }
}

fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String never fails");
        }
    }
    encoded
}

/// Base64 without padding: a secret inside a longer encoded text rarely ends on a boundary.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0u32, |acc, b| acc << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for position in 0..=chunk.len() {
            encoded.push(char::from(
                ALPHABET[(group >> (18 - 6 * position) & 63) as usize],
            ));
        }
    }
    encoded
}

/// Drops ANSI escape sequences (ECMA-48 CSI and OSC) and control characters.
fn without_escapes(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            match chars.next() {
                Some('[') => {
                    while chars
                        .next()
                        .is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c))
                    {}
                }
                Some(']') => while chars.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}') {},
                _ => {}
            }
        } else if c == '\t' || !c.is_control() {
            clean.push(c);
        }
    }
    clean
}

/// Masks `user:password@`, `/t/TOKEN/` and signatures in everything that looks like an address.
fn without_address_secrets(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        clean.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || "\"'<>".contains(c))
            .unwrap_or(after.len());
        clean.push_str(&mask_address(&after[..end]));
        rest = &after[end..];
    }
    clean.push_str(rest);
    clean
}

fn mask_address(address: &str) -> String {
    let host_end = address.find(['/', '?', '#']).unwrap_or(address.len());
    let (authority, tail) = address.split_at(host_end);
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}"),
        None => authority.to_owned(),
    };
    let mut tail = tail.to_owned();
    if let Some(token) = tail
        .strip_prefix("/t/")
        .map(|t| t.split('/').next().unwrap_or(t).to_owned())
        && !token.is_empty()
    {
        tail = tail.replacen(&token, "***", 1);
    }
    for parameter in SECRET_PARAMETERS {
        if let Some(at) = tail.find(parameter) {
            let from = at + parameter.len();
            let to = tail[from..].find('&').map_or(tail.len(), |n| from + n);
            tail.replace_range(from..to, "***");
        }
    }
    host + &tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_secret_disappears_in_all_its_forms() {
        let redactor = Redactor::new(["s3cr/t pass"]);
        for text in [
            "a s3cr/t pass b",
            "a s3cr%2Ft%20pass b",
            "Basic czNjci90IHBhc3M=",
        ] {
            let clean = redactor.clean(text);
            assert!(clean.contains("***"), "{clean}");
            assert!(
                !clean.contains("s3cr") && !clean.contains("czNjci90IHBhc3M"),
                "{clean}"
            );
        }
    }

    #[test]
    fn addresses_lose_user_token_and_signature_though_nobody_knew_them() {
        let redactor = Redactor::default();
        assert_eq!(
            redactor.clean("GET https://me:pw@example.org/t/tk-1/ch?sv=1&sig=abc&x=2 done"),
            "GET https://***@example.org/t/tk-1/ch?sv=1&sig=***&x=2 done".replace("tk-1", "***")
        );
        assert_eq!(
            redactor.clean("see https://example.org/a@b"),
            "see https://example.org/a@b"
        );
    }

    #[test]
    fn terminal_escapes_and_control_characters_are_dropped() {
        let redactor = Redactor::default();
        assert_eq!(
            redactor.clean("\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7}x\r\ty"),
            "red x\ty"
        );
    }
}
