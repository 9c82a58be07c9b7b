//! Another process's usage file: read while that process may still count in it.
//!
//! Nothing in it is written here. It is locked by its process as long as that lives; who gets the lock knows that its
//! counts are final.
//!
//! Deliberately absent: a mapping. The file is another's, who may cut it where it could not grow, and to touch what lies
//! behind its end is the end of the process (SIGBUS); a read there finds nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::Fault;
use super::file::{HEADER_BYTES, inspect, set_aside};
use super::segment::{MAX_SEGMENTS, SEGMENT_CELLS};
use super::{Reading, SlabError};
use crate::usage::cell::{CELL_BYTES, Cell, Found, State};

/// Cells that are read at once.
const READ_CELLS: usize = 1024;

/// The file of a process that ends, or ended.
#[derive(Debug)]
pub struct Foreign {
    file: File,
    path: PathBuf,
    store: u128,
    is_locked: bool,
}

impl Foreign {
    /// Opens the file at `path`; `None` where it is gone by now, or cannot be used: then it is set aside, as the second
    /// value says.
    ///
    /// # Errors
    /// The system's, or what its process is just making of it cannot be used yet: to be tried again.
    pub fn open(path: &Path, store: u128) -> Result<(Option<Self>, Option<Fault>), SlabError> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
            Err(source) => return Err(SlabError::Open { path: path.into(), source }),
        };
        let opened = Self { file, path: path.into(), store, is_locked: false };
        if opened.fault().is_none() {
            return Ok((Some(opened), None));
        }
        if let Err(TryLockError::WouldBlock) = opened.file.try_lock() {
            return Err(SlabError::InUse { path: path.into() });
        }
        match opened.fault() {
            None => Ok((Some(opened), None)),
            Some(fault) => opened.set_aside(fault).map(|_| (None, Some(fault))),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it by now.
    pub fn fault(&self) -> Option<Fault> {
        inspect(&self.file, self.store).err()
    }

    /// Gives it the name of a damaged file.
    ///
    /// # Errors
    /// It keeps its name.
    pub fn set_aside(&self, fault: Fault) -> Result<PathBuf, SlabError> {
        set_aside(&self.path, fault)
    }

    /// Whether nobody counts in it any more: what is read from here on is final.
    pub fn is_final(&mut self) -> bool {
        // A file system without locks never says so; the next start merges the file again, which changes nothing.
        self.is_locked = self.is_locked || self.file.try_lock().is_ok();
        self.is_locked
    }

    /// Every counter in use, as far as the file goes by now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn readings(&self, mut each: impl FnMut(&Reading)) -> io::Result<()> {
        let (mut cells, mut again) = (vec![[0; CELL_BYTES]; READ_CELLS], vec![[0; CELL_BYTES]; READ_CELLS]);
        for first in (0..MAX_SEGMENTS * SEGMENT_CELLS).step_by(READ_CELLS) {
            let whole = self.read(&mut cells, first)?.min(self.read(&mut again, first)?);
            for (number, (cell, again)) in (first..).zip(cells.iter().zip(&again).take(whole)) {
                if let Some(state) = stood(cell, again) {
                    each(&Reading::of(u32::try_from(number).unwrap_or(u32::MAX), &state));
                }
            }
            if whole < READ_CELLS {
                break;
            }
        }
        Ok(())
    }

    /// Reads cells from the one of this number on, and says how many there are.
    fn read(&self, cells: &mut [[u8; CELL_BYTES]], first: usize) -> io::Result<usize> {
        let (bytes, from) = (cells.as_flattened_mut(), HEADER_BYTES + (first * CELL_BYTES) as u64);
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, from + at as u64) {
                Ok(0) => break,
                Ok(read) => at += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(at / CELL_BYTES)
    }
}

/// What a cell counts, of two looks at it. Nobody promises that a look finds a word whole which is changed meanwhile, and
/// a count that is too high would stay; of two the lower one is right. One that is just being claimed, or damaged, counts
/// nothing yet.
fn stood(one: &[u8; CELL_BYTES], other: &[u8; CELL_BYTES]) -> Option<State> {
    // Most are free, which the first word says.
    if one.first_chunk() == Some(&[0; size_of::<u64>()]) {
        return None;
    }
    match (Cell::copied(one).found(), Cell::copied(other).found()) {
        (Found::Used(one), Found::Used(other)) if one.generation == other.generation => {
            Some(State { count: one.count.min(other.count), ..one })
        }
        _ => None,
    }
}
