//! Another process's usage file: read while that process may still count in it.
//!
//! Nothing in it is written here. It is locked by its process as long as that lives; who gets the lock knows that its
//! counts are final.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::error::Fault;
use super::file::{inspect, length, set_aside};
use super::segment::{SEGMENT_CELLS, number};
use super::{Reading, SlabError};
use crate::usage::cell::Found;
use crate::usage::map::Mapping;

/// The file of a process that ends, or ended.
#[derive(Debug)]
pub struct Foreign {
    file: File,
    path: PathBuf,
    store: u128,
    maps: Vec<Mapping>,
    is_locked: bool,
}

impl Foreign {
    /// Opens the file at `path`; `None` where it is gone by now, or cannot be used: then it is set aside, as the second
    /// value says.
    ///
    /// # Errors
    /// The system's, or what its process is just making of it cannot be used yet: to be tried again.
    pub fn open(path: &Path, store: u128) -> Result<(Option<Self>, Option<Fault>), SlabError> {
        let unopened = |source| SlabError::Open { path: path.into(), source };
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
            Err(error) => return Err(unopened(error)),
        };
        let mut opened = Self { file, path: path.into(), store, maps: Vec::new(), is_locked: false };
        if opened.look().map_err(unopened)?.is_ok() {
            return Ok((Some(opened), None));
        }
        if let Err(TryLockError::WouldBlock) = opened.file.try_lock() {
            return Err(SlabError::InUse { path: path.into() });
        }
        match opened.look().map_err(unopened)? {
            Ok(()) => Ok((Some(opened), None)),
            Err(fault) => set_aside(path, fault).map(|_| (None, Some(fault))),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nobody counts in it any more: what is read from here on is final.
    pub fn is_final(&mut self) -> bool {
        // A file system without locks never says so; the next start merges the file again, which changes nothing.
        self.is_locked = self.is_locked || self.file.try_lock().is_ok();
        self.is_locked
    }

    /// Every counter in use, with those that its process made since the last look.
    ///
    /// # Errors
    /// What it has grown by cannot be mapped.
    pub fn readings(&mut self, mut each: impl FnMut(&Reading)) -> io::Result<()> {
        // A header that is just being written is read the next time.
        let _ = self.look()?;
        for (position, map) in self.maps.iter().enumerate() {
            for (slot, cell) in map.cells().iter().enumerate() {
                // One that is just being claimed, or damaged, counts nothing yet.
                if let Found::Used(state) = cell.found() {
                    each(&Reading::of(number(position, slot), &state));
                }
            }
        }
        Ok(())
    }

    /// Maps what the file has by now.
    fn look(&mut self) -> io::Result<Result<(), Fault>> {
        let segments = match inspect(&self.file, self.store) {
            Ok(segments) => segments,
            Err(fault) => return Ok(Err(fault)),
        };
        while self.maps.len() < segments {
            self.maps.push(Mapping::of_file(&self.file, length(self.maps.len()), SEGMENT_CELLS)?);
        }
        Ok(Ok(()))
    }
}
