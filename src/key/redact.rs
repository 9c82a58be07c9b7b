//! Secrets that stand where none belong: in a path, a request ID, a client's name for itself. They are kept out of what
//! is written down.

use std::borrow::Cow;

use super::secret::{Hint, RANDOM_CHARS};

/// What is written in a secret's place.
const IN_ITS_PLACE: &str = "…";
/// A prefix that no word starts with: only the form of a word is looked at.
const ANY_PREFIX: &str = " ";

/// Whether a secret of ours stands in it, or one that is mistyped.
pub fn holds_secret(text: &[u8]) -> bool {
    text.split(|&byte| !is_of_a_word(byte)).any(|word| str::from_utf8(word).is_ok_and(is_secret))
}

/// The text with `…` in the place of each secret of ours.
pub fn redacted(text: &str) -> Cow<'_, str> {
    if !holds_secret(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c: char| !u8::try_from(c).is_ok_and(is_of_a_word)) {
        let word = piece.trim_end_matches(|c: char| !u8::try_from(c).is_ok_and(is_of_a_word));
        let (kept, rest) = if is_secret(word) { (IN_ITS_PLACE, &piece[word.len()..]) } else { (piece, "") };
        out.push_str(kept);
        out.push_str(rest);
    }
    Cow::Owned(out)
}

/// What secrets are made of.
fn is_of_a_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_secret(word: &str) -> bool {
    word.len() > RANDOM_CHARS && matches!(Hint::of(word, ANY_PREFIX), Hint::NotFound | Hint::ChecksumMismatch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::secret::NewSecret;

    #[test]
    fn a_secret_is_left_out_wherever_it_stands_and_nothing_else() {
        let secret = NewSecret::generate("pc", "live").unwrap();
        let secret = secret.expose();
        let mistyped = format!("{}!", &secret[..secret.len() - 1]).replace('!', "-");
        let swapped = if secret.ends_with('A') { "B" } else { "A" };
        let near = format!("{}{swapped}", &secret[..secret.len() - 1]);
        let text = format!("/é/{secret}/a_b;{near}/{secret}");
        assert_eq!(redacted(&text), "/é/…/a_b;…/…");
        assert!(holds_secret(text.as_bytes()));
        for harmless in ["/v1/models", "key_01k9m2c3d4e5f6g7h8j9k0m1n2", "", &mistyped, &"a".repeat(50)] {
            assert_eq!(redacted(harmless), harmless);
        }
    }
}
