//! Portcullis: an API-key gateway.

pub mod clock;
pub mod config;
pub mod document;
pub mod key;
