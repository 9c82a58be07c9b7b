//! What goes on between the gateway and the client of a connection, for the connection's two ends to agree on: who serves
//! it ([`super::connection`]) and who writes to it ([`super::client`]) know of each other by their task alone, since
//! Pingora is between them.

use std::cell::Cell;
use std::time::Duration;

use crate::head::Framing;
use crate::metrics::bounds::Bound;

tokio::task_local! {
    static EXCHANGE: Exchange;
}

/// What goes on between the gateway and the client that a task serves.
struct Exchange {
    /// How the body of the request that runs is framed: without one, a read of one byte takes nothing.
    framing: Cell<Option<Framing>>,
    /// How long the client may take nothing, and what bound that is.
    patience: Cell<(Duration, Bound)>,
    /// Set once it has taken nothing for that long.
    struck: Cell<Option<Bound>>,
}

/// Serves a client that may take nothing for `patience`; the bound that struck, if one did.
pub(super) async fn attended(patience: Duration, work: impl Future<Output = ()>) -> Option<Bound> {
    let patience = Cell::new((patience, Bound::IdleTimeout));
    let exchange = Exchange { framing: Cell::default(), patience, struck: Cell::default() };
    let work = async {
        work.await;
        EXCHANGE.with(|exchange| exchange.struck.get())
    };
    EXCHANGE.scope(exchange, work).await
}

/// Notes that a request comes whose body is framed so, and how long its client may take nothing.
pub(super) fn serves(framing: Framing, patience: Duration) {
    // Outside of a connection's task there is nobody to note it for.
    let _ = EXCHANGE.try_with(|exchange| {
        exchange.framing.set(Some(framing));
        exchange.patience.set((patience, Bound::IdleTimeout));
    });
}

/// Notes that the client has a tunnel, on which it may take nothing for as long as that may be silent.
pub(super) fn tunnels(patience: Duration) {
    let _ = EXCHANGE.try_with(|exchange| exchange.patience.set((patience, Bound::WebsocketIdle)));
}

/// Whether the request that runs has no body.
pub(super) fn is_bodiless() -> bool {
    EXCHANGE.try_with(|exchange| exchange.framing.get() == Some(Framing::None)).unwrap_or(false)
}

/// How long the client may take nothing; `None` where nobody said.
pub(super) fn patience() -> Option<Duration> {
    EXCHANGE.try_with(|exchange| exchange.patience.get().0).ok()
}

/// Notes that the client has taken nothing for as long as it may.
pub(super) fn strikes() {
    let _ = EXCHANGE.try_with(|exchange| exchange.struck.set(Some(exchange.patience.get().1)));
}
