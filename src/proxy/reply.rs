//! Denial → HTTP answer: RFC 9457 problem, or the shape that OpenAI's clients expect.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use crate::admission::denial::{Connection, Denial};
use crate::clock::Timestamp;
use crate::config::ErrorFormat;
use crate::limit::Standing;

/// A header field of ours. Pingora keeps the spelling of names, and takes one that is a constant without a copy.
pub type Field = (&'static str, HeaderValue);

/// An answer of the gateway's own, ready to be written on any connection.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The header fields, `Content-Length` included.
    pub headers: Vec<Field>,
    /// The body.
    pub body: Bytes,
    /// What becomes of the connection.
    pub connection: Connection,
}

/// The ID that a log line and an answer share.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The answer to a denied request.
pub fn denied(denial: &Denial, format: ErrorFormat, request_id: &str, standings: &[Standing]) -> Reply {
    let status = denial.status();
    let (content_type, body) = match format {
        ErrorFormat::Problem => ("application/problem+json", problem(denial, request_id)),
        ErrorFormat::OpenAi => ("application/json", openai(denial, request_id)),
    };
    let mut headers = vec![
        ("Content-Type", HeaderValue::from_static(content_type)),
        ("Content-Length", body.len().into()),
        ("Cache-Control", HeaderValue::from_static("no-store")),
    ];
    let mut add = |name: &'static str, value: Option<String>| {
        headers.extend(value.and_then(|text| HeaderValue::try_from(text).ok()).map(|value| (name, value)));
    };
    add("X-Request-Id", Some(request_id.to_owned()));
    add("WWW-Authenticate", denial.challenge());
    add("Retry-After", denial.retry_after().map(|seconds| seconds.to_string()));
    add("Allow", denial.allow());
    headers.extend(limit_headers(standings));
    Reply { status, headers, body: body.into(), connection: denial.connection() }
}

fn problem(denial: &Denial, request_id: &str) -> String {
    let mut body = json!({
        "type": format!("urn:portcullis:problem:{}", denial.outcome().as_str()),
        "title": denial.title(),
        "status": denial.status().as_u16(),
        "detail": denial.detail(),
        "code": denial.outcome().as_str(),
        "request_id": request_id,
    });
    if let Some(hint) = denial.hint() {
        body["hint"] = hint.into();
    }
    body.to_string()
}

fn openai(denial: &Denial, request_id: &str) -> String {
    let kind = match denial.status() {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    };
    let mut error = json!({
        "message": format!("{}: {}", denial.title(), denial.detail()),
        "type": kind,
        "param": null,
        "code": denial.outcome().as_str(),
        "request_id": request_id,
    });
    if let Some(hint) = denial.hint() {
        error["hint"] = hint.into();
    }
    json!({ "error": error }).to_string()
}

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10); none without limits.
pub fn limit_headers(standings: &[Standing]) -> Vec<Field> {
    if standings.is_empty() {
        return Vec::new();
    }
    let (mut policy, mut limit) = (String::with_capacity(64), String::with_capacity(64));
    for (index, standing) in standings.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let Standing { name, quota, window, remaining, reset } = standing;
        let mut digits = [itoa::Buffer::new(), itoa::Buffer::new()];
        let [first, second] = &mut digits;
        for part in [comma, "\"", name, "\";q=", first.format(*quota), ";w=", second.format(*window)] {
            policy.push_str(part);
        }
        for part in [comma, "\"", name, "\";r=", first.format(*remaining), ";t=", second.format(*reset)] {
            limit.push_str(part);
        }
    }
    let value = |text: String| HeaderValue::try_from(text).ok();
    let policy = value(policy).map(|value| ("RateLimit-Policy", value));
    policy.into_iter().chain(value(limit).map(|value| ("RateLimit", value))).collect()
}

/// `Deprecation` (RFC 9745) and `Sunset` (RFC 8594) of a secret that was rotated away `at` this time and works until
/// then.
pub fn retirement_headers(at: Timestamp, until: Timestamp) -> Vec<Field> {
    let value =
        |name: &'static str, text: String| HeaderValue::try_from(text).ok().map(|value| (name, value));
    let deprecation = value("Deprecation", format!("@{}", at.as_secs()));
    deprecation.into_iter().chain(value("Sunset", until.to_http_date())).collect()
}

impl Reply {
    /// The whole answer as HTTP/1.1 bytes, for connections that have no request to answer.
    pub fn to_http1(&self) -> Vec<u8> {
        let reason = self.status.canonical_reason().unwrap_or_default();
        let mut out = format!("HTTP/1.1 {} {reason}\r\n", self.status.as_u16()).into_bytes();
        for (name, value) in &self.headers {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"connection: close\r\n\r\n");
        out.extend_from_slice(&self.body);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::secret::Hint;

    #[test]
    fn a_problem_has_every_member_of_the_contract() {
        let reply = denied(&Denial::InvalidKey(Hint::NotFound), ErrorFormat::Problem, "req-1", &[]);
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        for member in ["type", "title", "status", "detail", "code", "request_id", "hint"] {
            assert!(body.get(member).is_some(), "{member}");
        }
        assert_eq!(body["status"], 401);
        let challenge = reply.headers.iter().find(|(name, _)| *name == "WWW-Authenticate").unwrap();
        assert_eq!(challenge.1, r#"Bearer realm="portcullis", error="invalid_token""#);
    }

    #[test]
    fn several_limits_are_one_list() {
        let standing = |name: &str, remaining| Standing {
            name: name.into(),
            quota: 600,
            window: 60,
            remaining,
            reset: 17,
        };
        let headers = limit_headers(&[standing("minute", 42), standing("burst", 1)]);
        assert_eq!(headers[0].1, r#""minute";q=600;w=60, "burst";q=600;w=60"#);
        assert_eq!(headers[1].1, r#""minute";r=42;t=17, "burst";r=1;t=17"#);
    }
}
