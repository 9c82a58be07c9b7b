//! No accepted target has a spelling that servers read differently.

use proptest::prelude::*;

use super::*;

fn literal(target: &str) -> Vec<u8> {
    CheckedTarget::parse(target.as_bytes()).unwrap().segments_path().to_vec()
}

fn assert_all(targets: &[&str], fault: TargetFault) {
    for target in targets {
        assert_eq!(CheckedTarget::parse(target.as_bytes()), Err(fault), "{target:?}");
    }
}

#[test]
fn path_and_query_come_back_as_they_were() {
    let target = CheckedTarget::parse(b"/v1/%61?x=%zz&y=/../?;").unwrap();
    assert_eq!(target.path(), b"/v1/%61");
    assert_eq!(target.query(), Some(&b"x=%zz&y=/../?;"[..]));
    assert_eq!(target.readings(), Readings::One(b"/v1/a"));
    assert_eq!(CheckedTarget::parse(b"/").unwrap().query(), None);
    assert_eq!(CheckedTarget::parse(b"/?").unwrap().query(), Some(&b""[..]));
}

#[test]
fn what_is_encoded_is_decoded_once() {
    assert_eq!(literal("/v1/%61dmin"), b"/v1/admin");
    assert_eq!(literal("/%2561"), b"/%61");
    assert_eq!(literal("/%252e%252e/x"), b"/%2e%2e/x");
    assert_eq!(literal("/a%20b%3fc%23"), b"/a b?c#");
    assert_eq!(literal("/%c3%a9/%E9"), b"/\xc3\xa9/\xe9");
}

#[test]
fn without_percent_and_semicolon_nothing_is_allocated() {
    let target = CheckedTarget::parse(b"/v1/models/x").unwrap();
    assert!(matches!(target.literal, Cow::Borrowed(_)));
    assert_eq!(target.stripped, None);
}

#[test]
fn harmless_paths_pass() {
    for target in
        ["/", "/a", "/a/", "/a/b.c", "/...", "/.a", "/a..", "/..a/b", "/-/_~!$&'()*+,=:@", "/a|b^c`d{e}"]
    {
        assert_eq!(literal(target), target.as_bytes(), "{target}");
    }
}

#[test]
fn only_a_path_is_a_target() {
    assert_all(&["", "*", "a", "?", "http://a/", "%2f", ".", "\\a"], TargetFault::Form);
}

#[test]
fn raw_bytes_that_need_encoding_are_refused_also_in_the_query() {
    assert_all(
        &["/a b", "/a\tb", "/a\0", "/\x7f", "/é", "/a#b", "/<", "/?\"", "/? ", "/?\0"],
        TargetFault::Byte,
    );
}

#[test]
fn backslashes_are_refused() {
    assert_all(&["/a\\b", "/\\", "/..\\a", "/a%5cb", "/a%5C"], TargetFault::Backslash);
}

#[test]
fn encoded_slashes_are_refused() {
    assert_all(&["/a%2fb", "/a%2Fb", "/..%2fadmin", "/%2f"], TargetFault::EncodedSlash);
}

#[test]
fn encoded_control_bytes_are_refused() {
    for byte in (0..0x20).chain([0x7F]) {
        assert_all(&[&format!("/a%{byte:02x}"), &format!("/%{byte:02X}/b")], TargetFault::EncodedControl);
    }
}

#[test]
fn broken_encoding_is_refused() {
    let bad = ["/%", "/%2", "/%zz", "/%2x", "/%%41", "/%u002f", "/%+1", "/%2?f"];
    assert_all(&bad, TargetFault::Encoding);
}

#[test]
fn overlong_encodings_of_ascii_are_refused() {
    assert_all(
        &["/%c0%ae%c0%ae/a", "/a%c0%afb", "/%c1%9c", "/%e0%80%ae", "/%e0%80%af", "/%f0%80%80%af"],
        TargetFault::Overlong,
    );
    for good in ["/%c0", "/%c0a", "/%e0%a0%80", "/%f0%90%80%80"] {
        assert!(CheckedTarget::parse(good.as_bytes()).is_ok(), "{good}");
    }
}

#[test]
fn empty_segments_are_refused_and_one_trailing_slash_is_not() {
    assert_all(
        &["//", "//a", "/a//b", "/a//", "/;/a", "/a/;x/b", "/a/%3bx/", "/;/"],
        TargetFault::EmptySegment,
    );
    for good in ["/", "/a/", "/a/;x", "/;x"] {
        assert!(CheckedTarget::parse(good.as_bytes()).is_ok(), "{good}");
    }
}

