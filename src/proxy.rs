//! The gateway on Pingora: each hook does one step and leaves the decision to `admission`.
//!
//! A request's way: `incoming` reads and checks its head, for [`connection`] to serve; `request_filter` finds its route
//! and has it judged; `upstream_peer` chooses a target, which needs the [`Passage`] that only a judgement gives;
//! `upstream_request_filter` rewrites it; the response filters add what the client is told; and the
//! [`context::Context`] settles when it ends.

pub mod addresses;
mod admit;
mod answer;
pub mod bounds;
pub mod client;
pub mod connection;
pub mod context;
mod cors;
mod exchange;
mod failure;
pub mod forward;
pub mod grpc;
pub mod http2;
mod incoming;
pub mod listener;
mod outgoing;
mod pace;
mod panics;
pub mod places;
mod preamble;
pub mod reply;
pub mod request;
pub mod routing;
pub mod socket;
mod stranger;
mod trace;
pub mod upstream;

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use crate::admission::denial::Denial;
use crate::admission::{Judge, Moment, Passage, Refusal};
use crate::clock::Clock;
use crate::config::{ErrorFormat, Protocol};
use crate::limit::Standing;
use crate::lines::Lines;
use crate::metrics::{Metrics, RouteMetrics};
use crate::outcome::Outcome;
use crate::routes::target::CheckedTarget;
use crate::usage::callers::Callers;
use crate::usage::ledger::Ledger;
use answer::{ends_with_head, write_reply};
use context::Context;
use forward::{Origin, Trust};
use reply::Reply;
use routing::Routing;
use upstream::Traffic;

/// What every request shares.
#[derive(Debug)]
pub struct Gateway {
    /// The routes in force.
    pub routing: ArcSwap<Routing>,
    /// Who decides.
    pub judge: Judge,
    /// Its connections, and whom each serves.
    pub lines: Arc<Lines>,
    /// Who uses keys that are being rotated.
    pub callers: Arc<Callers>,
    /// Where keyed requests are counted.
    pub ledger: Arc<Ledger>,
    /// Where all requests are counted.
    pub metrics: Arc<Metrics>,
    /// The counters of requests that no route took.
    pub no_route: Arc<RouteMetrics>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Gateway {
    /// The answer to a denied request, which is counted before its client can see it.
    fn refusal(
        &self,
        head: &RequestHeader,
        ctx: &mut Context,
        denial: &Denial,
        standings: &[Standing],
    ) -> Reply {
        bounds::count(&self.metrics, denial);
        let format = ctx.route.as_ref().map_or(ErrorFormat::Problem, |route| route.error_format);
        let mut reply = reply::denied(denial, format, &ctx.request_id, standings);
        reply.headers.extend(ctx.retirement_headers());
        reply.headers.extend(cors::fields_of(&head.headers, ctx));
        let reply = grpc::readable(reply, denial, &head.headers, head.version);
        ctx.ends(denial.outcome(), reply.status);
        ctx.settle();
        reply
    }
}

/// Our own error inside Pingora: the body grew over its limit while it was forwarded.
const BODY_TOO_LARGE: ErrorType = ErrorType::new("BodyTooLarge");

/// The Pingora application.
#[derive(Debug, Clone)]
pub struct KeyedProxy(pub Arc<Gateway>);

impl KeyedProxy {
    /// Finds the request's route and has it judged.
    fn judge(&self, session: &Session, ctx: &mut Context) -> std::result::Result<Passage, Refusal> {
        let head = session.req_header();
        let bad = |detail: &'static str| Denial::BadRequest(detail.into());
        let target = CheckedTarget::parse(head.raw_path()).map_err(|fault| bad(fault.detail()))?;
        ctx.note_path(target.path());
        let routing = self.0.routing.load();
        let found = routing.find(&head.headers, &target, &head.method, request::peer(session))?;
        ctx.note_route(&found);
        let now = Moment { wall: ctx.received, monotonic: ctx.started() };
        self.0.judge.admit(&found.asked(&head.headers, &target), now)
    }

