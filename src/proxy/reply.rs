//! Denial → HTTP answer: RFC 9457 problem, or the shape that OpenAI's clients expect.

use std::fmt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::protocols::http::date::get_cached_date;
use serde::Serialize;

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

/// What the body of most denials fits into, and the head.
const USUAL_BYTES: usize = 384;

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

/// RFC 9457's members, and ours: `code`, `request_id` and perhaps a `hint`.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: fmt::Arguments<'a>,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

/// What a client of OpenAI's looks for, with our `request_id` and perhaps a `hint`.
#[derive(Serialize)]
struct OpenAiError<'a> {
    message: fmt::Arguments<'a>,
    r#type: &'a str,
    param: (),
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

#[derive(Serialize)]
struct OpenAi<'a> {
    error: OpenAiError<'a>,
}

fn problem(denial: &Denial, request_id: &str) -> Vec<u8> {
    let code = denial.outcome().as_str();
    json(&Problem {
        r#type: format_args!("urn:portcullis:problem:{code}"),
        title: denial.title(),
        status: denial.status().as_u16(),
        detail: &denial.detail(),
        code,
        request_id,
        hint: denial.hint().as_deref(),
    })
}

fn openai(denial: &Denial, request_id: &str) -> Vec<u8> {
    let kind = match denial.status() {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    };
    json(&OpenAi {
        error: OpenAiError {
            message: format_args!("{}: {}", denial.title(), denial.detail()),
            r#type: kind,
            param: (),
            code: denial.outcome().as_str(),
            request_id,
            hint: denial.hint().as_deref(),
        },
    })
}

/// Writes a body straight to its bytes: a flood of refusals is when this has to be cheap.
fn json(body: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_BYTES);
    // Text and numbers can always be written, and a vector takes them.
    let _ = serde_json::to_writer(&mut out, body);
    out
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
    /// The whole answer as HTTP/1.1 bytes, for what Pingora has no part in.
    pub fn to_http1(&self) -> Vec<u8> {
        let connection = match self.connection {
            Connection::Keep => "keep-alive",
            Connection::Close => "close",
        };
        let date = get_cached_date();
        let ours = [("Date", &date), ("Connection", &HeaderValue::from_static(connection))];
        let mut out = Vec::with_capacity(USUAL_BYTES + self.body.len());
        let reason = self.status.canonical_reason().unwrap_or_default();
        for part in ["HTTP/1.1 ", self.status.as_str(), " ", reason, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        for (name, value) in self.headers.iter().map(|(name, value)| (*name, value)).chain(ours) {
            for part in [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
        out.extend_from_slice(b"\r\n");
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
