//! A stream's request: checked, brought into the form that an HTTP/1.1 request has, or answered.

use std::net::SocketAddr;

use http::header::{COOKIE, HOST};
use http::{HeaderValue, Method, Uri, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::v2::server::HttpSession;
use tokio::time::timeout;

use crate::admission::denial::Denial;
use crate::head::{HeadFault, http2};
use crate::proxy::connection::{Connections, LINGER, LINGER_BYTES};
use crate::proxy::grpc;
use crate::proxy::reply::Reply;

/// Checks a request. From here on it has a target in origin-form and a `Host`, as if it had come in HTTP/1.1: one form
/// to judge, and to forward.
pub fn normalize(head: &mut RequestHeader, max_fields: usize) -> Result<(), HeadFault> {
    let host = http2::check(&head.method, &head.uri, head.raw_path(), &head.headers)?;
    if head.headers.len() > max_fields {
        return Err(HeadFault::TooManyFields);
    }
    let path = head.uri.path_and_query().cloned().ok_or(HeadFault::TargetForm)?;
    head.set_uri(Uri::from(path));
    // A name that is a constant, and a value that was one: neither can fail.
    let _ = head.insert_header(HOST, host);
    join_cookies(head);
    Ok(())
}

/// Clients may send their cookies in pieces, which are one field elsewhere (RFC 9113 section 8.2.3).
fn join_cookies(head: &mut RequestHeader) {
    let pieces: Vec<&[u8]> = head.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if pieces.len() < 2 {
        return;
    }
    if let Ok(joined) = HeaderValue::from_bytes(&pieces.join(b"; ".as_slice())) {
        let _ = head.insert_header(COOKIE, joined);
    }
}

/// Answers what is not one clear request, and counts it.
pub async fn refuse(connections: &Connections, mut session: HttpSession, peer: SocketAddr, denial: &Denial) {
    let headers = &session.req_header().headers;
    let reply =
        connections.refusal(peer, denial, |reply| grpc::readable(reply, denial, headers, Version::HTTP_2));
    // A client that is gone misses nothing.
    if write(&mut session, reply).await.is_ok() {
        linger(&mut session).await;
    }
}

async fn write(session: &mut HttpSession, reply: Reply) -> pingora::Result<()> {
    let mut head = ResponseHeader::build(reply.status, Some(reply.headers.len()))?;
    for (name, value) in reply.headers {
        head.append_header(name, value)?;
    }
    let no_body = session.req_header().method == Method::HEAD || reply.body.is_empty();
    session.write_response_header(Box::new(head), no_body)?;
    if no_body { Ok(()) } else { session.write_body(reply.body, true).await }
}

/// Reads what the client still sends, for a while: some lose the answer when their stream is reset under them.
async fn linger(session: &mut HttpSession) {
    let drain = async {
        let mut left = LINGER_BYTES;
        while let Ok(Some(bytes)) = session.read_body_bytes().await {
            left = left.saturating_sub(bytes.len());
            if left == 0 {
                break;
            }
        }
    };
    // Whoever sends on after this does not wait for an answer.
    let _ = timeout(LINGER, drain).await;
}
