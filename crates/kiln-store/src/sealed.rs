//! Secrets at rest: XChaCha20-Poly1305, with the place of a secret as associated data, so that a row
//! that is moved to another place does not open.

use std::path::Path;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use fs_err as fs;
use rand::RngCore as _;
use zeroize::Zeroizing;

use crate::error::StoreError;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Seals and opens secrets with one key.
#[derive(Clone)]
pub(crate) struct Sealer(XChaCha20Poly1305);

/// Reads the key, or makes it: 32 random bytes, readable by the owner alone.
pub(crate) fn read_key(path: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>, StoreError> {
    use std::os::unix::fs::OpenOptionsExt as _;

    if !path.exists() {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        rand::rng().fill_bytes(key.as_mut());
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        let mut file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .tempfile_in(folder)
            .map_err(StoreError::file(path))?;
        std::io::Write::write_all(&mut file, key.as_ref()).map_err(StoreError::file(path))?;
        file.as_file().sync_all().map_err(StoreError::file(path))?;
        // Another process may have been first: its key counts.
        let _ = file.persist_noclobber(path);
        let folder_synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
        folder_synced.map_err(StoreError::file(folder))?;
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let mut file = fs::OpenOptions::new();
    file.read(true).options_mut().mode(0o600);
    let mut file = file.open(path).map_err(StoreError::file(path))?;
    std::io::Read::read_to_end(&mut file, &mut bytes).map_err(StoreError::file(path))?;
    let key: [u8; KEY_BYTES] = bytes.as_slice().try_into().map_err(|_| {
        StoreError::Integrity(format!("{} is no key of {KEY_BYTES} bytes", path.display()))
    })?;
    Ok(Zeroizing::new(key))
}

impl Sealer {
    /// Seals with the key of this file, which is made where it is missing.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let key = read_key(path)?;
        Ok(Self(XChaCha20Poly1305::new(Key::from_slice(key.as_ref()))))
    }

    /// Nonce and ciphertext.
    pub(crate) fn seal(&self, secret: &str, place: &str) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload {
            msg: secret.as_bytes(),
            aad: place.as_bytes(),
        };
        let sealed = self.0.encrypt(XNonce::from_slice(&nonce), payload);
        let sealed = sealed.expect("a secret is far shorter than the cipher's limit");
        [nonce.as_slice(), &sealed].concat()
    }

    /// The secret that was sealed for this place.
    pub(crate) fn unseal(
        &self,
        sealed: &[u8],
        place: &str,
    ) -> Result<Zeroizing<String>, StoreError> {
        let damaged = || {
            StoreError::Integrity(format!(
                "the stored credential `{}` does not open: restore the key file it was stored with, \
                 or delete the credential",
                place.replace('\0', " ")
            ))
        };
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(damaged)?;
        let payload = Payload {
            msg: sealed,
            aad: place.as_bytes(),
        };
        let secret = self
            .0
            .decrypt(XNonce::from_slice(nonce), payload)
            .map_err(|_| damaged())?;
        String::from_utf8(secret)
            .map(Zeroizing::new)
            .map_err(|_| damaged())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_only_in_its_place_and_with_its_key() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let sealer = Sealer::open(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let sealed = sealer.seal("hunter22", "a/registry/h");
        assert!(!sealed.windows(8).any(|window| window == b"hunter22"));
        let again = Sealer::open(&path).unwrap();
        assert_eq!(
            again.unseal(&sealed, "a/registry/h").unwrap().as_str(),
            "hunter22"
        );
        assert!(again.unseal(&sealed, "b/registry/h").is_err());
        let other = Sealer::open(&folder.path().join("other.key")).unwrap();
        assert!(other.unseal(&sealed, "a/registry/h").is_err());
    }
}
