//! Which settings of a file are those of the start for as long as the process runs.

use crate::config::{Config, Gateway};

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

fn of_gateway(started: &Gateway, file: &Gateway) -> Vec<&'static str> {
    let settings = [
        ("gateway.listen", started.listen != file.listen),
        ("gateway.threads", started.threads != file.threads),
        ("gateway.max_request_header", started.max_request_header != file.max_request_header),
        ("gateway.header_timeout", started.header_timeout != file.header_timeout),
        ("gateway.idle_timeout", started.idle_timeout != file.idle_timeout),
        ("gateway.max_connections", started.max_connections != file.max_connections),
        ("gateway.shutdown_grace", started.shutdown_grace != file.shutdown_grace),
    ];
    let differs: Vec<_> =
        settings.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
    // What a reload does put in force: the rest must be as it was, or be named at least by its table.
    let reloaded = Gateway {
        trusted_proxies: started.trusted_proxies.clone(),
        max_request_body: started.max_request_body,
        ..file.clone()
    };
    if differs.is_empty() && reloaded != *started { vec!["gateway"] } else { differs }
}
