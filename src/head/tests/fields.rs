//! Which field lines are let in, and what those that frame a request may say.

use super::super::*;
use super::{fault, field_fault, with_fields};

#[test]
fn field_lines_have_a_token_a_colon_and_printable_bytes() {
    for (fields, expected) in [
        ("X-A: b\r\nX-B:c\r\nX-C:\r\n", None),
        ("!#$%&'*+-.^_`|~09azAZ: x\r\n", None),
        ("X: \u{e9}\tb\r\n", None),
        (" X: b\r\n", Some(HeadFault::Folded)),
        ("X: b\r\n\tc\r\n", Some(HeadFault::Folded)),
        ("X: b\r\n \r\n", Some(HeadFault::Folded)),
        ("X : b\r\n", Some(HeadFault::FieldName)),
        ("X\t: b\r\n", Some(HeadFault::FieldName)),
        (": b\r\n", Some(HeadFault::FieldName)),
        ("X\r\n", Some(HeadFault::FieldName)),
        ("X(y): b\r\n", Some(HeadFault::FieldName)),
        ("\u{e9}: b\r\n", Some(HeadFault::FieldName)),
        ("X\0: b\r\n", Some(HeadFault::FieldName)),
        ("X\rY: b\r\n", Some(HeadFault::FieldName)),
        ("\r\r\n", Some(HeadFault::FieldName)),
        ("X: a\rb\r\n", Some(HeadFault::FieldValue)),
        ("X: a\r\r\n", Some(HeadFault::FieldValue)),
        ("X: a\0b\r\n", Some(HeadFault::FieldValue)),
        ("X: a\x0bb\r\n", Some(HeadFault::FieldValue)),
        ("X: a\x7fb\r\n", Some(HeadFault::FieldValue)),
    ] {
        assert_eq!(field_fault(fields), expected, "{fields:?}");
    }
}

#[test]
fn more_fields_than_the_limit_are_too_large() {
    let at_limit = "X: y\r\n".repeat(MAX_FIELDS - 1);
    assert_eq!(field_fault(&at_limit), None);
    let over = field_fault(&format!("{at_limit}X: y\r\n"));
    assert_eq!(over, Some(HeadFault::TooManyFields));
    assert_eq!(over.map(HeadFault::kind), Some(FaultKind::TooLarge));
    assert_eq!(HeadFault::Method.kind(), FaultKind::BadRequest);
    assert!(HeadFault::TooManyFields.detail().contains(&MAX_FIELDS.to_string()));
}

#[test]
fn there_is_one_host_and_it_is_a_host() {
    let judge = |value: &str| fault(format!("GET / HTTP/1.1\r\nHost:{value}\r\n\r\n").as_bytes());
    for good in [
        "a",
        " a.example.com ",
        "a_b.c~d-e",
        "a:80",
        "a:65535",
        "127.0.0.1:1",
        "[::1]",
        "[::ffff:1.2.3.4]:80",
    ] {
        assert_eq!(judge(good), None, "{good:?}");
    }
    for bad in [
        "",
        " ",
        ":80",
        "a:",
        "a:65536",
        "a:000080",
        "a:-1",
        "a:8x",
        "a:80:80",
        "a b",
        "a,b",
        "user@a",
        "a/b",
        "a?b",
        "a#b",
        "a\\b",
        "a%41",
        "\u{e9}",
        "[",
        "[]",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]:",
        "[1.2.3.4]",
        "[::1%25eth0]",
        "[v1.a]",
        "http://a",
        "*",
        "a;b",
    ] {
        assert_eq!(judge(bad), Some(HeadFault::HostForm), "{bad:?}");
    }
    assert_eq!(field_fault("host: a\r\n"), Some(HeadFault::HostRepeated));
    assert_eq!(fault(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), Some(HeadFault::HostRepeated));
    assert_eq!(fault(b"GET / HTTP/1.0\r\nHost:\r\n\r\n"), Some(HeadFault::HostForm));
}

#[test]
fn content_length_is_one_plain_number() {
    let framing =
        |value: &str| check(&with_fields(&format!("Content-Length: {value}\r\n"))).map(|head| head.framing);
    assert_eq!(framing("0"), Ok(Framing::ContentLength(0)));
    assert_eq!(framing("007"), Ok(Framing::ContentLength(7)));
    let most = i64::MAX.unsigned_abs();
    assert_eq!(framing(&most.to_string()), Ok(Framing::ContentLength(most)));
    for bad in [
        "",
        "+3",
        "-3",
        "3, 3",
        "3,3",
        "3 3",
        "0x3",
        "3.0",
        "3;",
        "9223372036854775808",
        "9999999999999999999",
        "00000000000000000003",
        "18446744073709551616",
        "\u{663}",
    ] {
        assert_eq!(framing(bad), Err(HeadFault::ContentLength), "{bad:?}");
    }
    let twice = "Content-Length: 3\r\nContent-Length: 3\r\n";
    assert_eq!(field_fault(twice), Some(HeadFault::ContentLengthRepeated));
}

#[test]
fn transfer_encoding_is_chunked_and_nothing_else() {
    let framing =
        |value: &str| check(&with_fields(&format!("Transfer-Encoding:{value}\r\n"))).map(|head| head.framing);
    for good in ["chunked", " \tChunKed\t "] {
        assert_eq!(framing(good), Ok(Framing::Chunked), "{good:?}");
    }
    for bad in [
        "",
        "identity",
        "gzip, chunked",
        "chunked, identity",
        "chunked,",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
    ] {
        assert_eq!(framing(bad), Err(HeadFault::TransferEncoding), "{bad:?}");
    }
    assert_eq!(framing("\x0bchunked"), Err(HeadFault::FieldValue));
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(field_fault(twice), Some(HeadFault::TransferEncodingRepeated));
    let old = b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(fault(old), Some(HeadFault::TransferEncodingInHttp10));
}

#[test]
fn two_framings_are_refused_in_either_order_and_in_disguise() {
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    ] {
        assert_eq!(field_fault(fields), Some(HeadFault::TwoFramings), "{fields:?}");
    }
    for fields in ["Content_Length: 3\r\n", "transfer_encoding: chunked\r\n"] {
        assert_eq!(field_fault(fields), Some(HeadFault::FramingLookalike), "{fields:?}");
    }
}

#[test]
fn expect_and_upgrade() {
    assert_eq!(field_fault("Expect: 100-Continue\r\n"), None);
    assert_eq!(field_fault("Expect: 200-ok\r\n"), Some(HeadFault::Expect));
    assert_eq!(field_fault("Expect:\r\n"), Some(HeadFault::Expect));
    assert_eq!(field_fault("Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"), None);
}

#[test]
fn connection_cannot_remove_what_frames_or_names_the_request() {
    for good in ["close", "keep-alive", "", ", ,close", "te, x-foo", "authorization"] {
        assert_eq!(field_fault(&format!("Connection: {good}\r\n")), None, "{good:?}");
    }
    for bad in [
        "content-length",
        "close, Content-Length",
        "HOST",
        "Transfer-Encoding",
        "x-forwarded-for",
        "a b",
        "\"close\"",
        ":authority",
        "1,2,3,4,5,6,7,8,9,10",
    ] {
        assert_eq!(field_fault(&format!("Connection: {bad}\r\n")), Some(HeadFault::Connection), "{bad:?}");
    }
    let spread = "Connection: 1,2,3,4,5\r\nConnection: 6,7,8,9,10\r\n";
    assert_eq!(field_fault(spread), Some(HeadFault::Connection));
}