    /// Answers a denied request.
    async fn deny(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        denial: &Denial,
        standings: &[Standing],
    ) -> Result<()> {
        let reply = self.0.refusal(session.req_header(), ctx, denial, standings);
        write_reply(session, reply).await
    }

    /// Whether the request is a gRPC call, to where calls are served.
    fn is_call(session: &Session, ctx: &Context) -> bool {
        let upstream = ctx.route.as_ref().map(|route| route.upstream.config.protocol);
        upstream == Some(Protocol::Http2) && grpc::is_call(&session.req_header().headers)
    }
}

#[async_trait]
impl ProxyHttp for KeyedProxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(Arc::clone(&self.0))
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        request::decline(session);
        ctx.begins(session.req_header(), request::scheme(session));
        if let Some(reply) = self.preflight(session, ctx) {
            ctx.ends(Outcome::Allowed, reply.status);
            ctx.settle();
            write_reply(session, reply).await?;
            return Ok(true);
        }
        match self.admit(session, ctx) {
            Ok(passage) => {
                session.set_read_timeout(Some(ctx.body.silence));
                if Self::is_call(session, ctx) {
                    // Its caller sends when it has something to say.
                    pace::is_free();
                }
                if let Passage::Keyed(permit) = &passage {
                    ctx.found = Some(permit.found().clone());
                }
                ctx.passage = Some(passage);
                Ok(false)
            }
            Err(refusal) => {
                ctx.found = refusal.found;
                self.deny(session, ctx, &refusal.denial, &refusal.standings).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        // Nothing is forwarded without a passage, which only the judge gives.
        let (Some(_), Some(route)) = (&ctx.passage, &ctx.route) else {
            return Error::e_explain(ErrorType::InternalError, "no passage");
        };
        let traffic =
            if request::is_websocket(session.req_header()) { Traffic::Upgrade } else { Traffic::Plain };
        let chosen = route.upstream.choose(traffic, ctx.line_wanted, &ctx.failed);
        let (chosen, peer) = chosen.map_err(failure::unchosen)?;
        ctx.chosen = Some(chosen);
        // A further try sends the body from its beginning.
        ctx.body_bytes = 0;
        ctx.upstream_begins();
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let (Some(passage), Some(route)) = (&ctx.passage, &ctx.route) else {
            return Error::e_explain(ErrorType::InternalError, "no passage");
        };
        pace::begins();
        let peer = request::peer(session);
        let trusted = request::is_trusted(peer.to_canonical(), &route.trusted_proxies);
        let trust = if trusted { Trust::Proxy } else { Trust::Client };
        let origin = Origin { peer, trust, scheme: request::scheme(session) };
        forward::rewrite(request, route, passage, origin, &ctx.request_id)?;
        if route.upstream.config.protocol == Protocol::Http2 && request.headers.contains_key(header::EXPECT) {
            // Pingora passes no interim answer on from there, so the client that waits for it hears it from us.
            request.remove_header(&header::EXPECT);
            session.downstream_session.write_continue_response().await.map_err(Error::into_down)?;
        }
        ctx.forward_trace(request)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        if session.was_upgraded() {
            // What goes through a tunnel is no body.
            return Ok(());
        }
        ctx.body_bytes += body.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let most = ctx.route.as_ref().and_then(|route| route.policy.max_body);
        if most.is_some_and(|most| ctx.body_bytes > most.get()) {
            // None of it that is over reaches the upstream, and the upstream's connection is cut.
            *body = None;
            return Err(Error::create(BODY_TOO_LARGE, ErrorSource::Downstream, None, None));
        }
        pace::passes();
        if end_of_stream {
            pace::is_free();
            // The end alone. Pingora would write an empty chunk for it, and then the end's own (RFC 9112 section 7.1).
            *body = body.take().filter(|bytes| !bytes.is_empty());
        }
        ctx.body.check(ctx.body_bytes)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        ctx.upstream_answers();
        if answer::is_interim(response.status) {
            return forward::clean_answer(response);
        }
        pace::is_free();
        if response.status == StatusCode::SWITCHING_PROTOCOLS
            && !(request::is_websocket(session.req_header()) && request::names_websocket(&response.headers))
        {
            // Nobody asked for it, and what follows would be nobody's answer.
            return Err(Error::create(ErrorType::InvalidHTTPHeader, ErrorSource::Upstream, None, None));
        }
        if let (StatusCode::SWITCHING_PROTOCOLS, Some(route)) = (response.status, &ctx.route) {
            session.set_read_timeout(Some(route.upstream.config.websocket_idle));
            exchange::tunnels(route.upstream.config.websocket_idle);
        }
        ctx.try_answers(response.status);
        forward::clean_answer(response)?;
        cors::apply(session, response, ctx)?;
        let chunked = response.headers.contains_key(header::TRANSFER_ENCODING);
        if chunked && session.req_header().version == Version::HTTP_10 {
            // It knows no chunks (RFC 9112 section 6.1): its answer ends where the connection does.
            response.remove_header(&header::TRANSFER_ENCODING);
            session.set_keepalive(None);
        }
        failure::note_answer(response.status, ctx);
        ctx.status = Some(response.status);
        response.insert_header("X-Request-Id", ctx.request_id.as_str())?;
        if let Some(Passage::Keyed(permit)) = &ctx.passage {
            let limits = reply::limit_headers(permit.standings());
            for (name, value) in limits.into_iter().chain(ctx.retirement_headers()) {
                response.insert_header(name, value)?;
            }
        }
        if ends_with_head(session, response) {
            ctx.settle();
        } else if !response.headers.contains_key(header::CONTENT_LENGTH) {
            ctx.streams();
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<Option<std::time::Duration>> {
        if end_of_stream {
            ctx.settle();
        }
        Ok(None)
    }

    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        _trailers: &mut HeaderMap,
        ctx: &mut Context,
    ) -> Result<Option<Bytes>> {
        ctx.settle();
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        ctx.try_ends(Some(error.etype().as_str()));
        failure::note_no_connection(ctx, &error);
        let another = ctx.route.as_ref().is_some_and(|route| failure::may_try_another(&route.upstream, ctx));
        // Nothing was sent, so another target may be tried: it cannot run twice.
        error.set_retry(another);
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        client_reused: bool,
    ) -> Box<Error> {
        let line = if client_reused { failure::Kept::Reused } else { failure::Kept::Fresh };
        ctx.try_ends(Some(error.etype().as_str()));
        failure::decide_retry(session, &mut error, ctx, line);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        let idle = bounds::of_silence(session, error);
        if let Some(bound) = idle {
            self.0.metrics.bounds.hit(bound);
        }
        let denial = if idle.is_some() { None } else { failure::denial_of(error, ctx) };
        if let (Some(denial), Some(route)) = (&denial, &ctx.route)
            && denial.status().is_server_error()
        {
            self.0.metrics.upstream_error(&route.upstream.name, denial.outcome());
            tracing::warn!(
                request_id = ctx.request_id,
                trace_id = ctx.trace(),
                upstream = route.upstream.name,
                code = denial.outcome().as_str(),
                cause = error.etype().as_str(),
                "request failed at the upstream"
            );
        }
        session.set_keepalive(None);
        let mut error_code = 0;
        match denial {
            // An answer has begun: it can only be cut off, which the client sees as cut off.
            Some(denial) if answer::has_begun(session) => ctx.breaks(denial.outcome()),
            Some(denial) => {
                error_code = denial.status().as_u16();
                let standings = match &ctx.passage {
                    Some(Passage::Keyed(permit)) => permit.standings().to_vec(),
                    _ => Vec::new(),
                };
                // The client may be gone, and then there is nobody to tell.
                let _ = self.deny(session, ctx, &denial, &standings).await;
            }
            None => {}
        }
        // Before the connection is closed: whoever sees its end finds the request counted.
        ctx.settle();
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    /// Pingora's own error lines are not written: they may quote a request. `fail_to_proxy` writes ours.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, _error: &Error) -> bool {
        true
    }

    fn request_summary(&self, _session: &Session, ctx: &Context) -> String {
        ctx.request_id.clone()
    }
}
