//! Processes that counted before this one, and may still: each left its usage file under a number beside ours.
//!
//! A process that hands its store to a new one goes on counting in its own file until its last request has ended. The
//! new one merges that file each second, and once more when its owner is gone; then the file goes. A process that died
//! in between left such a file too, so the next start loses nothing. Counts are absolute, and what is merged of each
//! counter stands in the store, so merging again is harmless.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::ledger::{counted, still_open};
use super::quota;
use super::slab::{self, Foreign, Reading, Slab};
use crate::clock::Timestamp;
use crate::store::{Added, Counted, StoreError};

/// The highest number of a file.
const MAX_NUMBER: u32 = 1 << 24;
/// Files that are looked at, at most.
const MAX_FILES: usize = 1024;

/// The files of processes before this one.
#[derive(Debug)]
pub struct Predecessors {
    /// This process's own file.
    path: PathBuf,
    store: u128,
    list: Vec<Predecessor>,
    /// What could not be opened, and is tried again.
    waiting: Vec<PathBuf>,
}

#[derive(Debug)]
struct Predecessor {
    file: Foreign,
    /// What was merged of each generation by this process.
    merged: HashMap<u64, u64>,
    /// What this process's quotas have of each generation; `None` before they have anything.
    taken: Option<HashMap<u64, u64>>,
    /// Whether its process had ended before all of it was looked at the last time: then nothing is missed.
    has_ended: bool,
}

impl Predecessors {
    /// Those that lie beside the usage file at `path`, for the store of this ID.
    pub fn beside(path: &Path, store: u128) -> Self {
        let mut found = Self { path: path.into(), store, list: Vec::new(), waiting: Vec::new() };
        found.find();
        found
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.waiting.is_empty()
    }

    /// Tries again what could not be opened.
    pub(super) fn try_again(&mut self, slab: &Slab, now: Timestamp) {
        if !self.waiting.is_empty() {
            self.find();
            self.inherit_quotas(slab, now);
        }
    }

    /// Looks for files that are not known yet.
    pub fn find(&mut self) {
        let waited = std::mem::take(&mut self.waiting);
        let found = match listed(&self.path) {
            Ok(found) => found,
            Err(error) => return self.wait_for(slab::folder_of(&self.path).to_owned(), &error, &waited),
        };
        for path in found.into_iter().take(MAX_FILES) {
            if self.list.iter().any(|known| known.file.path() == path) {
                continue;
            }
            match Foreign::open(&path, self.store) {
                Ok((Some(file), _)) => {
                    self.list.push(Predecessor {
                        file,
                        merged: HashMap::new(),
                        taken: None,
                        has_ended: false,
                    });
                }
                Ok((None, Some(fault))) => {
                    let path = path.display();
                    tracing::error!(%path, %fault, "an earlier process's usage file was damaged and is set aside");
                }
                Ok((None, None)) => {}
                Err(error) => self.wait_for(path, &error, &waited),
            }
        }
    }

    /// Not known to be gone, so nothing of it may be forgotten. Said once.
    fn wait_for(&mut self, path: PathBuf, error: &dyn std::error::Error, waited: &[PathBuf]) {
        if !waited.contains(&path) {
            tracing::warn!(path = %path.display(), %error, "an earlier process's usage file is tried again");
        }
        self.waiting.push(path);
    }

    /// Raises each quota's counter in `slab` to what any that was just found has charged: the newest began with what
    /// those before it had.
    pub(super) fn inherit_quotas(&mut self, slab: &Slab, now: Timestamp) {
        for Predecessor { file, taken, .. } in self.list.iter_mut().filter(|one| one.taken.is_none()) {
            let taken = taken.insert(HashMap::new());
            quotas(file, now, |reading| {
                if let Some(index) = slab.find_or_claim(&reading.key, now) {
                    // A counter that is taken away in between is of a window that is over.
                    let _ = slab.seed(index, &reading.key, reading.count);
                }
                taken.insert(reading.generation, reading.count);
            });
        }
    }

    /// Takes into `slab` what they have charged to quotas since the last time. To be followed by [`Self::merge`].
    pub(super) fn take_quotas(&mut self, slab: &Slab, now: Timestamp) {
        for Predecessor { file, taken, has_ended, .. } in &mut self.list {
            // Asked before it is read, for this and for the merge: what comes after the last look is never missed.
            *has_ended = file.is_final();
            let Some(taken) = taken else { continue };
            *has_ended &= quotas(file, now, |reading| {
                let before = taken.insert(reading.generation, reading.count).unwrap_or(0);
                // Counts have 48 bits.
                let by = reading.count.cast_signed().wrapping_sub(before.cast_signed());
                if by != 0
                    && let Some(index) = slab.find_or_claim(&reading.key, now)
                {
                    // As above.
                    let _ = slab.shift(index, &reading.key, by);
                }
            });
        }
    }

    /// Merges what moved by `merge`, tells `added` what was new, and lets go of each file whose process has ended.
    pub(super) fn merge(
        &mut self,
        merge: impl Fn(&[Counted]) -> Result<Vec<Added>, StoreError>,
        mut added: impl FnMut(&[Added]),
    ) -> Result<(), StoreError> {
        let mut at = 0;
        while let Some(Predecessor { file, merged, has_ended, .. }) = self.list.get_mut(at) {
            let mut moved = Vec::new();
            let read = file.readings(|reading| {
                if merged.get(&reading.generation) != Some(&reading.count) {
                    moved.extend(counted(reading));
                }
            });
            let whole = note(file, &read);
            if !moved.is_empty() {
                added(&merge(&moved)?);
                merged.extend(moved.iter().map(|one| (one.generation, one.count)));
            }
            if *has_ended && whole && is_over(file) {
                self.list.remove(at);
            } else {
                at += 1;
            }
        }
        Ok(())
    }
}

