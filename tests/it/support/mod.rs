//! What the tests stand on: a gateway in this process, an upstream that remembers, a raw HTTP client, an admin client.

mod admin;
mod client;
mod gateway;
mod process;
mod raw;
mod upstream;
mod wait;

pub use admin::Admin;
pub use client::Client;
pub use gateway::{Fixture, Gateway, TOKEN, parse_with};
pub use process::{Process, START, Server, config_file, serve};
pub use raw::{Answer, send, send_on};
pub use upstream::{Seen, Upstream};
pub use wait::{Stopwatch, eventually, within};
