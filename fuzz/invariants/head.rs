//! Any bytes are refused, or are exactly one request: written again as it would be forwarded and read by another
//! parser, it has the same method, target, host and framing.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use portcullis::head::{self, Framing, Head, MAX_FIELDS, Version};
use portcullis::routes::target::CheckedTarget;

/// Holds the checks of heads to their promise.
pub fn hold(bytes: &[u8]) {
    the_end_is_found_however_the_bytes_come(bytes);
    let bytes = &bytes[head::skip_blank(bytes)..];
    let end = head::find_end(bytes, 0).unwrap_or(bytes.len());
    let origin = head::to_origin_form(&bytes[..end]);
    if let Some(origin) = &origin {
        assert_eq!(head::to_origin_form(origin), None, "origin form is a fixed point");
    }
    let head = origin.as_deref().unwrap_or(&bytes[..end]);
    match head::check(head) {
        Ok(checked) => one_request(head, &checked),
        Err(fault) => assert!(!fault.detail().is_empty()),
    }
    http2_is_no_other_way_in(head);
}

fn the_end_is_found_however_the_bytes_come(bytes: &[u8]) {
    let whole = head::find_end(bytes, 0);
    let cut = bytes.len() / 2;
    assert_eq!(head::find_end(&bytes[..cut], 0).or_else(|| head::find_end(bytes, cut)), whole);
    assert!(whole.is_none_or(|end| bytes[..end].ends_with(b"\n")));
}

/// A request as another parser sees it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    method: String,
    target: Vec<u8>,
    host: Option<Vec<u8>>,
    length: Option<u64>,
    chunked: bool,
    fields: Vec<(String, Vec<u8>)>,
}

fn seen(bytes: &[u8]) -> Seen {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    assert_eq!(request.parse(bytes), Ok(httparse::Status::Complete(bytes.len())), "{}", bytes.escape_ascii());
    let fields: Vec<(String, Vec<u8>)> =
        request.headers.iter().map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec())).collect();
    let all = |name: &str| -> Vec<&[u8]> {
        fields.iter().filter(|(one, _)| one == name).map(|(_, value)| value.as_slice()).collect()
    };
    let (hosts, lengths, codings) = (all("host"), all("content-length"), all("transfer-encoding"));
    assert!(hosts.len() <= 1 && lengths.len() + codings.len() <= 1, "one host, one framing");
    assert!(codings.iter().all(|coding| coding.eq_ignore_ascii_case(b"chunked")));
    let number = |text: &&[u8]| std::str::from_utf8(text).unwrap().parse::<u64>().unwrap();
    Seen {
        method: request.method.unwrap().to_owned(),
        target: request.path.unwrap().as_bytes().to_vec(),
        host: hosts.first().map(|host| host.to_vec()),
        length: lengths.first().map(number),
        chunked: !codings.is_empty(),
        fields,
    }
}

/// Writes a request as it would be forwarded.
fn written(seen: &Seen, version: Version) -> Vec<u8> {
    let version = if version == Version::Http11 { "HTTP/1.1" } else { "HTTP/1.0" };
    let mut out = [seen.method.as_bytes(), b" ", &seen.target, b" ", version.as_bytes(), b"\r\n"].concat();
    for (name, value) in &seen.fields {
        out.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    out.extend(b"\r\n");
    out
}

fn one_request(bytes: &[u8], head: &Head) {
    let first = seen(bytes);
    assert_eq!(first.method, head.method.as_str());
    assert_eq!(first.target, bytes[head.target.clone()]);
    assert_eq!(first.host.as_deref(), head.host.clone().map(|host| &bytes[host]));
    let framing = match head.framing {
        Framing::None => (None, false),
        Framing::ContentLength(length) => (Some(length), false),
        Framing::Chunked => (None, true),
    };
    assert_eq!((first.length, first.chunked), framing);
    assert_eq!(first.fields.len(), head::field_count(bytes));
    assert!(first.target.starts_with(b"/"));
    let again = written(&first, head.version);
    assert_eq!(seen(&again), first, "the same request for the next hop");
    let checked = head::check(&again).unwrap_or_else(|fault| panic!("{fault:?}: {}", again.escape_ascii()));
    assert_eq!((checked.framing, checked.version), (head.framing, head.version));
    one_path(&first.target);
}

/// What is matched is what any server reads, however the path is spelled.
fn one_path(target: &[u8]) {
    let Ok(checked) = CheckedTarget::parse(target) else { return };
    let query = checked.query().map_or(Vec::new(), |query| [b"?", query].concat());
    assert_eq!([checked.path(), &query].concat(), target, "forwarded is what was judged");
    let literal = checked.segments_path();
    assert!(literal.starts_with(b"/"));
    let normal = normal_form(literal);
    let again =
        CheckedTarget::parse(&normal).unwrap_or_else(|fault| panic!("{fault}: {}", normal.escape_ascii()));
    assert_eq!(again.segments_path(), literal);
    assert_eq!(again.readings(), checked.readings());
    assert_eq!(normal_form(again.segments_path()), normal, "the normal form is a fixed point");
}

/// Each byte that is neither a letter nor a digit nor a slash, percent-encoded.
fn normal_form(path: &[u8]) -> Vec<u8> {
    let encoded = |byte: &u8| match byte {
        b'/' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => vec![*byte],
        byte => format!("%{byte:02X}").into_bytes(),
    };
    path.iter().flat_map(encoded).collect()
}

/// What passes as an HTTP/2 request would pass in HTTP/1.1, as which it may be forwarded.
fn http2_is_no_other_way_in(bytes: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(_)) = request.parse(bytes) else { return };
    let (Some(method), Some(target)) = (request.method, request.path) else { return };
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), target.parse::<Uri>()) else { return };
    let mut headers = HeaderMap::new();
    for field in request.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(field.value)) else { return };
        headers.append(name, value);
    }
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let Ok(host) = head::http2::check(&method, &uri, path.as_bytes(), &headers) else { return };
    if headers.len() == MAX_FIELDS {
        return; // There is no place left for the `Host` that comes from `:authority`.
    }
    headers.insert("host", host.clone());
    let mut out = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
    for (name, value) in &headers {
        out.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    out.extend(b"\r\n");
    let checked = head::check(&out).unwrap_or_else(|fault| panic!("{fault:?}: {}", out.escape_ascii()));
    assert_eq!(out[checked.host.unwrap()], *host.as_bytes());
    assert_eq!(out[checked.target], *path.as_bytes());
}
