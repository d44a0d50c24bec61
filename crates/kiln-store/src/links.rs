//! Signed links: addresses that need no token because they can't be guessed.

use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::error::StoreError;
use crate::sealed::read_key;

/// Signs and checks texts, with a key that is made from the data folder's.
#[derive(Clone)]
pub struct LinkSigner(Hmac<Sha256>);

impl std::fmt::Debug for LinkSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkSigner(***)")
    }
}

impl LinkSigner {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let key = read_key(path)?;
        let mut derived = keyed(key.as_ref());
        derived.update(b"kiln signed links");
        Ok(Self(keyed(&derived.finalize().into_bytes())))
    }

    /// The signature of a text for a purpose, 64 hex digits.
    pub fn sign(&self, purpose: &str, text: &str) -> String {
        hex::encode(self.mac(purpose, text).finalize().into_bytes())
    }

    /// Whether a signature is this text's, in constant time.
    pub fn is_valid(&self, purpose: &str, text: &str, signature: &str) -> bool {
        let Ok(signature) = hex::decode(signature) else {
            return false;
        };
        self.mac(purpose, text).verify_slice(&signature).is_ok()
    }

    fn mac(&self, purpose: &str, text: &str) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(&(purpose.len() as u64).to_be_bytes());
        mac.update(purpose.as_bytes());
        mac.update(text.as_bytes());
        mac
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_purpose_one_text_and_one_data_folder() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| LinkSigner::open(&folder.path().join(name)).unwrap();
        let signer = open("key");
        let signature = signer.sign("log", "build 1");
        assert!(open("key").is_valid("log", "build 1", &signature));
        assert!(!signer.is_valid("log", "build 2", &signature));
        assert!(!signer.is_valid("wheel", "build 1", &signature));
        assert!(!signer.is_valid("lo", "gbuild 1", &signature));
        assert!(!open("other").is_valid("log", "build 1", &signature));
        for wrong in ["", "x", &signature[..62], &format!("{signature}00")] {
            assert!(!signer.is_valid("log", "build 1", wrong), "{wrong}");
        }
        assert!(!format!("{signer:?}").contains(&signature[..8]));
    }
}
