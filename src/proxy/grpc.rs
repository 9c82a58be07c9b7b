//! gRPC clients: they read what went wrong in `grpc-status` and `grpc-message`, and nothing of an HTTP status or a body.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};

use super::forward::header_text;
use super::reply::Reply;
use crate::admission::denial::Denial;

/// Where an answer says how a call ended. In an answer's head it says that there is no more of it ("Trailers-Only").
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What the content types of calls start with: `application/grpc`, `application/grpc+proto`, `application/grpc-web`.
const CONTENT: &[u8] = b"application/grpc";
const WEB_CONTENT: &[u8] = b"application/grpc-web";

/// How a call ends that was not made. The numbers are gRPC's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    /// What an HTTP status is to a gRPC client.
    fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST => Self::InvalidArgument,
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::PermissionDenied,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Self::Unimplemented,
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::ResourceExhausted,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Self::DeadlineExceeded,
            _ => Self::Internal,
        }
    }
}

/// The content type that a call's answer has; `None` where the request is no call.
fn answer_type(headers: &HeaderMap) -> Option<&'static str> {
    let content = headers.get(CONTENT_TYPE)?.as_bytes();
    let starts =
        |with: &[u8]| content.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    match (starts(WEB_CONTENT), starts(CONTENT)) {
        (true, _) => Some("application/grpc-web"),
        (false, true) => Some("application/grpc"),
        (false, false) => None,
    }
}

/// Whether a request is a call.
pub fn is_call(headers: &HeaderMap) -> bool {
    answer_type(headers).is_some()
}

/// A refusal in the form that the request's client reads: as it is, or, for a gRPC call, 200 with a status and a message
/// and no body. What else its head says stays, such as `Retry-After`.
pub fn readable(mut reply: Reply, denial: &Denial, request: &HeaderMap, version: Version) -> Reply {
    let Some(content_type) = answer_type(request) else { return reply };
    let replaced = |name: &str| {
        name.eq_ignore_ascii_case(CONTENT_TYPE.as_str()) || name.eq_ignore_ascii_case(CONTENT_LENGTH.as_str())
    };
    reply.headers.retain(|(name, _)| !replaced(name));
    let message = format!("{}: {}", denial.title(), denial.detail());
    reply.headers.extend([
        ("Content-Type", HeaderValue::from_static(content_type)),
        ("grpc-status", HeaderValue::from(Code::of(denial.status()) as u16)),
        ("grpc-message", header_text(&message)),
    ]);
    if version != Version::HTTP_2 {
        reply.headers.push(("Content-Length", HeaderValue::from_static("0")));
    }
    reply.status = StatusCode::OK;
    reply.body.clear();
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ErrorFormat;
    use crate::key::secret::Hint;
    use crate::proxy::reply::denied;

    fn answer(content_type: &'static str, denial: &Denial) -> Reply {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        let reply = denied(denial, ErrorFormat::Problem, "id", &[]);
        readable(reply, denial, &headers, Version::HTTP_2)
    }

    fn field(reply: &Reply, wanted: &str) -> Option<String> {
        let found = reply.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        Some(found.1.to_str().unwrap().to_owned())
    }

    #[test]
    fn each_status_has_the_code_that_its_clients_understand() {
        let cases = [
            (Denial::InvalidKey(Hint::NotFound), "16"),
            (Denial::EnvironmentNotAllowed("live".into()), "7"),
            (Denial::TooManyConcurrent(1), "8"),
            (Denial::UpstreamFailed, "14"),
            (Denial::NoHealthyUpstream(5), "14"),
            (Denial::UpstreamTimeout, "4"),
            (Denial::NoRoute, "12"),
            (Denial::MethodNotAllowed(vec![]), "12"),
            (Denial::BadRequest("x".into()), "3"),
            (Denial::BodyTooLarge(1), "8"),
            (Denial::HeaderTooLarge(1), "8"),
            (Denial::RequestTimeout, "4"),
            (Denial::InternalError, "13"),
        ];
        for (denial, code) in cases {
            let reply = answer("application/grpc+proto", &denial);
            assert_eq!(reply.status, StatusCode::OK);
            assert!(reply.body.is_empty() && field(&reply, "content-length").is_none());
            assert_eq!(field(&reply, "grpc-status").as_deref(), Some(code), "{denial:?}");
        }
    }

    #[test]
    fn the_message_is_the_problems_text_and_what_is_no_call_keeps_its_form() {
        let denial = Denial::BadRequest("50% of ü".into());
        let reply = answer("Application/gRPC", &denial);
        let message = field(&reply, "grpc-message");
        assert_eq!(message.as_deref(), Some("The request is malformed: 50%25 of %C3%BC"));
        assert_eq!(field(&reply, "content-type").as_deref(), Some("application/grpc"));
        let limited = answer("application/grpc", &Denial::TooManyConcurrent(1));
        assert_eq!(field(&limited, "retry-after").as_deref(), Some("1"));
        for other in ["application/json", "application/grp", "text/application/grpc"] {
            assert_eq!(answer(other, &denial).status, StatusCode::BAD_REQUEST, "{other}");
        }
    }
}
