//! Signatures of messages (Standard Webhooks 1.0): HMAC-SHA256 over id, time and body.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderValue};
use standardwebhooks::{
    HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook,
};
use zeroize::Zeroizing;

/// Bytes of a generated secret; the standard asks for 24 to 64.
const SECRET_BYTES: usize = 32;

/// A secret that signs messages; it prints as `***`.
#[derive(Clone)]
pub struct SigningSecret(Zeroizing<String>);

/// A text that is no signing secret; it does not tell the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signing secret is `whsec_` and the base64 of 24 to 64 bytes")]
pub struct SigningSecretError;

impl SigningSecret {
    /// Takes `whsec_` and base64.
    pub fn parse(text: &str) -> Result<Self, SigningSecretError> {
        let encoded = text.strip_prefix("whsec_").ok_or(SigningSecretError)?;
        let bytes = Zeroizing::new(
            BASE64_STANDARD
                .decode(encoded)
                .map_err(|_| SigningSecretError)?,
        );
        if !(24..=64).contains(&bytes.len()) {
            return Err(SigningSecretError);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// Makes one from the system's randomness.
    pub fn generate() -> Self {
        let bytes: Zeroizing<[u8; SECRET_BYTES]> = Zeroizing::new(rand::random());
        Self(Zeroizing::new(format!(
            "whsec_{}",
            BASE64_STANDARD.encode(*bytes)
        )))
    }

    /// The secret itself, to show it once or to keep it sealed.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn webhook(&self) -> Webhook {
        Webhook::new(&self.0).expect("the secret was checked")
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The headers of a signed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// `webhook-id`: the same for every attempt.
    pub id: String,
    /// `webhook-timestamp`: seconds since the Unix epoch, of this attempt.
    pub timestamp: i64,
    /// `webhook-signature`: one for each live secret, apart by a space.
    pub signature: String,
}

impl Signature {
    /// Signs a message with every live secret.
    pub fn of(secrets: &[SigningSecret], id: &str, timestamp: i64, body: &[u8]) -> Self {
        let signatures: Vec<String> = secrets
            .iter()
            .map(|secret| {
                let signed = secret.webhook().sign(id, timestamp, body);
                signed.expect("an id of visible characters can be signed")
            })
            .collect();
        Self {
            id: id.to_owned(),
            timestamp,
            signature: signatures.join(" "),
        }
    }

    /// The three headers by name.
    pub fn headers(&self) -> [(&'static str, String); 3] {
        [
            (HEADER_WEBHOOK_ID, self.id.clone()),
            (HEADER_WEBHOOK_TIMESTAMP, self.timestamp.to_string()),
            (HEADER_WEBHOOK_SIGNATURE, self.signature.clone()),
        ]
    }
}

/// Why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// A header is missing or not readable.
    #[error("the headers webhook-id, webhook-timestamp and webhook-signature are needed")]
    Headers,
    /// The time is more than five minutes from now.
    #[error("webhook-timestamp is more than five minutes from now")]
    Time,
    /// No live secret gives this signature.
    #[error("the signature does not match")]
    Mismatch,
}

/// Checks a message against the live secrets, in constant time, and answers its id.
pub fn verify(
    secrets: &[SigningSecret],
    headers: &HeaderMap,
    body: &[u8],
) -> Result<String, BadSignature> {
    let id = headers
        .get(HEADER_WEBHOOK_ID)
        .and_then(|value: &HeaderValue| value.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= 255)
        .ok_or(BadSignature::Headers)?;
    let mut worst = BadSignature::Mismatch;
    for secret in secrets {
        match secret.webhook().verify(body, headers) {
            Ok(()) => return Ok(id.to_owned()),
            Err(
                standardwebhooks::WebhookError::TimestampTooOldError
                | standardwebhooks::WebhookError::FutureTimestampError,
            ) => worst = BadSignature::Time,
            Err(
                standardwebhooks::WebhookError::MissingHeader(_)
                | standardwebhooks::WebhookError::InvalidHeader(_)
                | standardwebhooks::WebhookError::InvalidTimestamp,
            ) => worst = BadSignature::Headers,
            Err(_) => {}
        }
    }
    Err(worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> i64 {
        time::OffsetDateTime::now_utc().unix_timestamp()
    }

    fn headers(signature: &Signature) -> HeaderMap {
        signature
            .headers()
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<Vec<(http::HeaderName, HeaderValue)>>()
            .into_iter()
            .collect()
    }

    /// Computed with Python's hmac over `msg_1.1700000000.{"a":1}`.
    #[test]
    fn the_signature_is_that_of_another_implementation() {
        let secret =
            SigningSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
        let signed = Signature::of(&[secret], "msg_1", 1_700_000_000, br#"{"a":1}"#);
        assert_eq!(
            signed.signature,
            "v1,AMaOha7DUT/0J0JMycRuYOBSvbx3WtwLd2khXXbaVj4="
        );
    }

    #[test]
    fn any_live_secret_will_do_and_nothing_else() {
        let (old, new) = (SigningSecret::generate(), SigningSecret::generate());
        let signed = headers(&Signature::of(
            std::slice::from_ref(&old),
            "m",
            now(),
            b"body",
        ));
        assert_eq!(
            verify(&[new.clone(), old.clone()], &signed, b"body"),
            Ok("m".into())
        );
        assert_eq!(
            verify(&[new], &signed, b"body"),
            Err(BadSignature::Mismatch)
        );
        assert_eq!(
            verify(std::slice::from_ref(&old), &signed, b"other"),
            Err(BadSignature::Mismatch)
        );
        assert_eq!(
            verify(&[old], &HeaderMap::new(), b"body"),
            Err(BadSignature::Headers)
        );
        assert_eq!(verify(&[], &signed, b"body"), Err(BadSignature::Mismatch));
    }

    #[test]
    fn a_message_of_another_time_is_not_believed() {
        let secret = [SigningSecret::generate()];
        for moment in [now() - 3600, now() + 3600] {
            let signed = headers(&Signature::of(&secret, "m", moment, b"body"));
            assert_eq!(verify(&secret, &signed, b"body"), Err(BadSignature::Time));
        }
    }

    #[test]
    fn a_secret_is_checked_and_never_printed() {
        for text in ["", "hunter2", "whsec_", "whsec_!!", "whsec_c2hvcnQ="] {
            assert_eq!(
                SigningSecret::parse(text).unwrap_err(),
                SigningSecretError,
                "{text}"
            );
        }
        let secret = SigningSecret::generate();
        assert!(SigningSecret::parse(secret.expose()).is_ok());
        assert_eq!(format!("{secret:?}"), "***");
    }
}
