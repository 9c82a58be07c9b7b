//! Portcullis: an API-key gateway.

pub mod admin;
pub mod admission;
pub mod app;
pub mod clock;
pub mod config;
pub mod document;
pub mod head;
pub mod key;
pub mod limit;
pub mod manage;
pub mod metrics;
pub mod outcome;
pub mod proxy;
pub mod quantity;
pub mod request_id;
pub mod routes;
pub mod snapshot;
pub mod store;
pub mod usage;
