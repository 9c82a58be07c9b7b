//! One page of the file, of which nothing is believed: a leaf with pairs, or a branch with the names of its children.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_128;

use crate::store::backup::Table;

pub(super) const LEAF: u8 = 1;
pub(super) const BRANCH: u8 = 2;

/// A key and its value.
pub(super) type Pair<'a> = (&'a [u8], &'a [u8]);

/// How long keys and values are, where that is fixed.
#[derive(Clone, Copy)]
pub(super) struct Widths(Option<usize>, Option<usize>);

impl Widths {
    /// Of the tree of tables.
    pub(super) const TABLES: Self = Self(None, None);

    pub(super) const fn of(table: Table) -> Self {
        match table {
            Table::Meta | Table::Tokens | Table::Roles | Table::Owners => Self(None, None),
            Table::Keys | Table::Tombstones | Table::Sealed => Self(Some(16), None),
            Table::Replays => Self(Some(32), None),
            Table::ReplayTimes => Self(Some(40), Some(0)),
            Table::Predecessors => Self(Some(8), Some(8)),
            Table::Audit => Self(Some(8), None),
            Table::Routes => Self(None, Some(2)),
            Table::Ledger => Self(Some(27), Some(24)),
            Table::Totals => Self(Some(20), Some(32)),
        }
    }
}

/// Where a tree begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Root {
    pub(super) page: u64,
    pub(super) checksum: u128,
}

impl Root {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self { page: u64_at(bytes, 0)?, checksum: u128_at(bytes, 8)? })
    }
}

/// A page, of which nothing is believed.
pub(super) struct Page<'a> {
    bytes: &'a [u8],
    widths: Widths,
    /// Pairs of a leaf, keys of a branch.
    pub(super) pairs: usize,
}

impl<'a> Page<'a> {
    pub(super) fn new(bytes: &'a [u8], widths: Widths) -> Self {
        let pairs = bytes.get(2..4).map_or(0, |two| usize::from(u16::from_le_bytes([two[0], two[1]])));
        Self { bytes, widths, pairs }
    }

    pub(super) fn is_whole(&self, checksum: u128) -> bool {
        let end = match self.bytes.first() {
            Some(&LEAF) => self.pairs.checked_sub(1).and_then(|last| self.value_end(last)),
            Some(&BRANCH) => self.branch_end(),
            _ => None,
        };
        end.and_then(|end| self.bytes.get(..end)).is_some_and(|checked| xxh3_128(checked) == checksum)
    }

    /// Where a branch's keys end, which is where its checksum does: 24 bytes a child, then the keys.
    fn branch_end(&self) -> Option<usize> {
        let last = self.pairs.checked_sub(1)?;
        let after_children = 8 + 24 * (self.pairs + 1);
        match self.widths.0 {
            Some(width) => Some(after_children + width * self.pairs),
            None => usize::try_from(u32_at(self.bytes, after_children + 4 * last)?).ok(),
        }
    }

    pub(super) fn child(&self, index: usize) -> Option<Root> {
        let checksum = u128_at(self.bytes, 8 + 16 * index)?;
        let page = u64_at(self.bytes, 8 + 16 * (self.pairs + 1) + 8 * index)?;
        Some(Root { page, checksum })
    }

    pub(super) fn pair(&self, index: usize) -> Option<Pair<'a>> {
        let before = index.checked_sub(1);
        let key_start = before.map_or_else(|| Some(self.keys_start()), |before| self.key_end(before))?;
        let values_start = self.key_end(self.pairs.checked_sub(1)?)?;
        let value_start = before.map_or(Some(values_start), |before| self.value_end(before))?;
        let range = |range: Range<usize>| self.bytes.get(range);
        Some((range(key_start..self.key_end(index)?)?, range(value_start..self.value_end(index)?)?))
    }

    fn keys_start(&self) -> usize {
        let Widths(key, value) = self.widths;
        let ends = usize::from(key.is_none()) + usize::from(value.is_none());
        4 + 4 * self.pairs * ends
    }

    fn key_end(&self, index: usize) -> Option<usize> {
        match self.widths.0 {
            Some(width) => Some(self.keys_start() + width * (index + 1)),
            None => usize::try_from(u32_at(self.bytes, 4 + 4 * index)?).ok(),
        }
    }

    fn value_end(&self, index: usize) -> Option<usize> {
        let Widths(key, value) = self.widths;
        if let Some(width) = value {
            return Some(self.key_end(self.pairs.checked_sub(1)?)? + width * (index + 1));
        }
        let ends = if key.is_none() { 4 + 4 * self.pairs } else { 4 };
        usize::try_from(u32_at(self.bytes, ends + 4 * index)?).ok()
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|eight| u64::from_le_bytes(*eight))
}

pub(super) fn u128_at(bytes: &[u8], at: usize) -> Option<u128> {
    bytes.get(at..)?.first_chunk().map(|sixteen| u128::from_le_bytes(*sixteen))
}
