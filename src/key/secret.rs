//! Secrets: how they are made, what may be shown of them, and what is kept.
//!
//! `<prefix>_<environment>_<32 random base62><6 base62>`, the last six being the CRC-32 (IEEE) of everything before
//! them. Three types keep the forms apart: [`NewSecret`] was just made and is shown once; [`Presented`] came from a
//! client; [`Digest`] is what is kept. Only the last can be stored, and the first two have no readable `Debug`.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use rand::TryRng;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Random base62 characters of a secret: 32 · log2(62) = 190.5 bits.
pub const RANDOM_CHARS: usize = 32;
/// Base62 characters of the checksum.
pub const CHECKSUM_CHARS: usize = 6;
/// The shortest text that can be a secret (imported ones included), in bytes.
pub const MIN_SECRET_BYTES: usize = 20;
/// The longest text that can be a secret, in bytes.
pub const MAX_SECRET_BYTES: usize = 512;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A secret that was just made. Shown once, then wiped.
#[derive(Clone)]
pub struct NewSecret(Zeroizing<String>);

impl NewSecret {
    /// Makes a secret from the operating system's randomness.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate(prefix: &str, environment: &str) -> Result<Self, rand::rngs::SysError> {
        let mut text = Zeroizing::new(String::with_capacity(
            prefix.len() + environment.len() + 2 + RANDOM_CHARS + CHECKSUM_CHARS,
        ));
        text.push_str(prefix);
        text.push('_');
        text.push_str(environment);
        text.push('_');
        push_random(&mut text)?;
        let sum = checksum(&text);
        text.extend(sum.map(char::from));
        Ok(Self(text))
    }

    /// Takes over a secret that was made elsewhere. `None` unless it has the form that one may have.
    pub fn import(text: &str) -> Option<Self> {
        (text.len() >= MIN_SECRET_BYTES && can_be_secret(text.as_bytes()))
            .then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// Takes over an admin token that the operator chose. `None` where its characters cannot be sent.
    pub fn given(text: &str) -> Option<Self> {
        can_be_secret(text.as_bytes()).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The plaintext, for the one answer that shows it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What may be shown of it later.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }
}

/// Appends uniformly chosen base62 characters: bytes over the largest multiple of 62 are thrown away.
fn push_random(text: &mut String) -> Result<(), rand::rngs::SysError> {
    const FAIR: u8 = 248;
    let goal = text.len() + RANDOM_CHARS;
    let mut bytes = Zeroizing::new([0u8; 64]);
    while text.len() < goal {
        rand::rngs::SysRng.try_fill_bytes(&mut *bytes)?;
        let fair = bytes.iter().filter(|&&b| b < FAIR).take(goal - text.len());
        text.extend(fair.map(|&b| char::from(BASE62[usize::from(b % 62)])));
    }
    Ok(())
}

/// The CRC-32 of `text` in base 62, most significant digit first, padded with `0`.
fn checksum(text: &str) -> [u8; CHECKSUM_CHARS] {
    let mut rest = crc32fast::hash(text.as_bytes()) as usize;
    let mut out = [b'0'; CHECKSUM_CHARS];
    for digit in out.iter_mut().rev() {
        *digit = BASE62[rest % 62];
        rest /= 62;
    }
    out
}

/// Whether text of these bytes can be any secret at all: visible ASCII without commas and quotes, and not too long.
pub fn can_be_secret(text: &[u8]) -> bool {
    !text.is_empty()
        && text.len() <= MAX_SECRET_BYTES
        && text.iter().all(|&b| b.is_ascii_graphic() && !matches!(b, b',' | b'"' | b'\''))
}

/// What can be said of an unknown secret from its text alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// It starts as one of ours does, but its checksum is wrong: mistyped or cut short.
    ChecksumMismatch,
    /// It is a key ID, which is public and opens nothing.
    KeyIdUsedAsSecret,
    /// It has the form of no secret of ours.
    UnknownFormat,
    /// It is well-formed; no key has it.
    NotFound,
}

