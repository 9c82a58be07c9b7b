//! What the tests stand on: a gateway in this process, an upstream that remembers, a raw HTTP client, an admin client.

mod admin;
mod gateway;
mod raw;
mod upstream;

pub use admin::Admin;
pub use gateway::{Fixture, Gateway, TOKEN};
pub use raw::{Answer, send, send_on};
pub use upstream::{Seen, Upstream};
