//! The file under the slab: a header page, then segments of cells.
//!
//! Every byte is reserved on the disk before it is mapped: a write to a hole of a sparse file on a full disk is a
//! SIGBUS, and that is the end of the process. A file that is not ours, or not whole, is set aside under another name
//! and never written to; a new file appears under its name only when it is complete.
//!
//! Deliberately absent: msync. A process that dies loses nothing, since the page cache stays; and after a power loss
//! the ledger, which is at most a second behind, is what counts.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::disk::{reserve_again, reserve_fresh, sync_folder_of};
use super::error::{Fault, SetAside, SlabError};
use super::segment::{MAX_SEGMENTS, SEGMENT_BYTES, SEGMENT_CELLS};
use crate::usage::map::Mapping;

/// Bytes before the first cell.
pub(super) const HEADER_BYTES: u64 = 4096;

/// Bytes of the header that say something; they lie in one sector, so that they are written whole or not at all.
const HEADER_USED: usize = HEADER_CHECKED + 4;

/// Bytes of the header that its checksum is of.
const HEADER_CHECKED: usize = 40;

const MAGIC: [u8; 8] = *b"PCUSAGE1";
const FORMAT: u32 = 1;

/// What is added to the name of a file that is being made.
const DRAFT: &str = ".new";

/// Owner only.
const MODE: u32 = 0o600;

/// How many damaged files may lie beside the file before opening gives up.
const MAX_SET_ASIDE: u32 = 1000;

/// The open file. It is locked as long as it is open.
#[derive(Debug)]
pub(super) struct UsageFile {
    pub(super) file: File,
    path: PathBuf,
    store: u128,
    segments: usize,
}

impl UsageFile {
    /// Opens the file of `store`, or makes it; what lies there and cannot be used is set aside.
    pub fn open(path: &Path, store: u128) -> Result<(Self, Option<SetAside>), SlabError> {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Self::create(path, store)?, None));
            }
            Err(source) => return Err(SlabError::Open { path: path.into(), source }),
        };
        lock(&file, path)?;
        match inspect(&file, store) {
            Ok(segments) => Ok((Self::adopt(file, path, store, segments)?, None)),
            Err(fault) => {
                let aside = set_aside(path, fault)?;
                Ok((Self::create(path, store)?, Some(SetAside { path: aside, fault })))
            }
        }
    }

    /// How many segments it has.
    pub fn segments(&self) -> usize {
        self.segments
    }

    /// Maps one of its segments.
    pub fn map(&self, segment: usize) -> Result<Mapping, SlabError> {
        Mapping::of_file(&self.file, length(segment), SEGMENT_CELLS)
            .map_err(|source| SlabError::Map { path: self.path.clone(), source })
    }

    /// Adds a segment of free cells, on the disk first and then in the header.
    pub fn grow(&mut self) -> io::Result<Mapping> {
        let (from, to) = (length(self.segments), length(self.segments + 1));
        let mapped = reserve_fresh(&self.file, from, to)
            .and_then(|()| Mapping::of_file(&self.file, from, SEGMENT_CELLS))
            .and_then(|mapping| self.write_header(self.segments + 1).map(|()| mapping));
        match mapped {
            Ok(mapping) => {
                self.segments += 1;
                Ok(mapping)
            }
            Err(error) => {
                // What was reserved of it is given back; if even that fails, the next attempt finds it reserved.
                let _ = self.file.set_len(from);
                Err(error)
            }
        }
    }

    /// Takes over a file that was found to be ours.
    fn adopt(file: File, path: &Path, store: u128, segments: usize) -> Result<Self, SlabError> {
        let unopened = |source| SlabError::Open { path: path.into(), source };
        let bytes = length(segments);
        // Whatever lies behind the last whole segment must not turn up as cells when the file grows over it.
        file.set_len(bytes).map_err(unopened)?;
        restrict(&file).map_err(unopened)?;
        reserve_again(&file, bytes).map_err(|source| SlabError::Reserve {
            path: path.into(),
            bytes,
            source,
        })?;
        let adopted = Self { file, path: path.into(), store, segments };
        adopted.write_header(segments).map_err(unopened)?;
        Ok(adopted)
    }

    /// Makes the file beside its name, and renames it when it is whole: a process that dies here leaves no half one.
    fn create(path: &Path, store: u128) -> Result<Self, SlabError> {
        let uncreated = |source| SlabError::Create { path: path.into(), source };
        let draft = with_suffix(path, DRAFT);
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(MODE).open(&draft);
        let file = opened.map_err(uncreated)?;
        // Locked before it is emptied: another process may be at the same point.
        lock(&file, path)?;
        let created = Self { file, path: path.into(), store, segments: 1 };
        created.fill().and_then(|()| fs::rename(&draft, path).map_err(uncreated)).inspect_err(|_| {
            // An unfinished draft is of no use; that it stays is no harm either.
            let _ = fs::remove_file(&draft);
        })?;
        sync_folder_of(path).map_err(uncreated)?;
        Ok(created)
    }

    /// Gives a draft its length and its header.
    fn fill(&self) -> Result<(), SlabError> {
        let uncreated = |source| SlabError::Create { path: self.path.clone(), source };
        self.file.set_len(0).map_err(uncreated)?;
        restrict(&self.file).map_err(uncreated)?;
        let bytes = length(self.segments);
        reserve_fresh(&self.file, 0, bytes).map_err(|source| SlabError::Reserve {
            path: self.path.clone(),
            bytes,
            source,
        })?;
        self.write_header(self.segments).map_err(uncreated)?;
        self.file.sync_all().map_err(uncreated)
    }

    fn write_header(&self, segments: usize) -> io::Result<()> {
        self.file.write_all_at(&header(self.store, (segments * SEGMENT_CELLS) as u64), 0)
    }
}

