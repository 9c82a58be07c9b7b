//! What is let in, what is refused and why.

mod fields;
mod properties;

use super::*;

fn fault(head: &[u8]) -> Option<HeadFault> {
    check(head).err()
}

/// A GET of `/` with these lines after its `Host`.
fn with_fields(fields: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

fn field_fault(fields: &str) -> Option<HeadFault> {
    fault(&with_fields(fields))
}

fn line_fault(line: &str) -> Option<HeadFault> {
    fault(format!("{line}\r\nHost: a\r\n\r\n").as_bytes())
}

#[test]
fn a_plain_head_is_read() {
    let bytes =
        b"POST /v1/models?x=1 HTTP/1.1\r\nhOST:\t api.example.com:8080 \r\ncontent-length: 12\r\n\r\n";
    let head = check(bytes).unwrap();
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.method, Method::POST);
    assert_eq!(&bytes[head.target.clone()], b"/v1/models?x=1");
    assert_eq!(&bytes[head.host.clone().unwrap()], b"api.example.com:8080");
    assert_eq!(head.framing, Framing::ContentLength(12));
}

#[test]
fn http_1_0_needs_no_host() {
    let head = check(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((head.version, head.host, head.framing), (Version::Http10, None, Framing::None));
    assert_eq!(fault(b"GET / HTTP/1.1\r\n\r\n"), Some(HeadFault::HostMissing));
}

#[test]
fn the_end_is_the_first_blank_line_of_either_kind() {
    for (buf, end) in [
        (&b"GET / HTTP/1.1\r\n\r\nbody\r\n\r\n"[..], Some(18)),
        (b"a\n\nb", Some(3)),
        (b"a\n\r\nb", Some(4)),
        (b"a\r\n\nb", Some(4)),
        (b"a\r\n\r", None),
        (b"a\r\n", None),
        (b"a\r\r", None),
        (b"", None),
    ] {
        assert_eq!(find_end(buf, 0), end, "{}", buf.escape_ascii());
    }
}

#[test]
fn an_end_that_comes_in_pieces_is_found() {
    for text in [&b"GET / HTTP/1.1\r\nA: b\r\n\r\n"[..], b"a\r\nb\n\n", b"a\n\r\n"] {
        for cut in 0..text.len() {
            assert_eq!(find_end(&text[..cut], 0), None, "{} {cut}", text.escape_ascii());
            assert_eq!(find_end(text, cut), Some(text.len()), "{} {cut}", text.escape_ascii());
        }
    }
    assert_eq!(find_end(b"ab", 9), None);
}

#[test]
fn one_blank_line_before_the_request_is_skipped_and_no_more() {
    assert_eq!(skip_blank(b"\r\nGET"), 2);
    assert_eq!(skip_blank(b"\r\n\r\nGET"), 2);
    assert_eq!(skip_blank(b"\nGET"), 0);
    assert_eq!(skip_blank(b"\r"), 0);
    assert_eq!(fault(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), Some(HeadFault::RequestLine));
}

#[test]
fn only_the_known_methods_pass_and_only_in_upper_case() {
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let bytes = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(check(bytes.as_bytes()).unwrap().method.as_str(), method);
    }
    for method in ["get", "Get", "TRACE", "CONNECT", "PRI", "GETX", "GE", "", "G\tET", "G\0T", "\u{feff}GET"]
    {
        assert_eq!(line_fault(&format!("{method} / HTTP/1.1")), Some(HeadFault::Method), "{method:?}");
    }
}

#[test]
fn a_request_line_has_three_parts_and_single_spaces() {
    for (line, expected) in [
        ("", HeadFault::RequestLine),
        ("GET", HeadFault::RequestLine),
        ("GET /", HeadFault::RequestLine),
        ("GET\t/\tHTTP/1.1", HeadFault::RequestLine),
        (" GET / HTTP/1.1", HeadFault::Method),
        ("GET  / HTTP/1.1", HeadFault::Version),
        ("GET /  HTTP/1.1", HeadFault::Version),
        ("GET / HTTP/1.1 ", HeadFault::Version),
        ("GET /a b HTTP/1.1", HeadFault::Version),
        ("GET / HTTP/1.2", HeadFault::Version),
        ("GET / HTTP/2.0", HeadFault::Version),
        ("GET / HTTP/0.9", HeadFault::Version),
        ("GET / http/1.1", HeadFault::Version),
        ("GET / HTTP/1.1\r", HeadFault::Version),
    ] {
        assert_eq!(line_fault(line), Some(expected), "{line:?}");
    }
}

#[test]
fn a_target_is_in_origin_form() {
    for target in
        ["*", "http://a/", "a:80", "foo", "../admin", "%2e%2e/admin", "@evil/admin", ":80/x", "?q", ""]
    {
        let line = format!("GET {target} HTTP/1.1");
        assert_eq!(line_fault(&line), Some(HeadFault::TargetForm), "{target:?}");
    }
}

#[test]
fn each_target_byte_is_visible_ascii_and_unambiguous() {
    for byte in 0..=255_u8 {
        let mut bytes = b"GET /a".to_vec();
        bytes.push(byte);
        bytes.extend(b"b HTTP/1.1\r\nHost: a\r\n\r\n");
        let expected = match byte {
            b' ' => Some(HeadFault::Version),
            b'\n' => Some(HeadFault::BareLineFeed),
            0..=0x1F | 0x7F..=0xFF | b'"' | b'#' | b'<' | b'>' | b'\\' | b'`' => Some(HeadFault::TargetByte),
            _ => None,
        };
        assert_eq!(fault(&bytes), expected, "{byte:#x}");
    }
}

/// Otherwise the server would answer, and we could not say why.
#[test]
fn what_passes_is_a_uri_for_the_server_too_unchanged() {
    let long = "x".repeat(MAX_TARGET_BYTES - 1);
    let each = (0..=0x7F_u8).map(char::from).flat_map(|c| [format!("/{c}"), format!("/?{c}")]);
    for target in each.chain([format!("/{long}"), format!("/{long}x")]) {
        let passes = line_fault(&format!("GET {target} HTTP/1.1")).is_none();
        let parsed = target.parse::<http::uri::PathAndQuery>().ok();
        assert!(!passes || parsed.is_some_and(|parsed| parsed.as_str() == target), "{target:?}");
    }
    assert_eq!(line_fault(&format!("GET /{long}x HTTP/1.1")), Some(HeadFault::TargetTooLong));
    assert_eq!(line_fault("GET /?` HTTP/1.1"), None);
}

#[test]
fn each_line_ends_with_crlf() {
    for head in [
        &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\n\n",
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(fault(head), Some(HeadFault::BareLineFeed), "{}", head.escape_ascii());
    }
}

#[test]
fn a_head_is_neither_more_nor_less_than_one_head() {
    let whole = with_fields("");
    for cut in 0..whole.len() {
        assert_eq!(fault(&whole[..cut]), Some(HeadFault::Unfinished), "{cut}");
    }
    assert_eq!(fault(&[&whole[..], b"x"].concat()), Some(HeadFault::AfterEnd));
}
