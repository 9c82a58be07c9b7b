//! Scopes: `word:word`, lower case, `*` allowed as a whole segment of a granted scope.

use std::fmt;

/// The longest scope, in bytes.
pub const MAX_SCOPE_BYTES: usize = 128;

/// A right, such as `models:read` or `models:*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(Box<str>);

impl Scope {
    /// Reads a scope. At least one segment; segments of `[a-z0-9_.-]`, or `*` alone.
    pub fn parse(text: &str) -> Option<Self> {
        let good = |segment: &str| {
            segment == "*"
                || (!segment.is_empty()
                    && segment.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.')))
        };
        (text.len() <= MAX_SCOPE_BYTES && text.split(':').all(good)).then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether holding this scope gives `wanted`: the same number of segments, each equal or `*` here. A lone `*`
    /// gives everything.
    pub fn grants(&self, wanted: &Self) -> bool {
        if &*self.0 == "*" {
            return true;
        }
        let (mut held, mut asked) = (self.0.split(':'), wanted.0.split(':'));
        loop {
            match (held.next(), asked.next()) {
                (None, None) => return true,
                (Some(h), Some(a)) if h == "*" || h == a => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(held: &str, wanted: &str) -> bool {
        Scope::parse(held).unwrap().grants(&Scope::parse(wanted).unwrap())
    }

    #[test]
    fn a_star_stands_for_one_whole_segment() {
        assert!(grants("models:read", "models:read"));
        assert!(grants("models:*", "models:read"));
        assert!(grants("*:read", "models:read"));
        assert!(grants("*", "models:read"));
        assert!(!grants("models:*", "models:read:all"));
        assert!(!grants("models", "models:read"));
        assert!(!grants("models:read", "models:*"));
    }

    #[test]
    fn what_is_not_a_scope_is_refused() {
        for bad in ["", ":", "a:", ":a", "A:b", "a b", "a:r*", "a::b", "ä:b"] {
            assert_eq!(Scope::parse(bad), None, "{bad}");
        }
    }
}
