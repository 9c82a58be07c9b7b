//! The ID that a request, its answer and its log line share.

use http::HeaderMap;

use crate::clock::Timestamp;
use crate::key::redact::holds_secret;

/// The longest request ID that a client may choose, in bytes.
const MAX_BYTES: usize = 128;

/// The client's own request ID, if it sent one that is sane: safe in headers, logs and JSON alike, and no secret.
pub fn given(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("x-request-id").iter();
    let id = values.next()?.to_str().ok()?;
    let sane = |b: u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'=' | b'@')
    };
    let one = values.next().is_none();
    let good = one && (1..=MAX_BYTES).contains(&id.len()) && id.bytes().all(sane);
    (good && !holds_secret(id.as_bytes())).then_some(id)
}

/// A new request ID: 26 characters that sort by time.
pub fn new(now: Timestamp) -> String {
    let mut buffer = [0; ulid::ULID_LEN];
    let text = ulid::Ulid::from_parts(now.as_millis(), rand::random()).array_to_str(&mut buffer);
    text.make_ascii_lowercase();
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_request_id_is_kept_only_if_it_is_sane() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-request-id", HeaderValue::from_static(value));
            }
            given(&headers).map(str::to_owned)
        };
        assert_eq!(of(&["abc-123"]).as_deref(), Some("abc-123"));
        assert_eq!(of(&["a b"]), None);
        assert_eq!(of(&["a\"b"]), None);
        assert_eq!(of(&["a", "b"]), None);
        assert_eq!(of(&[""]), None);
    }
}
