//! Portcullis from outside: the real `app::build`, real sockets, real store files.

#![allow(clippy::unwrap_used, reason = "a test that fails must fail loudly")]
#![allow(clippy::format_collect, reason = "a test's text is short and is to be read")]

mod support;

mod admin_keys;
mod architecture;
mod audit;
mod check;
mod groups;
mod import;
mod kill;
mod life;
mod metrics;
mod operations;
mod smoke;
mod tokens;
mod usage;
