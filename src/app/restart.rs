//! Which settings of a file are those of the start for as long as the process runs.

use std::net::SocketAddr;

use crate::config::{Config, Gateway, Preamble, TlsListener};

/// The settings in which `file` differs from what the gateway was started with, and which only a restart changes.
pub(super) fn needed(started: &Config, file: &Config) -> Vec<&'static str> {
    let mut needed = of_gateway(&started.gateway, &file.gateway);
    let tables = [
        ("admin", started.admin != file.admin),
        ("store", started.store != file.store),
        ("keys.prefix", started.keys.prefix != file.keys.prefix),
        ("keys.rotate_after", started.keys.rotate_after != file.keys.rotate_after),
        ("keys.pepper_env", started.keys.pepper != file.keys.pepper),
        ("keys.recoverable", started.keys.master_key != file.keys.master_key),
        ("metrics", started.metrics != file.metrics),
        ("log.format", started.log.format != file.log.format),
    ];
    needed.extend(tables.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name));
    needed
}

/// Where TLS is listened for, and how; the certificates themselves are reloaded.
fn places(listeners: &[TlsListener]) -> Vec<(SocketAddr, Preamble)> {
    listeners.iter().map(|one| (one.listen, one.preamble)).collect()
}

fn of_gateway(started: &Gateway, file: &Gateway) -> Vec<&'static str> {
    // Each field is named, so that a new one has its place on one side or the other.
    let Gateway {
        listen,
        tls,
        threads,
        core_dumps,
        http2: _,
        trusted_proxies: _,
        max_request_header: _,
        max_request_body: _,
        header_timeout: _,
        idle_timeout: _,
        max_connections: _,
        bounds: _,
        shutdown_grace: _,
    } = file;
    let settings = [
        ("gateway.listen", started.listen != *listen),
        ("gateway.tls", places(&started.tls) != places(tls)),
        ("gateway.threads", started.threads != *threads),
        ("gateway.core_dumps", started.core_dumps != *core_dumps),
    ];
    settings.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