/// Looks at each counter of a quota whose window is not over. Whether all of the file could be read.
fn quotas(file: &Foreign, now: Timestamp, mut each: impl FnMut(&Reading)) -> bool {
    let read = file.readings(|reading| {
        if reading.key.kind.0 >= quota::FIRST_QUOTA_KIND && still_open(&reading.key, now) {
            each(reading);
        }
    });
    note(file, &read)
}

/// Whether all of a file could be read.
fn note(file: &Foreign, read: &io::Result<()>) -> bool {
    if let Err(error) = read {
        let path = file.path().display();
        tracing::warn!(%path, %error, "an earlier process's usage file cannot be read");
    }
    read.is_ok()
}

/// Lets go of a file whose counts, as far as it goes, are all in the store.
fn is_over(file: &Foreign) -> bool {
    let Some(fault) = file.fault() else { return removed(file.path()) };
    let path = file.path().display();
    match file.set_aside(fault) {
        Ok(aside) => {
            let aside = aside.display();
            tracing::error!(%path, %fault, %aside, "an earlier process's usage file was damaged meanwhile and is set aside");
            true
        }
        Err(error) => {
            tracing::error!(%path, %error, "an earlier process's usage file is damaged");
            false
        }
    }
}

/// Removes a file whose counts are all in the store, for good before anything is forgotten of it.
fn removed(path: &Path) -> bool {
    let gone = match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => slab::sync_folder_of(path),
    };
    if let Err(error) = &gone {
        tracing::warn!(path = %path.display(), %error, "a usage file that is merged cannot be removed");
    }
    gone.is_ok()
}

/// Gives the usage file at `path` a number, so that the next process makes one of its own there.
///
/// # Errors
/// It keeps its name.
pub fn step_aside(path: &Path) -> io::Result<PathBuf> {
    let newest = numbered(path).last().and_then(|path| number_of(path)).unwrap_or(0);
    let aside = (newest + 1..MAX_NUMBER).map(|number| path_of(path, number));
    let free = aside.into_iter().find(|path| fs::symlink_metadata(path).is_err());
    let aside = free.ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))?;
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Gives it its name back; what another process made there meanwhile gets a number itself.
///
/// # Errors
/// It keeps its number.
pub fn step_back(path: &Path, aside: &Path) -> io::Result<()> {
    if let Err(error) = slab::remove_draft(path) {
        tracing::warn!(%error, "a usage file that was not finished cannot be removed");
    }
    if fs::symlink_metadata(path).is_ok() {
        step_aside(path)?;
    }
    fs::rename(aside, path)
}

/// The numbered files beside the usage file at `path`, by number.
pub fn numbered(path: &Path) -> Vec<PathBuf> {
    listed(path).unwrap_or_default()
}

fn listed(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = fs::read_dir(slab::folder_of(path))?;
    let of_it = |found: PathBuf| number_of(&found).filter(|number| path_of(path, *number) == found);
    let mut numbers: Vec<u32> =
        folder.filter_map(|entry| of_it(path.with_file_name(entry.ok()?.file_name()))).collect();
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(|number| path_of(path, number)).collect())
}

fn number_of(path: &Path) -> Option<u32> {
    path.extension()?.to_str()?.parse().ok()
}

fn path_of(path: &Path, number: u32) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyId;
    use crate::key::quota::Window;
    use crate::usage::cell::CellKey;
    use crate::usage::slab::Charge;

    /// A request that is charged after the look at the quotas, by a process that ends before the look at the rest.
    #[test]
    fn what_is_charged_between_two_looks_is_taken_the_next_time() {
        const STORE: u128 = 7;
        let folder = tempfile::tempdir().unwrap();
        let (path, now) = (folder.path().join("x.usage"), Timestamp::from_secs(1_800_000_000));
        let hour = Window::Day.edges(now).start.hour();
        let key = CellKey {
            key: KeyId::from_u128(1),
            version: 0,
            hour,
            route: 0,
            kind: quota::kind_of(Window::Day),
        };
        let (old, _) = Slab::open(&path, STORE, 1).unwrap();
        let at = old.find_or_claim(&key, now).unwrap();
        assert_eq!(old.charge_up_to(at, &key, 9), Charge::Charged { used: 1 });
        step_aside(&path).unwrap();
        let (new, _) = Slab::open(&path, STORE, 2).unwrap();
        let mut predecessors = Predecessors::beside(&path, STORE);
        predecessors.inherit_quotas(&new, now);
        predecessors.take_quotas(&new, now);
        assert_eq!(old.charge_up_to(at, &key, 9), Charge::Charged { used: 2 });
        drop(old);
        predecessors.merge(|_| Ok(Vec::new()), |_| {}).unwrap();
        assert!(!predecessors.is_empty(), "its file is not gone before all of it was seen");
        predecessors.take_quotas(&new, now);
        assert_eq!(new.used(new.find(&key).unwrap(), &key), Ok(2));
        predecessors.merge(|_| Ok(Vec::new()), |_| {}).unwrap();
        assert!(predecessors.is_empty() && numbered(&path).is_empty());
    }

    #[test]
    fn a_file_that_comes_back_leaves_nothing_of_the_one_that_was_being_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.usage");
        fs::write(&path, "counts").unwrap();
        let aside = step_aside(&path).unwrap();
        fs::write(folder.path().join("x.usage.new"), "half").unwrap();
        step_back(&path, &aside).unwrap();
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap().path()).collect();
        assert_eq!(names, std::slice::from_ref(&path));
        assert_eq!(fs::read_to_string(&path).unwrap(), "counts");
    }
}
