//! What becomes of a request that fails at its upstream: whether it is tried again, what the client is told, and what it
//! says of the target.
//!
//! A request is tried again only where nothing can run twice: where no connection came about, and where a kept
//! connection turned out to be closed before a byte of the answer, if the method is idempotent and all of the body
//! that was sent is still at hand.

use http::StatusCode;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};

use super::context::Context;
use super::upstream::{Line, Unchosen, Upstream};
use super::{BODY_TOO_LARGE, answer, bounds, exchange};
use crate::admission::denial::Denial;

/// Our own error inside Pingora: no target has an address.
const NO_TARGET: ErrorType = ErrorType::new("NoTarget");
/// Our own error inside Pingora: each target's checks fail.
const NONE_HEALTHY: ErrorType = ErrorType::new("NoneHealthy");
/// Targets tried for one request, where nothing was sent yet.
const MAX_TRIES: usize = 3;
/// How Pingora ends its words about an answer of which no byte came.
const NO_BYTE_OF_IT: &str = "bytes already read: 0";

/// Whether a connection had served before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It had, and was kept.
    Reused,
    /// It was made for this request.
    Fresh,
}

/// There is no target for a request.
#[expect(clippy::unnecessary_box_returns, reason = "Pingora's errors are boxed")]
pub fn unchosen(why: Unchosen) -> Box<Error> {
    match why {
        Unchosen::NoAddress => Error::explain(NO_TARGET, "no target has an address"),
        Unchosen::NoneHealthy => Error::explain(NONE_HEALTHY, "no target is healthy"),
    }
}

/// Notes that no connection came about: the target is not tried again for this request.
pub fn note_no_connection(ctx: &mut Context, error: &Error) {
    let Some(chosen) = ctx.chosen.take() else { return };
    if let Some(route) = &ctx.route
        && *error.esource() == ErrorSource::Upstream
    {
        route.upstream.failed(&chosen, ctx.now());
    }
    ctx.failed.push(chosen.address().clone());
}

/// Whether another target may be tried after a connection that did not come about.
pub fn may_try_another(upstream: &Upstream, ctx: &Context) -> bool {
    ctx.failed.len() < MAX_TRIES && upstream.has_other_than(&ctx.failed)
}

/// Decides whether a request that was begun is sent once more, and notes what its failure says of the target.
pub fn decide_retry(session: &Session, error: &mut Error, ctx: &mut Context, line: Kept) {
    let safe = session.req_header().method.is_idempotent()
        && !session.as_ref().retry_buffer_truncated()
        && !ctx.has_upstream_answered()
        && !answer::has_begun(session);
    let closed = line == Kept::Reused && found_closed(error);
    if safe && closed {
        // The others that were kept may be as dead.
        ctx.line_wanted = Line::New;
        error.set_retry(true);
        return;
    }
    error.set_retry(false);
    // A kept connection that was closed says nothing of the target.
    if !closed
        && *error.esource() == ErrorSource::Upstream
        && let (Some(chosen), Some(route)) = (&ctx.chosen, &ctx.route)
    {
        route.upstream.failed(chosen, ctx.now());
    }
}

/// Whether the connection was closed before any byte of the answer.
fn found_closed(error: &Error) -> bool {
    let no_byte = || error.context.as_ref().is_some_and(|said| said.as_str().ends_with(NO_BYTE_OF_IT));
    *error.esource() == ErrorSource::Upstream
        && match error.etype() {
            ErrorType::ConnectionClosed | ErrorType::ReadError => no_byte(),
            ErrorType::WriteError => true,
            _ => false,
        }
}

/// Notes what the answer's head says of the target: a 502 of its own is a failure, and a connection that it upgrades a
/// success. Of anything else the end tells ([`Context::settle`]).
pub fn note_answer(status: StatusCode, ctx: &Context) {
    let (Some(chosen), Some(route)) = (&ctx.chosen, &ctx.route) else { return };
    match status {
        StatusCode::BAD_GATEWAY => route.upstream.failed(chosen, ctx.now()),
        StatusCode::SWITCHING_PROTOCOLS => chosen.serves(),
        _ => {}
    }
}

/// After how many seconds a client may find a target well again.
fn next_look(ctx: &Context) -> u64 {
    let health = ctx.route.as_ref().and_then(|route| route.upstream.config.health.as_ref());
    health.map_or(1, |health| health.interval.as_secs().max(1))
}

/// What a failure inside Pingora is to the client; `None` where there is nobody to answer.
pub fn denial_of(error: &Error, ctx: &Context) -> Option<Denial> {
    use ErrorType as E;
    let most_body = || ctx.route.as_ref().and_then(|route| route.policy.max_body).map_or(0, Into::into);
    match (error.esource(), error.etype()) {
        (_, kind) if *kind == BODY_TOO_LARGE => Some(Denial::BodyTooLarge(most_body())),
        (_, kind) if *kind == bounds::BODY_TOO_SLOW => Some(Denial::BodyTooSlow(ctx.least_rate())),
        (_, kind) if *kind == NO_TARGET => Some(Denial::UpstreamUnreachable),
        (_, kind) if *kind == NONE_HEALTHY => Some(Denial::NoHealthyUpstream(next_look(ctx))),
        (ErrorSource::Upstream, kind) => Some(match kind {
            E::ConnectTimedout | E::TLSHandshakeTimedout | E::ReadTimedout | E::WriteTimedout => {
                Denial::UpstreamTimeout
            }
            E::ConnectRefused
            | E::ConnectNoRoute
            | E::ConnectError
            | E::BindError
            | E::SocketError
            | E::TLSHandshakeFailure
            | E::TLSWantX509Lookup
            | E::HandshakeError
            | E::InvalidCert
            | E::ConnectProxyFailure => Denial::UpstreamUnreachable,
            _ => Denial::UpstreamFailed,
        }),
        // A client that cannot be read from has left, unless what it sent is no body.
        (ErrorSource::Downstream, E::ReadError) => {
            exchange::fault().map(|fault| Denial::BadRequest(fault.detail().into()))
        }
        (ErrorSource::Downstream, E::WriteError | E::ConnectionClosed | E::WriteTimedout | E::H2Error) => {
            None
        }
        (ErrorSource::Downstream, E::ReadTimedout) => Some(Denial::BodyTimeout),
        (ErrorSource::Downstream, _) => {
            Some(Denial::BadRequest("The request's headers or body are not well-formed HTTP.".into()))
        }
        (ErrorSource::Internal | ErrorSource::Unset, _) => Some(Denial::InternalError),
    }
}
