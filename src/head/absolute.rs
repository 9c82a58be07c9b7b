//! Targets in absolute form (`GET http://host/path`), which a server must accept (RFC 9112 section 3.2.2).

use bytes::BytesMut;
use memchr::memchr;

/// The schemes that a target may begin with.
const SCHEMES: [&[u8]; 2] = [b"http://", b"https://"];

/// The head with its target in origin form, if the target is in absolute form and names the host that `Host` names.
/// What follows the head follows it still. `None`: it stays as it is, for [`super::check`] to judge.
pub fn to_origin_form(buffer: &[u8]) -> Option<BytesMut> {
    let start = memchr(b' ', buffer)? + 1;
    let target = &buffer[start..];
    if target.first() == Some(&b'/') {
        return None;
    }
    let scheme = SCHEMES
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme)))?;
    let rest = &target[scheme.len()..];
    let end = rest.iter().position(|b| b"/? \r\n".contains(b))?;
    let (authority, rest) = rest.split_at(end);
    // Without a path it asks about the server as a whole (RFC 9112 section 3.2.4): `*`, which is refused.
    let is_about_server = buffer.starts_with(b"OPTIONS ") && !rest.starts_with(b"/");
    if authority.is_empty() || is_about_server || !host(buffer)?.eq_ignore_ascii_case(authority) {
        return None;
    }
    let mut out = BytesMut::with_capacity(buffer.len());
    out.extend_from_slice(&buffer[..start]);
    if rest.first() != Some(&b'/') {
        out.extend_from_slice(b"/");
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// The value of the first `Host`. Where there is another one, [`super::check`] refuses the head.
fn host(head: &[u8]) -> Option<&[u8]> {
    let fields = head.split(|&b| b == b'\n').skip(1);
    let mut fields = fields.map(<[u8]>::trim_ascii_end).take_while(|line| !line.is_empty());
    fields.find_map(|line| {
        let (name, value) = line.split_at(memchr(b':', line)?);
        name.eq_ignore_ascii_case(b"host").then(|| value[1..].trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(target: &str, host: &str) -> Option<String> {
        let head = format!("GET {target} HTTP/1.1\r\nAccept: */*\r\nHost: {host}\r\n\r\nrest");
        let out = to_origin_form(head.as_bytes())?;
        let text = String::from_utf8(out.to_vec()).unwrap();
        assert!(text.ends_with(&format!("\r\nAccept: */*\r\nHost: {host}\r\n\r\nrest")));
        Some(text.split(' ').nth(1).unwrap().to_owned())
    }

    #[test]
    fn a_target_that_names_the_requests_own_host_is_brought_to_origin_form() {
        for (target, host, origin) in [
            ("http://a.example/v1/x?y=1", "a.example", "/v1/x?y=1"),
            ("HTTPS://A.example:8443/v1", "a.Example:8443", "/v1"),
            ("http://a.example", "a.example", "/"),
            ("http://a.example?y=http://b/", "a.example", "/?y=http://b/"),
            ("http://[::1]:80//x", "[::1]:80", "//x"),
        ] {
            assert_eq!(form(target, host).as_deref(), Some(origin), "{target}");
        }
    }

    #[test]
    fn any_other_stays_as_it_is() {
        for target in [
            "/v1",
            "//a.example/v1",
            "http://b.example/v1",
            "http://u@a.example/v1",
            "http:///v1",
            "http:/a.example/v1",
            "ftp://a.example/v1",
            "a.example:80",
            "*",
            "http://a.example:80/v1",
            "http://a.example.b/v1",
            "http://",
        ] {
            assert_eq!(form(target, "a.example"), None, "{target}");
        }
        assert!(
            to_origin_form(b"GET http://a/ HTTP/1.0\r\n\r\nHost: a\r\n").is_none(),
            "what follows is no field"
        );
        assert!(to_origin_form(b"GEThttp://a/").is_none() && to_origin_form(b"").is_none());
    }
}
