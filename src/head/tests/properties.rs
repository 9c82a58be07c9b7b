//! Whatever comes, nothing panics, and what passes has one meaning: a second parser sees the same.

use proptest::prelude::*;

use super::super::*;

/// Heads that are nearly right: well-formed and broken pieces, glued together.
fn near_heads() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"GET",
        b"POST",
        b" ",
        b"  ",
        b"/",
        b"/v1?x",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"Host: a",
        b"Host:",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"X: y",
        b":",
        b"\t",
        b"\xff",
        b"a",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..12).prop_map(|pieces| pieces.concat())
}

/// Good first lines, then pieces, then an end.
fn nearer_heads() -> impl Strategy<Value = Vec<u8>> {
    near_heads().prop_map(|glued| [b"GET / HTTP/1.1\r\nHost: a\r\n", &glued[..], b"\r\n\r\n"].concat())
}

/// Good first lines, then whole field lines, each good by itself.
fn whole_lines() -> impl Strategy<Value = Vec<u8>> {
    let lines = vec![
        "X-Some: thing\r\n",
        "Empty:\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close, x-some\r\n",
        "Host:b:80\r\n",
        "Expect: 100-continue\r\n",
        "Accept:\t*/* \r\n",
    ];
    let fields = prop::collection::vec(prop::sample::select(lines), 0..5);
    fields.prop_map(|fields| super::with_fields(&fields.concat()))
}

fn assert_is_clear(bytes: &[u8]) {
    let Ok(head) = check(bytes) else { return };
    assert_eq!(find_end(bytes, 0), Some(bytes.len()), "one head");
    assert!(!bytes.contains(&0), "no NUL");
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(bytes[at - 1], b'\r', "no bare LF"),
            b'\r' => assert_eq!(bytes[at + 1], b'\n', "no bare CR"),
            _ => {}
        }
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut other = httparse::Request::new(&mut fields);
    assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(bytes.len())));
    assert_eq!(other.method, Some(head.method.as_str()));
    assert_eq!(other.path.map(str::as_bytes), Some(&bytes[head.target]));
    let value = |name: &str| {
        other.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|f| f.value)
    };
    assert_eq!(value("host"), head.host.map(|host| &bytes[host]));
    assert_eq!(value("transfer-encoding").is_some(), head.framing == Framing::Chunked);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes: Vec<u8>, from in 0..100_usize) {
        let _ = find_end(&bytes, from);
        assert_is_clear(&bytes);
    }

    #[test]
    fn what_is_accepted_has_one_meaning(bytes in prop_oneof![near_heads(), nearer_heads(), whole_lines()]) {
        assert_is_clear(&bytes);
    }

    #[test]
    fn a_changed_byte_never_makes_a_second_reading(at in 0..100_usize, byte: u8) {
        let mut bytes = super::with_fields("Content-Length: 3\r\nX-Some: thing\r\nConnection: keep-alive\r\n");
        let at = at % bytes.len();
        bytes[at] = byte;
        assert_is_clear(&bytes);
    }

    #[test]
    fn the_end_is_the_same_however_the_bytes_come(bytes in near_heads(), cut in 0..100_usize) {
        let whole = find_end(&bytes, 0);
        let cut = cut.min(bytes.len());
        prop_assert_eq!(find_end(&bytes[..cut], 0).or_else(|| find_end(&bytes, cut)), whole);
    }
}
