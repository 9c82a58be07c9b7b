//! What goes on between the gateway and the client of a connection, for the connection's two ends to agree on: who serves
//! it ([`super::connection`]) and who writes to it ([`super::client`]) know of each other by their task alone, since
//! Pingora is between them.

use std::cell::Cell;
use std::time::Duration;

use crate::head::{Body, BodyFault};
use crate::metrics::bounds::Bound;

tokio::task_local! {
    static EXCHANGE: Exchange;
}

/// What goes on between the gateway and the client that a task serves.
struct Exchange {
    /// What is yet to come of the running request's body; `None` where any byte may come: between two requests, and
    /// where an upgrade was asked for.
    body: Cell<Option<Body>>,
    /// Set once the body is not well-formed.
    fault: Cell<Option<BodyFault>>,
    /// How long the client may take nothing, and what bound that is.
    patience: Cell<(Duration, Bound)>,
    /// Set once it has taken nothing for that long.
    struck: Cell<Option<Bound>>,
}

/// Serves a client that may take nothing for `patience`; the bound that struck, if one did.
pub(super) async fn attended(patience: Duration, work: impl Future<Output = ()>) -> Option<Bound> {
    let patience = Cell::new((patience, Bound::IdleTimeout));
    let exchange =
        Exchange { body: Cell::default(), fault: Cell::default(), patience, struck: Cell::default() };
    let work = async {
        work.await;
        EXCHANGE.with(|exchange| exchange.struck.get())
    };
    EXCHANGE.scope(exchange, work).await
}

/// Notes that a request is served of whose body this is yet to come, and how long its client may take nothing.
pub(super) fn serves(body: Option<Body>, patience: Duration) {
    // Outside of a connection's task there is nobody to note it for.
    let _ = EXCHANGE.try_with(|exchange| {
        exchange.body.set(body);
        exchange.fault.set(None);
        exchange.patience.set((patience, Bound::IdleTimeout));
    });
}

/// Notes that the client has a tunnel, on which it may take nothing for as long as that may be silent.
pub(super) fn tunnels(patience: Duration) {
    let _ = EXCHANGE.try_with(|exchange| exchange.patience.set((patience, Bound::WebsocketIdle)));
}

/// Notes that the request is over: what comes is the next one.
pub(super) fn rests() {
    let _ = EXCHANGE.try_with(|exchange| exchange.body.set(None));
}

/// Whether all of the running request has come.
pub(super) fn is_whole() -> bool {
    EXCHANGE.try_with(|exchange| exchange.body.get().is_some_and(Body::is_over)).unwrap_or(false)
}

/// How many of these bytes are of the running request; `None` where they are of no well-formed one.
pub(super) fn takes(bytes: &[u8]) -> Option<usize> {
    let take = |exchange: &Exchange| {
        let Some(mut body) = exchange.body.get() else { return Some(bytes.len()) };
        let taken = body.take(bytes);
        exchange.body.set(Some(body));
        taken.map_err(|fault| exchange.fault.set(Some(fault))).ok()
    };
    EXCHANGE.try_with(take).unwrap_or(Some(bytes.len()))
}

/// What is wrong with the running request's body, as far as it has come.
pub(super) fn fault() -> Option<BodyFault> {
    EXCHANGE.try_with(|exchange| exchange.fault.get()).ok().flatten()
}

/// How long the client may take nothing; `None` where nobody said.
pub(super) fn patience() -> Option<Duration> {
    EXCHANGE.try_with(|exchange| exchange.patience.get().0).ok()
}

/// Notes that the client has taken nothing for as long as it may.
pub(super) fn strikes() {
    let _ = EXCHANGE.try_with(|exchange| exchange.struck.set(Some(exchange.patience.get().1)));
}
