//! Sealing: authenticated encryption of the few things that are kept and must be read again.
//!
//! AES-256-GCM with a random nonce of 96 bits before each ciphertext. What the sealed bytes belong to is bound to them
//! as associated data, so that bytes moved to another place do not open there.

use rand::TryRng;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use zeroize::Zeroizing;

/// The bytes of a key.
pub const KEY_BYTES: usize = 32;

/// Nothing could be sealed, and nothing was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret could not be sealed: the operating system gave no randomness")]
pub struct SealError;

/// A key that seals and opens.
pub struct SealingKey(LessSafeKey);

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey(…)")
    }
}

impl SealingKey {
    /// With these bytes.
    ///
    /// # Errors
    /// Only for lengths that AES-256 does not have, which the type rules out.
    pub fn new(bytes: &[u8; KEY_BYTES]) -> Result<Self, SealError> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| SealError)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Seals `plain` for the place that `bound_to` names.
    ///
    /// # Errors
    /// There is no randomness for a nonce.
    pub fn seal(&self, bound_to: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        rand::rngs::SysRng.try_fill_bytes(&mut nonce).map_err(|_| SealError)?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let body = sealed.get_mut(NONCE_LEN..).unwrap_or_default();
        let nonce = Nonce::assume_unique_for_key(nonce);
        // It fails only over 64 GiB. The plaintext is in `body` then, which must not be kept.
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(bound_to), body);
        sealed.extend_from_slice(tag.map_err(|_| SealError)?.as_ref());
        Ok(sealed)
    }

    /// Opens what was sealed with this key for this place. `None` for everything else.
    pub fn open(&self, bound_to: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut opened = Zeroizing::new(rest.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.0.open_in_place(nonce, Aad::from(bound_to), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

/// What keys are derived from (HKDF, RFC 5869, with SHA-256): a text that only its sender has.
pub struct Derivation(Prk);

impl std::fmt::Debug for Derivation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Derivation(…)")
    }
}

impl Derivation {
    /// From a text, and a salt that need not be secret.
    pub fn new(salt: &[u8], text: &[u8]) -> Self {
        Self(Salt::new(HKDF_SHA256, salt).extract(text))
    }

    /// 32 bytes for one purpose. Those of different purposes tell nothing of each other.
    ///
    /// # Errors
    /// Only for more bytes than HKDF has, which the constant rules out.
    pub fn bytes(&self, purpose: &[&[u8]]) -> Result<Zeroizing<[u8; KEY_BYTES]>, SealError> {
        let mut out = Zeroizing::new([0; KEY_BYTES]);
        let filled = self.0.expand(purpose, Length).and_then(|okm| okm.fill(&mut out[..]));
        filled.map_err(|_| SealError).map(|()| out)
    }
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealingKey {
        SealingKey::new(&[byte; KEY_BYTES]).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_with_its_key_in_its_place_alone() {
        let sealed = key(1).seal(b"here", b"a secret").unwrap();
        assert_eq!(key(1).open(b"here", &sealed).unwrap().as_slice(), b"a secret");
        assert!(key(2).open(b"here", &sealed).is_none());
        assert!(key(1).open(b"there", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert!(key(1).open(b"here", &bent).is_none(), "byte {at}");
            assert!(key(1).open(b"here", &sealed[..at]).is_none(), "{at} bytes");
        }
    }

    #[test]
    fn each_sealing_is_another_and_shows_nothing() {
        let [first, second] = [0, 1].map(|_| key(1).seal(b"", b"a secret").unwrap());
        assert_ne!(first, second);
        assert!(!first.windows(8).any(|window| window == b"a secret"));
        assert_eq!(first.len(), NONCE_LEN + 8 + 16);
    }

    #[test]
    fn derived_bytes_differ_by_text_salt_and_purpose() {
        let bytes = |salt: &[u8], text: &[u8], purpose: &[u8]| {
            *Derivation::new(salt, text).bytes(&[purpose]).unwrap()
        };
        let one = bytes(b"salt", b"text", b"use");
        assert_eq!(one, bytes(b"salt", b"text", b"use"));
        for other in
            [bytes(b"sale", b"text", b"use"), bytes(b"salt", b"test", b"use"), bytes(b"salt", b"text", b"us")]
        {
            assert_ne!(one, other);
        }
    }
}
