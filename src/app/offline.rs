//! The store without a gateway: for imports and repairs while nothing serves.

use std::sync::Arc;

use super::Core;
use crate::clock::SystemClock;
use crate::config::Config;

/// Opens what the configuration's store holds, with nothing serving from it.
///
/// # Errors
/// The store is in use by a gateway, damaged, or not to be had.
pub fn open(config: &Config) -> anyhow::Result<Core> {
    Core::open(config, Arc::new(SystemClock::new()))
}
