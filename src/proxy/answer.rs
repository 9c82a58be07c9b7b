//! Writing answers of our own to a client, so that it gets to see them.

use http::{Method, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error, Result};
use tokio::time::timeout;

use super::connection::{LINGER, LINGER_BYTES};
use super::grpc;
use super::reply::Reply;
use crate::admission::denial::Connection;

/// `Date` and `Connection`: with room for them the head does not have to grow.
const ADDED_BY_PINGORA: usize = 2;

/// Writes an answer of our own.
pub(super) async fn write_reply(session: &mut Session, reply: Reply) -> Result<()> {
    let mut head = ResponseHeader::build(reply.status, Some(reply.headers.len() + ADDED_BY_PINGORA))?;
    for (name, value) in reply.headers {
        head.append_header(name, value)?;
    }
    if reply.connection == Connection::Close {
        session.set_keepalive(None);
    }
    let no_body = reply.body.is_empty() || session.req_header().method == Method::HEAD;
    match &mut *session.downstream_session {
        // The head itself must say that it is all: gRPC clients take an end that comes after it for another thing.
        ServerSession::H2(stream) if no_body => stream.write_response_header(Box::new(head), true)?,
        _ => of_client(session.write_response_header(Box::new(head), no_body).await)?,
    }
    if !no_body {
        of_client(session.write_response_body(Some(reply.body), true).await)?;
    }
    linger(session).await;
    Ok(())
}

/// Marks a failure as the client's: Pingora leaves open whose it is.
fn of_client<T>(written: Result<T>) -> Result<T> {
    written.map_err(Error::into_down)
}

/// Reads the body that a refused client still sends, for a while, so that the client gets to see the answer. One that
/// asked first (RFC 9110 section 10.1.1) sends none, unless it was told to.
async fn linger(session: &mut Session) {
    let asked = session.req_header().headers.contains_key(header::EXPECT);
    if session.is_body_done() || (asked && session.body_bytes_read() == 0) {
        return;
    }
    let drain = async {
        let mut left = LINGER_BYTES;
        while let Ok(Some(bytes)) = session.downstream_session.read_request_body().await {
            left = left.saturating_sub(bytes.len());
            if left == 0 {
                break;
            }
        }
    };
    // Whoever sends on after this does not wait for an answer.
    let _ = timeout(LINGER, drain).await;
}

/// Whether another answer follows one with this status (RFC 9110 section 15.2).
pub(super) fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Whether the client has the head of its answer. An interim one is none.
pub(super) fn has_begun(session: &Session) -> bool {
    session.response_written().is_some_and(|head| !is_interim(head.status))
}

/// Whether the answer with this head has no body, so that no body filter will see its end.
pub(super) fn ends_with_head(session: &Session, head: &ResponseHeader) -> bool {
    // A call that is over with its head (gRPC's "Trailers-Only").
    let no_more = || head.headers.contains_key(grpc::STATUS);
    let empty = || head.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0");
    session.req_header().method == Method::HEAD
        || matches!(head.status.as_u16(), 204 | 304)
        || empty()
        || no_more()
}
