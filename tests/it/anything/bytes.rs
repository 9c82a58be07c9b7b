//! Byte strings for a server: noise, and well-formed requests that are bent a little.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// The secrets that requests may carry.
#[derive(Debug, Clone)]
pub(super) struct Secrets {
    pub a: String,
    pub c: String,
    /// Of a key that is disabled.
    pub off: String,
}

impl Secrets {
    pub(super) fn all(&self) -> [&str; 3] {
        [&self.a, &self.c, &self.off]
    }
}

/// One thing done to a byte string.
#[derive(Debug, Clone)]
enum Bend {
    Delete(Index, usize),
    Repeat(Index, usize),
    Insert(Index, &'static [u8]),
    Replace(Index, u8),
}

pub(super) fn anything(secrets: &Secrets) -> impl Strategy<Value = Vec<u8>> + use<> {
    let bent =
        (request(secrets), vec(bend(), 0..4)).prop_map(|(request, bends)| bends.iter().fold(request, apply));
    let two = (request(secrets), request(secrets)).prop_map(|(first, second)| [first, second].concat());
    let good =
        (good(secrets), vec(bend(), 0..2)).prop_map(|(request, bends)| bends.iter().fold(request, apply));
    prop_oneof![
        8 => good,
        8 => bent,
        2 => two,
        1 => vec(any::<u8>(), 0..300),
        1 => (request(secrets), vec(any::<u8>(), 0..100)).prop_map(|(request, noise)| [request, noise].concat()),
    ]
}

/// A request that passes, but for what is done to it.
fn good(secrets: &Secrets) -> impl Strategy<Value = Vec<u8>> + use<> {
    let routes = [("/a", secrets.a.clone()), ("/c", secrets.c.clone()), ("/open", secrets.off.clone())];
    let rest = select(vec!["", "/x?y=1", "/%78;p/y", "?next=/../c", "/a/c"]);
    let body = select(vec![
        ("", ""),
        ("Content-Length: 5\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n"),
    ]);
    (select(routes.to_vec()), rest, vec(field(), 0..2), body).prop_map(
        |((path, secret), rest, fields, (framing, body))| {
            let fields = fields.concat();
            let bearer = format!("Authorization: Bearer {secret}");
            format!("POST {path}{rest} HTTP/1.1\r\nHost: it\r\n{bearer}\r\n{fields}{framing}\r\n{body}")
                .into_bytes()
        },
    )
}

fn request(secrets: &Secrets) -> impl Strategy<Value = Vec<u8>> + use<> {
    let credentials = [&secrets.a, &secrets.c, &secrets.off].map(|secret| {
        [
            format!("Authorization: Bearer {secret}\r\n"),
            format!("X-API-Key: {secret}\r\n"),
            format!("authorization:bearer\t{secret}\r\n"),
        ]
    });
    let mut credentials = credentials.concat();
    credentials.push(String::new());
    // What passes must be there often enough.
    credentials.extend([&secrets.a, &secrets.c].map(|secret| format!("Authorization: Bearer {secret}\r\n")));
    let line = (method(), target(), version()).prop_map(|(m, t, v)| format!("{m} {t} {v}\r\n"));
    let head = (line, host(), select(credentials), vec(field(), 0..4), framing());
    head.prop_map(|(line, host, credential, fields, (framing, body))| {
        format!("{line}{host}{credential}{}{framing}\r\n{body}", fields.concat()).into_bytes()
    })
}

fn method() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        9 => select(vec!["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"]),
        1 => select(vec!["get", "TRACE", "CONNECT", "PRI", "FOO", ""]),
    ]
}

fn version() -> impl Strategy<Value = &'static str> {
    prop_oneof![12 => Just("HTTP/1.1"), 1 => select(vec!["HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "http/1.1", ""])]
}

fn host() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        12 => Just("Host: it\r\n"),
        1 => select(vec!["", "Host: a\r\nHost: b\r\n", "Host:\r\n", "Host: a@b\r\n", "Host: it:80\r\n"]),
    ]
}