impl Hint {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChecksumMismatch => "checksum_mismatch",
            Self::KeyIdUsedAsSecret => "key_id_used_as_secret",
            Self::UnknownFormat => "unknown_format",
            Self::NotFound => "not_found",
        }
    }

    /// Judges the text of a secret that no key has; `prefix` is the configured one.
    pub fn of(text: &str, prefix: &str) -> Self {
        if text.parse::<super::KeyId>().is_ok() {
            return Self::KeyIdUsedAsSecret;
        }
        let ours = text.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('_'));
        match has_our_form(text) {
            Form::Sound => Self::NotFound,
            Form::Broken | Form::Foreign if ours => Self::ChecksumMismatch,
            Form::Broken => Self::ChecksumMismatch,
            Form::Foreign => Self::UnknownFormat,
        }
    }
}

/// How a text relates to the form of our secrets.
enum Form {
    /// The form, and the checksum holds.
    Sound,
    /// The form, but the checksum does not hold.
    Broken,
    /// Another form.
    Foreign,
}

fn has_our_form(text: &str) -> Form {
    let Some((head, tail)) = text.rsplit_once('_') else { return Form::Foreign };
    let shaped = tail.len() == RANDOM_CHARS + CHECKSUM_CHARS
        && tail.bytes().all(|b| b.is_ascii_alphanumeric())
        && head.split('_').all(|part| !part.is_empty())
        && head.contains('_');
    if !shaped {
        return Form::Foreign;
    }
    let (body, sum) = text.split_at(text.len() - CHECKSUM_CHARS);
    if checksum(body) == sum.as_bytes() { Form::Sound } else { Form::Broken }
}

/// The credential text that a client presented. Borrowed from the request and never copied.
#[derive(Clone, Copy)]
pub struct Presented<'a>(&'a str);

impl<'a> Presented<'a> {
    /// `None` where the text can be no secret.
    pub fn new(text: &'a [u8]) -> Option<Self> {
        if can_be_secret(text) { std::str::from_utf8(text).ok().map(Self) } else { None }
    }

    /// Judges it as an unknown secret.
    pub fn hint(self, prefix: &str) -> Hint {
        Hint::of(self.0, prefix)
    }
}

/// How a digest was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// SHA-256 of the secret.
    Sha256,
    /// HMAC-SHA-256 of the secret under the operator's pepper.
    HmacSha256,
}

/// What is kept of a secret: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// From stored bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From 64 hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let mut out = [0u8; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(out))
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares without telling, by its time, where two digests differ.
    pub fn matches(&self, other: &Self) -> bool {
        subtle::ConstantTimeEq::ct_eq(&self.0[..], &other.0[..]).into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

/// Turns secrets into digests: plain SHA-256, or HMAC-SHA-256 where the operator has a pepper. A secret has over 190
/// bits of entropy, so a slow password hash would add cost and no safety.
#[derive(Clone)]
pub struct SecretHasher {
    pepper: Option<Hmac<Sha256>>,
}

impl fmt::Debug for SecretHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretHasher({:?})", self.algorithm())
    }
}

impl SecretHasher {
    /// Hashes with the pepper where there is one.
    pub fn new(pepper: Option<&[u8]>) -> Self {
        Self { pepper: pepper.and_then(|bytes| Hmac::new_from_slice(bytes).ok()) }
    }

    /// What new versions are hashed with.
    pub fn algorithm(&self) -> Algorithm {
        if self.pepper.is_some() { Algorithm::HmacSha256 } else { Algorithm::Sha256 }
    }

    /// The digest of a secret that is to be kept.
    pub fn digest(&self, secret: &NewSecret) -> Digest {
        self.keyed(secret.0.as_bytes()).unwrap_or_else(|| plain(secret.0.as_bytes()))
    }

    /// Under which digests a presented secret may be kept: with a pepper the peppered one first, then the plain one
    /// of keys that were made or imported without it.
    pub fn candidates(&self, presented: Presented<'_>) -> impl Iterator<Item = Digest> + use<> {
        let text = presented.0.as_bytes();
        [self.keyed(text), Some(plain(text))].into_iter().flatten()
    }

    fn keyed(&self, text: &[u8]) -> Option<Digest> {
        self.pepper.as_ref().map(|mac| Digest(mac.clone().chain_update(text).finalize().into_bytes().into()))
    }
}

