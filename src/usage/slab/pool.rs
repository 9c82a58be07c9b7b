//! Which cells are free, and where more come from.
//!
//! Free cells of the file are given out first. Where it has none and cannot grow (a full disk), cells of plain memory
//! are: their counts end with the process unless they are merged before. As soon as the file can grow again it is used
//! again, and the cells of memory empty out as they are recycled.
//!
//! Locks are taken in this order, each or none: an index shard, the growth lock, the free list. Only the growth lock
//! is held while the disk is waited for; requests that need no new cell take none of them.

use std::io;

use parking_lot::Mutex;

use super::file::UsageFile;
use super::segment::{Backing, MAX_SEGMENTS, SEGMENT_CELLS, Segment, Segments, Spot};
use crate::usage::cell::is_generation;
use crate::usage::map::Mapping;

/// How many segments may be of memory alone: 256 MiB, 4 Mi cells.
const MAX_MEMORY_SEGMENTS: usize = 64;

/// With fewer free cells than this the file grows ahead of need.
const FEW: usize = SEGMENT_CELLS / 8;

/// How safe the counts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Cells in use whose counts are in memory alone: they are lost with the process if they are not merged before.
    pub memory_only: usize,
    /// Why the file did not grow when it should have, until it does.
    pub refused: Option<io::ErrorKind>,
}

#[derive(Debug)]
pub(super) struct Pool {
    free: Mutex<Free>,
    /// Held while the file grows, so that one thread grows it and the others find what it made.
    pub(super) growth: Mutex<UsageFile>,
    /// [`MAX_SEGMENTS`], but for tests.
    pub(super) max_segments: usize,
}

#[derive(Debug)]
struct Free {
    file: Vec<u32>,
    memory: Vec<u32>,
    memory_segments: usize,
    refused: Option<io::ErrorKind>,
    /// The last generation given out.
    generation: u64,
}

impl Free {
    fn list(&mut self, backing: Backing) -> &mut Vec<u32> {
        match backing {
            Backing::File => &mut self.file,
            Backing::Memory => &mut self.memory,
        }
    }
}

impl Pool {
    /// A pool over `file`, whose free cells are `free`. Generations go on from `generation`.
    pub fn new(file: UsageFile, free: Vec<u32>, generation: u64) -> Self {
        let free = Free { file: free, memory: Vec::new(), memory_segments: 0, refused: None, generation };
        Self { free: Mutex::new(free), growth: Mutex::new(file), max_segments: MAX_SEGMENTS }
    }

    /// A generation that no cell had before. `None` after 2^40 of them in one epoch and all epochs after it.
    pub fn next_generation(&self) -> Option<u64> {
        let mut free = self.free.lock();
        let next = free.generation.checked_add(1)?;
        free.generation = if is_generation(next) { next } else { next.checked_add(1)? };
        Some(free.generation)
    }

    /// Takes a free cell. `None` where there is none and none can be made.
    pub fn take(&self, segments: &Segments) -> Option<u32> {
        if let Some(number) = self.pop(Backing::File) {
            return Some(number);
        }
        let mut file = self.growth.lock();
        // Another thread may have grown the file while this one waited.
        if let Some(number) = self.pop(Backing::File) {
            return Some(number);
        }
        // A file that could not grow is tried again by `grow_ahead`, and here only where the memory is used up too:
        // not once a claim.
        let (refused, memory_left) = {
            let free = self.free.lock();
            (free.refused.is_some(), !free.memory.is_empty())
        };
        if !(refused && memory_left) {
            self.grow_file(&mut file, segments);
            if let Some(number) = self.pop(Backing::File) {
                return Some(number);
            }
        }
        if !memory_left {
            self.grow_memory(segments);
        }
        self.pop(Backing::Memory)
    }

    /// Gives back a cell that was freed.
    pub fn give_back(&self, number: u32, spot: &Spot<'_>) {
        self.free.lock().list(spot.backing()).push(number);
    }

    /// Grows the file where few free cells are left in it: so that no request has to wait for the disk.
    pub fn grow_ahead(&self, segments: &Segments) {
        if self.free.lock().file.len() < FEW {
            let mut file = self.growth.lock();
            if self.free.lock().file.len() < FEW {
                self.grow_file(&mut file, segments);
            }
        }
    }

    /// How many cells are free.
    pub fn free_cells(&self) -> usize {
        let free = self.free.lock();
        free.file.len() + free.memory.len()
    }

    /// How safe the counts are.
    pub fn health(&self) -> Health {
        let free = self.free.lock();
        let memory_cells = free.memory_segments * SEGMENT_CELLS;
        Health { memory_only: memory_cells.saturating_sub(free.memory.len()), refused: free.refused }
    }

    fn pop(&self, backing: Backing) -> Option<u32> {
        self.free.lock().list(backing).pop()
    }

    fn grow_file(&self, file: &mut UsageFile, segments: &Segments) {
        if segments.len() >= self.max_segments {
            return;
        }
        match file.grow() {
            Ok(map) => {
                self.add(segments, map, Backing::File);
                self.free.lock().refused = None;
            }
            Err(error) => self.free.lock().refused = Some(error.kind()),
        }
    }

    /// The caller holds the growth lock.
    fn grow_memory(&self, segments: &Segments) {
        let full = self.free.lock().memory_segments >= MAX_MEMORY_SEGMENTS;
        if full || segments.len() >= self.max_segments {
            return;
        }
        if let Ok(map) = Mapping::anonymous(SEGMENT_CELLS) {
            self.add(segments, map, Backing::Memory);
            self.free.lock().memory_segments += 1;
        }
    }

    fn add(&self, segments: &Segments, map: Mapping, backing: Backing) {
        if let Some(numbers) = segments.push(Segment::new(map, backing)) {
            // The lowest last, to be taken first: cells in use stay close together.
            self.free.lock().list(backing).extend(numbers.rev());
        }
    }
}
