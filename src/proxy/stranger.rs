//! Refuses a stranger where its request was read.
//!
//! A request without a key needs little of what Pingora does for one that is forwarded. So on a connection that has shown
//! no key yet, it is answered here, for half the cost: a flood of guesses takes less from those who have keys. The rules
//! and the answer are those of every refusal; what asks for more than an answer is left to Pingora.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{CONNECTION, EXPECT, UPGRADE};
use http::{HeaderName, HeaderValue, Method};
use pingora::http::RequestHeader;
use pingora::protocols::Stream;
use tokio::io::AsyncWriteExt;

use super::connection::Connections;
use super::context::Context;
use super::reply::Reply;
use crate::head::{Framing, MAX_FIELDS};
use crate::routes::target::CheckedTarget;

/// How a connection is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acquaintance {
    /// It has shown no key, nor asked for what needs none.
    Stranger,
    /// It has.
    Known,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reception {
    /// It has a key, or needs none.
    Welcome,
    /// Pingora is to look at it: it asks for more than an answer.
    Unclear,
    /// It was answered, and the connection may bring another.
    TurnedAway,
    /// Its client is gone.
    Gone,
}

impl Connections {
    /// Answers the request with this head where it has no key, and its route wants one.
    pub(super) async fn receive(
        &self,
        stream: &mut Stream,
        head: &[u8],
        framing: Framing,
        peer: SocketAddr,
    ) -> Reception {
        let scheme = if stream.get_ssl_digest().is_some() { "https" } else { "http" };
        let read = if framing == Framing::None { plain(head) } else { None };
        let judged = read.ok_or(Reception::Unclear);
        let reply = match judged.and_then(|(head, target)| self.refusal_of(&head, target, peer, scheme)) {
            Ok(reply) => reply.to_http1(),
            Err(reception) => return reception,
        };
        if stream.write_all(&reply).await.is_ok() && stream.flush().await.is_ok() {
            Reception::TurnedAway
        } else {
            Reception::Gone
        }
    }

    /// The refusal of a request that has no key, which is counted then.
    ///
    /// # Errors
    /// How it is received, as it is not refused here.
    fn refusal_of(
        &self,
        head: &RequestHeader,
        target: &[u8],
        peer: SocketAddr,
        scheme: &'static str,
    ) -> Result<Reply, Reception> {
        let gateway = &self.gateway;
        let target = CheckedTarget::parse(target).map_err(|_| Reception::Unclear)?;
        let found = gateway.routing.load().find(&head.headers, &target, &head.method, peer.ip());
        let found = found.map_err(|_| Reception::Unclear)?;
        let denial =
            gateway.judge.stranger(&found.asked(&head.headers, &target)).ok_or(Reception::Welcome)?;
        let mut ctx = Context::new(Arc::clone(gateway));
        ctx.begins(head, scheme);
        ctx.note_path(target.path());
        ctx.note_route(&found);
        Ok(gateway.refusal(head, &mut ctx, &denial, &[]))
    }
}

/// The request and its target, where nothing in it asks for more than an answer with a body.
fn plain(head: &[u8]) -> Option<(RequestHeader, &[u8])> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut read = httparse::Request::new(&mut []);
    let whole = read.parse_with_uninit_headers(head, &mut fields).ok()?.is_complete();
    let method = Method::from_bytes(read.method?.as_bytes()).ok()?;
    if !whole || read.version != Some(1) || matches!(method, Method::HEAD | Method::OPTIONS) {
        return None;
    }
    let target = read.path?;
    let mut request = http::Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().ok()?;
    request.headers_mut().reserve(read.headers.len());
    for field in &*read.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let keeps = name == CONNECTION && field.value.eq_ignore_ascii_case(b"keep-alive");
        if [CONNECTION, EXPECT, UPGRADE].contains(&name) && !keeps {
            return None;
        }
        request.headers_mut().append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some((request.into_parts().0.into(), target.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_for_more_than_an_answer_is_left_to_pingora() {
        let is_plain = |head: &str| plain(head.as_bytes()).is_some();
        let with = |line: &str, fields: &str| format!("{line}\r\nhost: a\r\n{fields}\r\n");
        assert!(is_plain(&with("GET /v1/x?a=%20&b=` HTTP/1.1", "")));
        assert!(is_plain(&with("DELETE //x HTTP/1.1", "authorization: Bearer \u{e9}\r\n")));
        for line in ["HEAD / HTTP/1.1", "OPTIONS / HTTP/1.1", "GET / HTTP/1.0"] {
            assert!(!is_plain(&with(line, "")), "{line}");
        }
        assert!(is_plain(&with("GET / HTTP/1.1", "Connection: Keep-Alive\r\n")));
        for field in
            ["connection: close", "connection: keep-alive, x", "Expect: 100-continue", "UPGRADE: websocket"]
        {
            assert!(!is_plain(&with("GET / HTTP/1.1", &format!("{field}\r\n"))), "{field}");
        }
    }

    #[test]
    fn the_head_is_read_as_it_stands() {
        let head = b"GET /a?b=%63 HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nx-two:  2 \r\n\r\n";
        let (read, target) = plain(head).unwrap();
        assert_eq!(
            (read.method.as_str(), target, read.raw_path()),
            ("GET", &b"/a?b=%63"[..], &b"/a?b=%63"[..])
        );
        let two: Vec<&[u8]> = read.headers.get_all("x-two").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(two, [b"1", b"2"]);
    }
}
