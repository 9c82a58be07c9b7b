//! What the tests stand on: a gateway in this process, an upstream that remembers, a raw HTTP client, an admin client.

mod admin;
mod client;
#[cfg(feature = "otlp")]
mod collector;
mod crowd;
mod dns;
mod gateway;
mod grpc;
mod h2;
mod manager;
mod process;
mod raw;
mod script;
mod tls;
mod upstream;
mod wait;
mod wire;

pub use admin::{Admin, PERMISSIONS};
pub use client::Client;
#[cfg(feature = "otlp")]
pub use collector::{Collector, Mood, Told};
pub use crowd::{Crowd, rounds};
pub use dns::{Known, NameServer};
pub use gateway::{Fixture, Gateway, TOKEN, parse_with};
pub use grpc::GrpcUpstream;
pub use h2::{Frames, H2, H2Answer, block, frame, whole};
pub use manager::Manager;
pub use process::{Process, START, Server, config_file, serve};
pub use raw::{Answer, read_answer, send};
pub use script::{DeadPort, Script, SilentPort, head_of};
pub use tls::{Authority, Secured, get as get_secured, handshake, handshake_after};
pub use upstream::{Seen, Upstream};
pub use wait::{Stopwatch, eventually, within};
pub use wire::{Wire, get, post};
