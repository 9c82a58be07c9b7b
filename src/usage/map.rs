//! Cells in mapped memory: the only file of the usage counters with `unsafe` in it.
//!
//! Deliberately absent: any read or write of the bytes but through the atomics of [`Cell`].

#![expect(unsafe_code, reason = "a mapping is raw memory; what it is used as is argued here, once")]

use std::fs::File;
use std::io;

use memmap2::{MmapMut, MmapOptions, MmapRaw};

use super::cell::{CELL_BYTES, Cell};

/// A run of cells in memory that is shared with a file, or with nothing.
///
/// It never moves while it lives, and nobody may shorten a file below what is mapped of it: that is a SIGBUS at the
/// next touch. The file is locked and of mode 0600 for that reason.
#[derive(Debug)]
pub(in crate::usage) struct Mapping {
    memory: MmapRaw,
    cells: usize,
}

impl Mapping {
    /// Maps `cells` cells of `file` from byte `offset` on. The blocks must be reserved.
    pub fn of_file(file: &File, offset: u64, cells: usize) -> io::Result<Self> {
        Self::of_memory(MmapOptions::new().offset(offset).len(cells * CELL_BYTES).map_raw(file)?, cells)
    }

    /// `cells` cells, all free, that end with the process.
    pub fn anonymous(cells: usize) -> io::Result<Self> {
        Self::of_memory(MmapMut::map_anon(cells * CELL_BYTES)?.into(), cells)
    }

    fn of_memory(memory: MmapRaw, cells: usize) -> io::Result<Self> {
        let aligned = memory.as_mut_ptr().cast::<u8>().addr().is_multiple_of(align_of::<Cell>());
        if aligned && memory.len() >= cells * CELL_BYTES {
            Ok(Self { memory, cells })
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    /// The cells.
    pub fn cells(&self) -> &[Cell] {
        #[expect(clippy::cast_ptr_alignment, reason = "`of_memory` refuses memory that is not aligned")]
        let first = self.memory.as_mut_ptr().cast::<Cell>().cast_const();
        // SAFETY: `of_memory` checked that `cells` whole cells lie from `first` on and that it is aligned for them.
        // The memory stays mapped, where it is, as long as `self.memory` lives, which the returned borrow makes sure
        // of. Every bit pattern is a valid `Cell`, being eight `AtomicU64`, and no reference to these bytes is ever
        // made but as a shared one to such atomics: so writes by other threads (or through another mapping of the
        // file) are never a data race.
        unsafe { std::slice::from_raw_parts(first, self.cells) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::cell::Found;

    #[test]
    fn anonymous_cells_are_free_and_may_be_touched_to_the_last() {
        let mapping = Mapping::anonymous(100).unwrap();
        assert_eq!(mapping.cells().len(), 100);
        for cell in mapping.cells() {
            assert_eq!(cell.found(), Found::Free);
            cell.discard();
        }
    }

    #[test]
    fn memory_at_an_odd_address_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        assert!(Mapping::of_file(&file, 64, 64).is_ok());
        assert!(Mapping::of_file(&file, 8, 64).is_err());
    }
}