/// A route's path and a rest, or pieces.
fn target() -> impl Strategy<Value = String> {
    let start = || select(vec!["/a", "/c", "/open"]);
    let pieces = vec![
        "/a",
        "/c",
        "/open",
        "/",
        "//",
        "/..",
        "/.",
        "..",
        "%2e",
        "%2E%2e",
        "%2f",
        "%5c",
        "\\",
        ";",
        ";x=1",
        "%3b",
        "%00",
        "%61",
        "?",
        "#",
        "%",
        "%zz",
        "%25",
        "é",
        "@",
        "http://it",
        "*",
        "x",
        "%c0%af",
        "\t",
    ];
    prop_oneof![
        4 => (start(), select(vec!["", "/x", "/x?y=/../c", "/%78/y"])).prop_map(|(start, rest)| format!("{start}{rest}")),
        3 => (start(), vec(select(pieces.clone()), 0..5)).prop_map(|(start, rest)| format!("{start}{}", rest.concat())),
        1 => vec(select(pieces), 0..6).prop_map(|pieces| pieces.concat()),
    ]
}

fn field() -> impl Strategy<Value = &'static str> {
    select(vec![
        "X-Some: thing\r\n",
        "X-Portcullis-Key-Id: key_forged\r\n",
        "x_portcullis_key_id: key_forged\r\n",
        "X-Portcullis-Scopes: a:use c:use\r\n",
        "x.portcullis.owner: forged\r\n",
        "Connection: close\r\n",
        "Connection: keep-alive, x-some\r\n",
        "Connection: authorization\r\n",
        "Connection: x-portcullis-key-id\r\n",
        "Content-Length: 3\r\n",
        "Content-Length: 0\r\n",
        "Content_Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Upgrade: websocket\r\nConnection: upgrade\r\n",
        "Upgrade: h2c\r\n",
        "Expect: 100-continue\r\n",
        "X-Forwarded-For: 6.6.6.6\r\n",
        "X-Original-URL: /c\r\n",
        "TE: trailers\r\n",
        " folded: yes\r\n",
        "bad name: x\r\n",
        "X-Lf: y\n",
        "Accept:\t*/* \r\n",
    ])
}

fn framing() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop_oneof![
        6 => Just(("", "")),
        5 => select(vec![
            ("Content-Length: 5\r\n", "hello"),
            ("Content-Length: 5\r\n", "hell"),
            ("Content-Length: 5\r\n", "hello, more"),
            ("Content-Length: +5\r\n", "hello"),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n", "5;x=y\r\nhello\r\n0\r\nTrailer: x\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n", "5\nhello\n0\n\n"),
            ("Transfer-Encoding: chunked\r\n", "0\r\n\r\nGET /c HTTP/1.1\r\nHost: it\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nx"),
            ("Content-Length: 0\r\n", "GET /open HTTP/1.1\r\nHost: it\r\n\r\n"),
        ]),
    ]
}

fn bend() -> impl Strategy<Value = Bend> {
    let pieces: Vec<&'static [u8]> = vec![
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b"/",
        b"..",
        b"\\",
        b"%2f",
        b";",
        b"\xff",
        b"\x0b",
        b"\r\n\r\n",
        b"GET /c HTTP/1.1\r\n",
        b"Host: x\r\n",
        b"Content-Length: 1\r\n",
        b"chunked",
        b",",
        b"0",
    ];
    prop_oneof![
        (any::<Index>(), 1..8_usize).prop_map(|(at, count)| Bend::Delete(at, count)),
        (any::<Index>(), 1..40_usize).prop_map(|(at, count)| Bend::Repeat(at, count)),
        (any::<Index>(), select(pieces)).prop_map(|(at, piece)| Bend::Insert(at, piece)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Bend::Replace(at, byte)),
    ]
}

fn apply(mut bytes: Vec<u8>, bend: &Bend) -> Vec<u8> {
    if bytes.is_empty() {
        return bytes;
    }
    let part = |at: &Index, count: usize, length: usize| {
        let start = at.index(length);
        start..(start + count).min(length)
    };
    match bend {
        Bend::Delete(at, count) => drop(bytes.drain(part(at, *count, bytes.len()))),
        Bend::Repeat(at, count) => {
            let range = part(at, *count, bytes.len());
            let again = bytes[range.clone()].to_vec();
            bytes.splice(range.end..range.end, again);
        }
        Bend::Insert(at, piece) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, piece.iter().copied());
        }
        Bend::Replace(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
    }
    bytes
}
