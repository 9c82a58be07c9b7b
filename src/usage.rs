//! Usage: what each key did, counted so that nothing is lost and nothing is counted twice.

pub mod busy;
pub mod callers;
pub mod cell;
pub mod ledger;
mod map;
pub mod predecessor;
pub mod quota;
pub mod slab;
