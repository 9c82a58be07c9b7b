//! Finds the one credential of a request, in the places that its route names.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::denial::Denial;
use super::policy::Policy;
use crate::config::CredentialPlace;
use crate::key::secret::{Hint, Presented};
use std::borrow::Cow;
use std::ops::Deref;

use zeroize::Zeroizing;

/// The text of a credential, from wherever it was. It has no readable `Debug`, and a copy of it is wiped.
pub enum CredentialText<'a> {
    /// As it stands in the request.
    Sent(&'a [u8]),
    /// Decoded from what the request has.
    Decoded(Zeroizing<Vec<u8>>),
}

impl Deref for CredentialText<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Sent(text) => text,
            Self::Decoded(text) => text,
        }
    }
}

impl<'a> From<Cow<'a, [u8]>> for CredentialText<'a> {
    fn from(text: Cow<'a, [u8]>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::Sent(text),
            Cow::Owned(text) => Self::Decoded(Zeroizing::new(text)),
        }
    }
}

/// Finds the credential.
///
/// # Errors
/// None at all, or more than one.
pub fn find<'a>(
    policy: &Policy,
    headers: &'a HeaderMap,
    query: Option<&'a [u8]>,
) -> Result<CredentialText<'a>, Denial> {
    if headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        return Err(Denial::AmbiguousCredential);
    }
    let mut found = Found::None;
    for place in &policy.places {
        in_place(place, headers, query, &mut found);
    }
    match found {
        Found::None => Err(Denial::MissingKey(policy.places_in_words())),
        Found::One(text) => Ok(text),
        Found::More => Err(Denial::AmbiguousCredential),
    }
}

/// How many credentials there were.
enum Found<'a> {
    None,
    One(CredentialText<'a>),
    More,
}

impl<'a> Found<'a> {
    /// Takes another text into account; an empty one is none.
    fn add(&mut self, text: CredentialText<'a>) {
        if !text.is_empty() {
            *self = match self {
                Self::None => Self::One(text),
                Self::One(_) | Self::More => Self::More,
            };
        }
    }
}

/// Checks that the text can be a secret.
///
/// # Errors
/// `invalid_key` where it cannot.
pub fn present<'a>(text: &'a CredentialText<'_>) -> Result<Presented<'a>, Denial> {
    Presented::new(text).ok_or(Denial::InvalidKey(Hint::UnknownFormat))
}

/// Adds every credential in one place.
fn in_place<'a>(
    place: &CredentialPlace,
    headers: &'a HeaderMap,
    query: Option<&'a [u8]>,
    found: &mut Found<'a>,
) {
    match place {
        CredentialPlace::Bearer => {
            let values = headers.get_all(AUTHORIZATION).iter();
            let tokens = values.filter_map(|value| bearer(value.as_bytes()));
            tokens.for_each(|token| found.add(CredentialText::Sent(token)));
        }
        CredentialPlace::Header(name) => {
            let values = headers.get_all(name).iter();
            values.for_each(|value| found.add(CredentialText::Sent(value.as_bytes().trim_ascii())));
        }
        CredentialPlace::Query(name) => {
            let values = query.into_iter().flat_map(|query| in_query(query, name));
            values.for_each(|value| found.add(value));
        }
    }
}

/// The token of `Bearer <token>`; the scheme's case does not matter (RFC 9110 section 11.1).
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(6)?;
    let (blank, token) = rest.split_first().unwrap_or((&b' ', &[]));
    (scheme.eq_ignore_ascii_case(b"bearer") && *blank == b' ').then(|| token.trim_ascii())
}

fn in_query<'a>(query: &'a [u8], name: &str) -> impl Iterator<Item = CredentialText<'a>> {
    let named = move |pair: &&[u8]| names(pair, name);
    let value = |pair: &'a [u8]| match pair.iter().position(|&b| b == b'=') {
        Some(equals) => decode(&pair[equals + 1..]).into(),
        None => CredentialText::Sent(&[]),
    };
    query.split(|&b| b == b'&').filter(named).map(value)
}

/// Whether a `name=value` pair of a query has this name, once decoded.
pub fn names(pair: &[u8], name: &str) -> bool {
    let raw = pair.split(|&b| b == b'=').next().unwrap_or_default();
    *decode(raw) == *name.as_bytes()
}

/// Decodes `%XX`. A `+` stays a `+`: secrets contain no blanks.
fn decode(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'%') {
        return Cow::Borrowed(raw);
    }
    let digit =
        |b: Option<&u8>| b.and_then(|&b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        let pair = (byte == b'%').then(|| digit(raw.get(at + 1)).zip(digit(raw.get(at + 2)))).flatten();
        out.push(pair.map_or(byte, |(high, low)| high << 4 | low));
        at += if pair.is_some() { 3 } else { 1 };
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bearer_scheme_is_read_without_case() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bEARER   abc "), Some(&b"abc"[..]));
        assert_eq!(bearer(b"Bearer"), Some(&b""[..]));
        assert_eq!(bearer(b"Bearerabc"), None);
        assert_eq!(bearer(b"Basic abc"), None);
        assert_eq!(bearer(b"Be"), None);
    }

    #[test]
    fn a_query_parameter_is_found_however_it_is_written() {
        let found = |query: &'static str| {
            in_query(query.as_bytes(), "api_key")
                .map(|t| String::from_utf8_lossy(&t).into_owned())
                .collect::<Vec<_>>()
        };
        let none: Vec<String> = Vec::new();
        assert_eq!(found("a=1&api_key=x%5Fy&b=2"), vec!["x_y".to_owned()]);
        assert_eq!(found("api%5fkey=1&api_key=2"), vec!["1".to_owned(), "2".to_owned()]);
        assert_eq!(found("my_api_key=1&API_KEY=2"), none);
        assert_eq!(found("api_key=%zz%4"), vec!["%zz%4".to_owned()]);
    }
}
