//! Every record out of the file and into another one, as bytes: for backups.

use std::ops::ControlFlow;

use redb::{Key, ReadTransaction, ReadableTable, TableDefinition, Value, WriteTransaction};

use super::tables::{EachTable, each_table};
use super::{Fault, Outcome};
use crate::store::VisitRecord;
use crate::store::backup::{Record, Table};

/// Shows every record of one moment.
pub(super) fn records(transaction: &ReadTransaction, each: VisitRecord<'_>) -> Outcome<()> {
    each_table(&mut Reading { transaction, each, over: false })
}

struct Reading<'a> {
    transaction: &'a ReadTransaction,
    each: VisitRecord<'a>,
    over: bool,
}

impl EachTable for Reading<'_> {
    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: Table,
        definition: TableDefinition<'static, K, V>,
    ) -> Outcome<()> {
        if self.over {
            return Ok(());
        }
        for row in self.transaction.open_table(definition)?.iter()? {
            let (key, value) = row?;
            let (key, value) = (key.value(), value.value());
            let (key, value) = (K::as_bytes(&key), V::as_bytes(&value));
            let record = Record { table, key: key.as_ref(), value: value.as_ref() };
            if (self.each)(record) == ControlFlow::Break(()) {
                self.over = true;
                break;
            }
        }
        Ok(())
    }
}

/// A record that waits to be written.
pub(super) struct Waiting {
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// Writes records, whatever order they come in.
pub(super) fn write(transaction: &WriteTransaction, records: &[Waiting]) -> Outcome<()> {
    each_table(&mut Writing { transaction, records })
}

struct Writing<'a> {
    transaction: &'a WriteTransaction,
    records: &'a [Waiting],
}

impl EachTable for Writing<'_> {
    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: Table,
        definition: TableDefinition<'static, K, V>,
    ) -> Outcome<()> {
        let mut opened = self.transaction.open_table(definition)?;
        for one in self.records.iter().filter(|one| one.table == table) {
            if !(fits::<K>(&one.key) && fits::<V>(&one.value)) {
                return Err(Fault::Full("a record has bytes that its table cannot hold"));
            }
            opened.insert(K::from_bytes(&one.key), V::from_bytes(&one.value))?;
        }
        Ok(())
    }
}

/// Whether bytes are a value of this type: redb itself would panic on others.
fn fits<T: Value>(bytes: &[u8]) -> bool {
    let is_text = T::type_name().name() == "&str";
    T::fixed_width().is_none_or(|width| width == bytes.len())
        && (!is_text || std::str::from_utf8(bytes).is_ok())
}