impl Drop for UsageFile {
    fn drop(&mut self) {
        // Closing would do, were it not for a child process that is being started at this moment: until it runs, it
        // has the open file too, and with it the lock.
        let _ = self.file.unlock();
    }
}

/// Bytes of a file of so many segments.
pub(super) const fn length(segments: usize) -> u64 {
    HEADER_BYTES + segments as u64 * SEGMENT_BYTES
}

/// Magic (8), format (4), nothing (4), store (16), cells (8), checksum of all before (4); little-endian.
fn header(store: u128, cells: u64) -> [u8; HEADER_USED] {
    let mut bytes = [0; HEADER_USED];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[16..32].copy_from_slice(&store.to_le_bytes());
    bytes[32..40].copy_from_slice(&cells.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..HEADER_CHECKED]);
    bytes[HEADER_CHECKED..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// How many segments the file of `store` has.
///
/// The header is behind the length where power was lost in the middle of growing: then the length holds.
pub(super) fn inspect(file: &File, store: u128) -> Result<usize, Fault> {
    let unreadable = |error: io::Error| Fault::Unreadable(error.kind());
    let mut found = [0; HEADER_USED];
    // Before the length: a file that grows meanwhile is longer than its header said, and never shorter.
    let read = file.read_exact_at(&mut found, 0);
    let bytes = file.metadata().map_err(unreadable)?.len();
    if bytes < HEADER_BYTES {
        return Err(Fault::Truncated);
    }
    read.map_err(unreadable)?;
    if found[..8] != MAGIC {
        return Err(Fault::NotUsage);
    }
    let format = u32::from_le_bytes(std::array::from_fn(|i| found[8 + i]));
    if format != FORMAT {
        return Err(Fault::Format(format));
    }
    let (checked, checksum) = found.split_at(HEADER_CHECKED);
    if crc32fast::hash(checked).to_le_bytes() != checksum {
        return Err(Fault::Header);
    }
    if found[16..32] != store.to_le_bytes() {
        return Err(Fault::Foreign);
    }
    let whole = (bytes - HEADER_BYTES) / SEGMENT_BYTES;
    let named = u64::from_le_bytes(std::array::from_fn(|i| found[32 + i])) / SEGMENT_CELLS as u64;
    match usize::try_from(whole) {
        Ok(whole) if whole >= 1 && named <= whole as u64 => Ok(whole.min(MAX_SEGMENTS)),
        _ => Err(Fault::Truncated),
    }
}

/// Removes what a process left that died while it made the file at `path`.
///
/// # Errors
/// The system's.
pub fn remove_draft(path: &Path) -> io::Result<()> {
    match fs::remove_file(with_suffix(path, DRAFT)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// What is wrong with the file at `path`, if there is one; it is not changed. `store`: whose it must be, where that is
/// known.
///
/// # Errors
/// It is there and cannot be opened.
pub fn fault(path: &Path, store: Option<u128>) -> io::Result<Option<Fault>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut own = [0; 16];
    let store = match store {
        Some(store) => store,
        // What is too short to name its store is damaged whatever it names.
        None => file.read_exact_at(&mut own, 16).map_or(0, |()| u128::from_le_bytes(own)),
    };
    Ok(inspect(&file, store).err())
}

/// Takes every right but the owner's from a file that has more.
fn restrict(file: &File) -> io::Result<()> {
    let found = file.metadata()?.permissions().mode() & 0o7777;
    if found == MODE { Ok(()) } else { file.set_permissions(fs::Permissions::from_mode(MODE)) }
}

fn lock(file: &File, path: &Path) -> Result<(), SlabError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(SlabError::InUse { path: path.into() }),
        // A file system without locks: the store beside the file, which has its own, keeps a second process out.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(source)) => Err(SlabError::Open { path: path.into(), source }),
    }
}

/// Renames a file to the first free `<name>.damaged-<n>`.
pub(super) fn set_aside(path: &Path, fault: Fault) -> Result<PathBuf, SlabError> {
    let name = |n: u32| with_suffix(path, &format!(".damaged-{n}"));
    let free = (1..=MAX_SET_ASIDE).map(name).find(|aside| fs::symlink_metadata(aside).is_err());
    let renamed = free
        .ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))
        .and_then(|aside| fs::rename(path, &aside).map(|()| aside));
    renamed.map_err(|source| SlabError::SetAside { path: path.into(), fault, source })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
