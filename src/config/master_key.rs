//! The master key of `keys.master_key_env`: 32 bytes that recoverable secrets are sealed with.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::expand::{Environment, is_variable_name};

/// The bytes of a master key.
const BYTES: usize = 32;
/// The longest text that is looked at, in bytes.
const MAX_TEXT_BYTES: usize = 256;
/// Base64 as `openssl rand -base64 32` writes it, with or without the `=` at its end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A master key, and the name of the variable that holds it. Its bytes have no readable `Debug` and are wiped when
/// dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    variable: String,
    bytes: Zeroizing<[u8; BYTES]>,
}

impl MasterKey {
    /// Reads the variable with this name.
    ///
    /// # Errors
    /// What is wrong with it, without what it holds.
    pub fn read(variable: &str, env: Environment<'_>) -> Result<Self, String> {
        if !is_variable_name(variable) {
            return Err("must be the name of an environment variable".into());
        }
        let text = (env)(variable).map(Zeroizing::new);
        let text = text.ok_or_else(|| format!("the environment variable `{variable}` is not set"))?;
        let bytes = decode(text.trim()).ok_or_else(|| {
            format!(
                "the environment variable `{variable}` must hold {BYTES} bytes in base64, such as from `openssl rand \
                 -base64 {BYTES}`"
            )
        })?;
        Ok(Self { variable: variable.to_owned(), bytes })
    }

    /// The name of its variable.
    pub fn variable(&self) -> &str {
        &self.variable
    }

    /// The bytes, for sealing alone.
    pub fn expose(&self) -> &[u8; BYTES] {
        &self.bytes
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({})", self.variable)
    }
}

fn decode(text: &str) -> Option<Zeroizing<[u8; BYTES]>> {
    if text.len() > MAX_TEXT_BYTES {
        return None;
    }
    let decoded = Zeroizing::new(BASE64.decode(text).ok()?);
    decoded.first_chunk().filter(|_| decoded.len() == BYTES).map(|bytes| Zeroizing::new(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn read(text: &str) -> Result<MasterKey, String> {
        MasterKey::read("MASTER", &|name| (name == "MASTER").then(|| text.to_owned()))
    }

    #[test]
    fn thirty_two_bytes_of_base64_are_a_key() {
        let bytes: [u8; BYTES] = std::array::from_fn(|index| u8::try_from(index).unwrap());
        for good in [GOOD, GOOD.trim_end_matches('='), &format!("{GOOD}\n")] {
            assert_eq!(read(good).unwrap().expose(), &bytes);
        }
        assert_eq!(format!("{:?}", read(GOOD).unwrap()), "MasterKey(MASTER)");
    }

    #[test]
    fn what_is_none_is_named_by_its_variable_and_not_repeated() {
        let long = GOOD.repeat(100);
        for bad in ["", "secretsecret", &GOOD[1..], &format!("AAAA{GOOD}"), &GOOD.replace('A', "-"), &long] {
            let error = read(bad).unwrap_err();
            assert!(error.contains("`MASTER`") && error.contains("32 bytes"), "{error}");
            assert!(bad.len() < 5 || !error.contains(&bad[..5]), "{error}");
        }
        let missing = MasterKey::read("OTHER", &|_| None).unwrap_err();
        assert_eq!(missing, "the environment variable `OTHER` is not set");
        assert!(MasterKey::read("${X}", &|_| None).unwrap_err().contains("name of an environment variable"));
    }
}