fn plain(text: &[u8]) -> Digest {
    Digest(Sha256::digest(text).into())
}

/// What may be shown of a secret: prefix and environment, `…`, the last four characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(Box<str>);

impl Fingerprint {
    /// What a secret known by its hash alone shows.
    pub const UNKNOWN: &str = "…";

    fn of(secret: &str) -> Self {
        let tail = &secret[secret.len().saturating_sub(4)..];
        let head = match has_our_form(secret) {
            Form::Sound => secret.rsplit_once('_').map_or("", |(head, _)| head),
            // Of a foreign secret nothing is known to be public, so only its last characters are shown.
            Form::Broken | Form::Foreign => return Self(format!("…{tail}").into()),
        };
        Self(format!("{head}_…{tail}").into())
    }

    /// A fingerprint that was made before, from the store.
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_secret_has_the_form_and_a_right_checksum() {
        let secret = NewSecret::generate("pc", "live").unwrap();
        let text = secret.expose();
        assert!(text.starts_with("pc_live_"), "{text}");
        assert_eq!(text.len(), 8 + RANDOM_CHARS + CHECKSUM_CHARS);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
        assert_eq!(Hint::of(text, "pc"), Hint::NotFound);
        assert_eq!(secret.fingerprint().as_str(), format!("pc_live_…{}", &text[text.len() - 4..]));
        assert_ne!(text, NewSecret::generate("pc", "live").unwrap().expose());
    }

    #[test]
    fn the_checksum_is_zlibs_crc32_in_base62() {
        // CRC-32 of "123456789" is 0xCBF43926 = 3421780262, checked against Python's zlib
        assert_eq!(&checksum("123456789"), b"3jZRME");
        assert_eq!(&checksum(""), b"000000");
    }

    #[test]
    fn hints_come_from_the_text_alone() {
        let sound = NewSecret::generate("pc", "live").unwrap();
        let mut mistyped = sound.expose().to_owned();
        let last = mistyped.pop().unwrap();
        assert_eq!(Hint::of(&mistyped, "pc"), Hint::ChecksumMismatch);
        mistyped.push(if last == 'a' { 'b' } else { 'a' });
        assert_eq!(Hint::of(&mistyped, "pc"), Hint::ChecksumMismatch);
        assert_eq!(Hint::of("key_01k9m2c3d4e5f6g7h8j9k0m1n2", "pc"), Hint::KeyIdUsedAsSecret);
        assert_eq!(Hint::of("sk-proj-whatever-this-is-0123456789", "pc"), Hint::UnknownFormat);
    }

    #[test]
    fn text_that_can_be_no_secret_is_not_presented() {
        for bad in ["", "a b", "a,b", "a\"b", "a'b", "a\tb", "ä"] {
            assert!(Presented::new(bad.as_bytes()).is_none(), "{bad:?}");
        }
        assert!(Presented::new(&[b'a'; MAX_SECRET_BYTES]).is_some());
        assert!(Presented::new(&[b'a'; MAX_SECRET_BYTES + 1]).is_none());
    }

    #[test]
    fn digests_read_hex_and_show_nothing() {
        let hex = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let digest = Digest::from_hex(hex).unwrap();
        assert!(digest.matches(&plain(b"hello")));
        assert_eq!(format!("{digest:?}"), "Digest(…)");
        assert_eq!(Digest::from_hex("zz"), None);
    }

    #[test]
    fn a_pepper_changes_the_digest_and_still_finds_plain_ones() {
        let peppered = SecretHasher::new(Some(b"pepper"));
        let secret = NewSecret::import("imported-secret-0123456789").unwrap();
        let kept = peppered.digest(&secret);
        assert_ne!(kept, plain(secret.expose().as_bytes()));
        let presented = Presented::new(secret.expose().as_bytes()).unwrap();
        assert_eq!(
            peppered.candidates(presented).collect::<Vec<_>>(),
            [kept, plain(secret.expose().as_bytes())]
        );
        assert_eq!(SecretHasher::new(None).candidates(presented).count(), 1);
    }
}
