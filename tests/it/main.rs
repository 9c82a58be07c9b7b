//! Portcullis from outside: the real `app::build`, real sockets, real store files.

#![allow(clippy::unwrap_used, reason = "a test that fails must fail loudly")]
#![allow(clippy::fn_params_excessive_bools, reason = "what has no body is one yes or no")]
#![allow(clippy::format_collect, reason = "a test's text is short and is to be read")]

mod support;

mod admin_keys;
mod answers;
mod anything;
mod architecture;
mod audit;
mod backup;
mod bounds;
mod check;
mod command_line;
mod cors;
mod credentials;
mod cut;
mod faults;
mod forwarding;
mod fuzz_corpora;
mod groups;
mod grpc;
mod hardening;
mod health;
mod http2;
mod idempotency;
mod import;
mod import_from;
mod kill;
mod life;
mod limits;
mod metrics;
mod model;
mod names;
mod notify;
mod openapi;
mod operations;
mod peers;
mod permissions;
mod private;
mod recoverable;
mod reload;
mod retries;
mod rotation;
mod sampling;
mod schema;
mod smoke;
mod sockets;
mod storm;
mod strangers;
mod streaming;
mod targets;
mod tls;
mod tokens;
mod traces;
mod upgrade;
mod upstream_tls;
mod usage;
