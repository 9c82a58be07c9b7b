//! The tables of the file, and what each holds.

use redb::{Key, TableDefinition, Value};

use super::Outcome;
use crate::store::backup::Table;
use crate::store::sealed::ReplayId;
use crate::store::usage_tables::{RowKey, RowValue, TotalsKey, TotalsValue};

/// Facts about the store itself, by name.
pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
/// Key records, by the key ID's 128 bits: by creation.
pub(super) const KEYS: TableDefinition<'static, u128, &[u8]> = TableDefinition::new("keys");
/// What is left of deleted keys.
pub(super) const TOMBSTONES: TableDefinition<'static, u128, &[u8]> = TableDefinition::new("tombstones");
/// Admin tokens, by ID.
pub(super) const TOKENS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("admin_tokens");
/// Roles, by name.
pub(super) const ROLES: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("roles");
/// Owners that were recorded, by name.
pub(super) const OWNERS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("owners");
/// The audit log, by sequence number.
pub(super) const AUDIT: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("audit");
/// Route numbers, by name.
pub(super) const ROUTES: TableDefinition<'static, &str, u16> = TableDefinition::new("routes");
/// The ledger: one row for each key, hour, route, outcome and secret version.
pub(super) const LEDGER: TableDefinition<'static, RowKey, RowValue> = TableDefinition::new("ledger");
/// Sums of the ledger by key and secret version, kept in the transaction that changes the ledger.
pub(super) const TOTALS: TableDefinition<'static, TotalsKey, TotalsValue> =
    TableDefinition::new("usage_totals");
/// What was merged of counter generations of other processes, where the ledger's row names another generation.
pub(super) const PREDECESSORS: TableDefinition<'static, u64, u64> = TableDefinition::new("predecessors");
/// Answers kept for repeated calls, by what finds them.
pub(super) const REPLAYS: TableDefinition<'_, ReplayId, &[u8]> = TableDefinition::new("replays");
/// The same by time, then what finds them: the oldest are forgotten first.
pub(super) const REPLAY_TIMES: TableDefinition<'_, (u64, ReplayId), ()> =
    TableDefinition::new("replay_times");
/// Sealed secrets, by the key ID's 128 bits.
pub(super) const SEALED: TableDefinition<'static, u128, &[u8]> = TableDefinition::new("sealed_secrets");

/// In `meta`: the store's format, a number.
pub(super) const FORMAT: &str = "format";
/// In `meta`: the store's own ID, 16 bytes.
pub(super) const STORE_ID: &str = "store_id";
/// In `meta`: how often the store was opened, a number.
pub(super) const OPENINGS: &str = "openings";
/// In `meta`: the newest revision, a number.
pub(super) const REVISION: &str = "revision";
/// In `meta`: a hash that shows whether the pepper is the one that the secrets were hashed with.
pub(super) const PEPPER_CHECK: &str = "pepper_check";
/// In `meta`: what a right master key opens.
pub(super) const MASTER_CHECK: &str = "master_check";

/// What is done with each table, whatever its types.
pub(super) trait EachTable {
    /// Does it with one.
    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: Table,
        definition: TableDefinition<'static, K, V>,
    ) -> Outcome<()>;
}

/// Goes through every table that is backed up: what is not here is in no backup.
pub(super) fn each_table(run: &mut impl EachTable) -> Outcome<()> {
    run.table(Table::Meta, META)?;
    run.table(Table::Keys, KEYS)?;
    run.table(Table::Tombstones, TOMBSTONES)?;
    run.table(Table::Tokens, TOKENS)?;
    run.table(Table::Roles, ROLES)?;
    run.table(Table::Owners, OWNERS)?;
    run.table(Table::Audit, AUDIT)?;
    run.table(Table::Routes, ROUTES)?;
    run.table(Table::Ledger, LEDGER)?;
    run.table(Table::Totals, TOTALS)?;
    run.table(Table::Sealed, SEALED)
}
