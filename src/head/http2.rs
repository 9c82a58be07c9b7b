//! The same judgement for an HTTP/2 request, whose parts come apart already: what is forwarded as HTTP/1.1 must be as
//! clear as what came as HTTP/1.1 (RFC 9113 section 10.3).

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Uri};

use super::fields::{self, Fields};
use super::{HeadFault, MAX_TARGET_BYTES, Version, is_target, known_method};

/// Fields that speak of an HTTP/1.1 connection (RFC 9113 section 8.2.2).
const CONNECTION_SPECIFIC: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// Judges a request. What is good has one host: `:authority`, or `Host` where that is left out. It is returned as the
/// value of `Host`.
pub fn check(
    method: &Method,
    uri: &Uri,
    target: &[u8],
    headers: &HeaderMap,
) -> Result<HeaderValue, HeadFault> {
    known_method(method.as_str().as_bytes()).ok_or(HeadFault::Method)?;
    let is_known = |scheme: &str| ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    if uri.scheme_str().is_some_and(|scheme| !is_known(scheme)) {
        return Err(HeadFault::Scheme);
    }
    match target {
        [b'/', ..] if target.len() > MAX_TARGET_BYTES => return Err(HeadFault::TargetTooLong),
        [b'/', ..] if is_target(target) => {}
        [b'/', ..] => return Err(HeadFault::TargetByte),
        _ => return Err(HeadFault::TargetForm),
    }
    let mut fields = Fields::default();
    for (name, value) in headers {
        if CONNECTION_SPECIFIC.contains(&name.as_str()) {
            return Err(HeadFault::ConnectionSpecific);
        }
        fields.take_apart(name.as_str().as_bytes(), value.as_bytes())?;
    }
    let host = headers.get(HOST);
    let host = match uri.authority() {
        Some(authority) if host.is_some_and(|host| host.as_bytes() != authority.as_str().as_bytes()) => {
            return Err(HeadFault::TwoHosts);
        }
        Some(authority) => HeaderValue::from_str(authority.as_str()).map_err(|_| HeadFault::HostForm)?,
        None => host.cloned().ok_or(HeadFault::HostMissing)?,
    };
    if !fields::is_host_and_port(host.as_bytes()) {
        return Err(HeadFault::HostForm);
    }
    fields.framing(Version::Http11)?;
    Ok(host)
}
