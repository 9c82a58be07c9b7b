//! The short names that people give to things: environments, owners, roles, upstreams.

use serde_json::Value;

use super::string;

/// The longest name of an environment, in bytes.
pub const MAX_ENVIRONMENT_BYTES: usize = 32;
/// The longest slug, in bytes.
pub const MAX_SLUG_BYTES: usize = 64;

/// An environment's name: `[a-z][a-z0-9_]{0,31}`. It becomes a part of the secret between two underscores, so it
/// neither ends with one nor has two in a row: such a secret would not be told from a foreign one.
///
/// # Errors
/// A detail for a [`super::Fault`].
pub fn environment(value: &Value) -> Result<String, String> {
    let text = string(value)?;
    let good = text.len() <= MAX_ENVIRONMENT_BYTES
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        && text.split('_').all(|part| !part.is_empty());
    if good {
        return Ok(text.to_owned());
    }
    Err(format!(
        "must be 1 to {MAX_ENVIRONMENT_BYTES} characters of a-z, 0-9 and single underscores, starting with a letter \
         and not ending with an underscore"
    ))
}

/// A slug: `[a-z0-9][a-z0-9._-]{0,63}`.
///
/// # Errors
/// A detail for a [`super::Fault`].
pub fn slug(value: &Value) -> Result<String, String> {
    let text = string(value)?;
    if is_slug(text) { Ok(text.to_owned()) } else { Err(slug_rule()) }
}

/// Whether `text` is a slug.
pub fn is_slug(text: &str) -> bool {
    text.len() <= MAX_SLUG_BYTES
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// What a slug is, as the detail of a fault.
pub fn slug_rule() -> String {
    format!(
        "must be 1 to {MAX_SLUG_BYTES} characters of a-z, 0-9, `.`, `_` and `-`, starting with a letter or digit"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn environments_fit_into_a_secret() {
        for good in ["live", "a", "a1_b2", &"a".repeat(32)] {
            assert_eq!(environment(&json!(good)).as_deref(), Ok(good));
        }
        for bad in ["", "1a", "_a", "a_", "a__b", "A", "a-b", "ä", &"a".repeat(33)] {
            assert!(environment(&json!(bad)).is_err(), "{bad}");
        }
        assert_eq!(environment(&json!(1)), Err("must be a string, not a number".into()));
    }

    #[test]
    fn slugs_are_lower_case_words() {
        for good in ["acme", "0", "a.b-c_d", &"a".repeat(64)] {
            assert_eq!(slug(&json!(good)).as_deref(), Ok(good));
        }
        for bad in ["", ".a", "-a", "_a", "A", "a b", "a/b", "ä", &"a".repeat(65)] {
            assert!(slug(&json!(bad)).is_err(), "{bad}");
        }
    }
}
