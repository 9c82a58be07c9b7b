//! What goes over the wire: requests that are made before the clock starts, and where an answer ends.
//!
//! A request costs its sender a copy of a secret into bytes that stand ready, so that the client is cheap and the same
//! for all that is measured.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Context as _;

use crate::secrets::{Numbers, secret};

/// An answer larger than this is a fault.
pub const MAX_ANSWER: usize = 64 << 10;

const HEAD_END: &[u8] = b"\r\n\r\n";
const LENGTH: &[u8] = b"content-length:";

/// Secrets, one after the other.
#[derive(Clone)]
pub struct Secrets {
    text: Arc<Vec<u8>>,
    each: usize,
}

impl Secrets {
    /// Those with these numbers.
    pub fn new(numbers: Range<usize>) -> Self {
        let each = secret(0).len();
        let text = numbers.flat_map(|number| secret(number).into_bytes()).collect();
        Self { text: Arc::new(text), each }
    }

    fn any(&self, numbers: &mut Numbers) -> &[u8] {
        let at = numbers.below(self.text.len() / self.each) * self.each;
        self.text.get(at..at + self.each).unwrap_or_default()
    }
}

/// One connection's requests, each with a random one of the secrets.
pub struct Requests {
    bytes: Vec<u8>,
    /// The secrets, and where in the bytes one stands.
    secrets: Option<(Secrets, Range<usize>)>,
    numbers: Numbers,
}

impl Requests {
    pub fn new(path: &str, secrets: Option<Secrets>, seed: u64) -> Self {
        let first = secrets.as_ref().map(|_| secret(0));
        let bytes = request(path, first.as_deref());
        let place = first.and_then(|text| {
            let at = memchr::memmem::find(&bytes, text.as_bytes())?;
            Some(at..at + text.len())
        });
        Self { bytes, secrets: secrets.zip(place), numbers: Numbers::from_seed(seed) }
    }

    pub fn next(&mut self) -> &[u8] {
        if let Some((secrets, place)) = &self.secrets
            && let Some(stands) = self.bytes.get_mut(place.clone())
        {
            stands.copy_from_slice(secrets.any(&mut self.numbers));
        }
        &self.bytes
    }
}

/// A request as a small client of an API sends it.
pub fn request(path: &str, secret: Option<&str>) -> Vec<u8> {
    let credential = secret.map(|secret| format!("authorization: Bearer {secret}\r\n")).unwrap_or_default();
    let head = "host: api.example.com\r\nuser-agent: bench/1\r\naccept: application/json\r\naccept-encoding: gzip\r\n";
    format!("GET {path} HTTP/1.1\r\n{head}{credential}\r\n").into_bytes()
}

/// Where the answer at the start of these bytes ends; nothing while its head is not whole.
pub fn end(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    anyhow::ensure!(bytes.len() <= MAX_ANSWER, "an answer of over {MAX_ANSWER} bytes");
    let Some(head) = memchr::memmem::find(bytes, HEAD_END) else { return Ok(None) };
    Ok(Some(head + HEAD_END.len() + content_length(bytes.get(..head).unwrap_or_default())?))
}

fn content_length(head: &[u8]) -> anyhow::Result<usize> {
    let mut lines = head.split(|&byte| byte == b'\n');
    let length = lines.find_map(|line| {
        line.get(..LENGTH.len()).filter(|name| name.eq_ignore_ascii_case(LENGTH))?;
        line.get(LENGTH.len()..)
    });
    std::str::from_utf8(length.context("an answer without a length")?)?.trim().parse().context("a bad length")
}

/// Fails unless these bytes are one whole answer with this status.
pub fn expect(answer: &[u8], end: usize, status: u16) -> anyhow::Result<()> {
    if answer.len() == end && self::status(answer) == Some(status) {
        return Ok(());
    }
    let answer = String::from_utf8_lossy(answer);
    anyhow::bail!("an answer that is not one whole {status}: {answer}")
}

/// An answer's status.
pub fn status(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}
