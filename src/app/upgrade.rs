//! A new process takes over from one that runs, under load: no connection is refused and no request lost.
//!
//! The two speak over a Unix socket beside the store ([`protocol`]). The old one hands over its listening sockets
//! ([`offer`]), then the store, and goes on serving from memory until the new one says that it serves; a new one that
//! fails before that changes nothing. From then on the old one only finishes what it has: it accepts no more, answers
//! one more request on each connection that is kept, counts in its own usage file, which the new one merges
//! (`usage::predecessor`), and applies each admin change that the new one tells it of, before that change's caller has
//! the answer ([`relay`]).

mod offer;
mod protocol;
mod relay;
mod sockets;
mod successor;
mod take;

pub(super) use offer::{Offer, State};
pub(super) use relay::Followers;
pub(super) use sockets::{Given, Owner, Sockets};
pub use successor::Started;
pub use take::Origin;

use std::path::{Path, PathBuf};

/// What the control socket is called beside the store.
const SOCKET_SUFFIX: &str = "upgrade.sock";

/// Why such a process does not hand over.
const WHY_NOT_INIT: &str =
    "it is process 1 of its container, which ends with it; restart the container instead";

/// Whether everything else ends with this process, the one that takes over too.
fn is_init() -> bool {
    std::process::id() == 1
}

/// Where the process that has this store is asked to hand over.
pub(super) fn control_socket(store: &Path) -> PathBuf {
    store.with_extension(SOCKET_SUFFIX)
}