#[test]
fn dot_segments_are_refused_in_any_spelling() {
    assert_all(
        &[
            "/.",
            "/..",
            "/./a",
            "/../a",
            "/a/..",
            "/a/.",
            "/a/../b",
            "/%2e",
            "/%2e%2e/a",
            "/.%2E/a",
            "/%2e./a",
            "/a/..;x/b",
            "/a/.;/b",
            "/..;",
            "/%2e%2e%3b/a",
            "/..%3Bx=1/a",
            "/a;x/../b",
        ],
        TargetFault::DotSegment,
    );
}

#[test]
fn a_semicolon_gives_two_readings() {
    for (target, literal, stripped) in [
        ("/a;x/b", "/a;x/b", "/a/b"),
        ("/a%3bx/b;y;z/", "/a;x/b;y;z/", "/a/b/"),
        ("/v1/;jsessionid=1", "/v1/;jsessionid=1", "/v1/"),
        ("/;x", "/;x", "/"),
    ] {
        let checked = CheckedTarget::parse(target.as_bytes()).unwrap();
        let expected = Readings::Two { literal: literal.as_bytes(), stripped: stripped.as_bytes() };
        assert_eq!(checked.readings(), expected, "{target}");
    }
}

#[test]
fn stripping_a_route_leaves_the_rest_as_it_came() {
    for (target, route, rest) in [
        ("/v1/x%20y/z?q", "/v1", "/x%20y/z"),
        ("/%76%31/x", "/v1", "/x"),
        ("/v1", "/v1", "/"),
        ("/v1/", "/v1", "/"),
        ("/v1/x/", "/v1/x", "/"),
        ("/v1/x/", "/", "/v1/x/"),
        ("/v1;p/x", "/v1", "/x"),
    ] {
        let checked = CheckedTarget::parse(target.as_bytes()).unwrap();
        assert_eq!(checked.after_route_path(route), rest.as_bytes(), "{target} without {route}");
    }
}

/// Paths made of what attackers put into paths.
pub(in crate::routes) fn nasty_targets() -> impl Strategy<Value = String> {
    let pieces = vec![
        "/", "/", "/", "/", "//", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", "\\", ";", "%3b", ";x", "a", "b",
        "v1", "admin", "%61dmin", "%25", "%2561", "%00", "%c0%ae", "%", "%zz", "%e9", "?", "é", " ",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..9)
        .prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// RFC 3986 section 5.2.4, and doubled slashes merged.
fn normalised(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let segments: Vec<_> = path[1..].split(|&byte| byte == b'/').collect();
    let (last, inner) = segments.split_last().unwrap();
    for segment in inner.iter().chain([last]) {
        match *segment {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let mut path = kept.iter().flat_map(|segment| [b"/", *segment].concat()).collect::<Vec<_>>();
    if matches!(*last, b"" | b"." | b"..") {
        path.push(b'/');
    }
    path
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes: Vec<u8>) {
        let _ = CheckedTarget::parse(&bytes);
    }

    #[test]
    fn each_reading_of_what_is_accepted_is_in_normal_form(target in nasty_targets()) {
        let Ok(checked) = CheckedTarget::parse(target.as_bytes()) else { return Ok(()) };
        let readings = match checked.readings() {
            Readings::One(path) => vec![path],
            Readings::Two { literal, stripped } => vec![literal, stripped],
        };
        for path in readings {
            prop_assert_eq!(normalised(path), path);
            prop_assert!(!path.iter().any(|byte| matches!(byte, b'\\' | 0..=0x1F | 0x7F)));
        }
        let slashes = |path: &[u8]| memchr_iter(b'/', path).count();
        prop_assert_eq!(slashes(checked.path()), slashes(checked.segments_path()), "the same segments");
    }

    #[test]
    fn encoding_a_harmless_path_changes_nothing(path in "(/[a-z]{1,4}){1,4}/?", which: u32) {
        let spelled: String = path.char_indices().map(|(at, char)| match (char, which >> (at % 32) & 1) {
            (letter, 1) if letter != '/' => format!("%{:02x}", letter as u32),
            _ => char.to_string(),
        }).collect();
        prop_assert_eq!(literal(&spelled), path.as_bytes());
    }
}
