//! Looks at a file that may be damaged, without changing a byte of it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use parking_lot::Mutex;
use redb::{Database, StorageBackend};

use super::open::quietly;
use super::page::Widths;
use super::pages::{Found, Pages};
use crate::store::StoreError;
use crate::store::backup::{Record, Table};

/// What a look at the file comes upon.
#[derive(Debug)]
pub enum Inspected<'a> {
    /// A table, and how many records it should have.
    Table(Table, u64),
    /// A record on a page that is whole.
    Record(Record<'a>),
    /// The records of one damaged page: not all of them are what they seem.
    Doubtful(Table, Vec<Record<'a>>),
    /// Damage, of a table or of the file as a whole.
    Damage(Option<Table>, String),
}

/// Bytes of a piece that is kept in memory.
const PIECE_BYTES: usize = 4096;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every table, and the engine's own bookkeeping.
    All,
    /// One table.
    Only(Table),
}

/// Shows what can be found in the file at `path`, and what is wrong with it.
///
/// # Errors
/// There is no such file, it cannot be read, or a process has it open.
pub fn inspect(path: &Path, scope: Scope, each: &mut dyn FnMut(Inspected<'_>)) -> Result<(), StoreError> {
    let io_error = |error: io::Error| StoreError::Io { path: path.into(), cause: error.to_string() };
    let file = File::open(path).map_err(io_error)?;
    match file.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: path.into() }),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(error)) => return Err(io_error(error)),
    }
    let other = file.try_clone().map_err(io_error)?;
    let (pages, root) =
        Pages::open(file, &mut |what| each(Inspected::Damage(None, what))).map_err(io_error)?;
    let tables = root
        .map(|root| pages.tables(root, &mut |what| each(Inspected::Damage(None, what))))
        .unwrap_or_default();
    for table in
        Table::ALL.into_iter().filter(|table| matches!(scope, Scope::All) || scope == Scope::Only(*table))
    {
        let Some(named) = tables.iter().find(|named| named.table == table) else {
            each(Inspected::Damage(Some(table), "the table is not there, or cannot be found".into()));
            continue;
        };
        each(Inspected::Table(table, named.records));
        let Some(root) = named.root else { continue };
        pages.tree(root, Widths::of(table), named.trust, &mut |found| match found {
            Found::Broken { at, what } => {
                each(Inspected::Damage(Some(table), format!("{what}, at byte {at} of the file")));
            }
            Found::Pair((key, value)) => each(Inspected::Record(Record { table, key, value })),
            Found::Doubtful(pairs) => {
                let records = pairs.into_iter().map(|(key, value)| Record { table, key, value });
                each(Inspected::Doubtful(table, records.collect()));
            }
        });
    }
    if scope == Scope::All
        && let Err(what) = engine_check(other)
    {
        each(Inspected::Damage(None, format!("the database engine's own check fails: {what}")));
    }
    Ok(())
}

/// The engine's check of everything, its own bookkeeping among it, on a copy of which only what it writes is made. It
/// may panic on a damaged file, which is an answer too.
fn engine_check(file: File) -> Result<(), String> {
    let checked = std::thread::scope(|threads| {
        let check = || {
            quietly(|| {
                let length = file.metadata().map_err(|error| error.to_string())?.len();
                let copy = Copied { file, pieces: Mutex::default(), length: Mutex::new(length) };
                let mut builder = Database::builder();
                builder.set_check_integrity_on_open(true);
                let mut database = builder.create_with_backend(copy).map_err(|error| error.to_string())?;
                match database.check_integrity() {
                    Ok(true) => Ok(()),
                    Ok(false) => Err("it had to be repaired".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            })
        };
        threads.spawn(check).join()
    });
    match checked {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => Err("it broke off".into()),
    }
}

/// The file as it was, with what is written to it kept in memory alone.
struct Copied {
    file: File,
    pieces: Mutex<BTreeMap<u64, Box<[u8]>>>,
    length: Mutex<u64>,
}

impl std::fmt::Debug for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Copied({} pieces written)", self.pieces.lock().len())
    }
}

impl Copied {
    /// A piece of the file, zeroes where it has none.
    fn original(&self, piece: u64) -> io::Result<Box<[u8]>> {
        let mut bytes = vec![0; PIECE_BYTES];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], piece * PIECE_BYTES as u64 + filled as u64)? {
                0 => break,
                more => filled += more,
            }
        }
        Ok(bytes.into())
    }
}

/// The piece that a byte is in, and where in it.
fn piece_of(at: u64) -> (u64, usize) {
    let length = PIECE_BYTES as u64;
    // What is left over a division fits where the divisor does.
    (at / length, usize::try_from(at % length).unwrap_or_default())
}

impl StorageBackend for Copied {
    fn len(&self) -> io::Result<u64> {
        Ok(*self.length.lock())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > *self.length.lock()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let pieces = self.pieces.lock();
        let mut done = 0;
        while done < out.len() {
            let (piece, inside) = piece_of(offset + done as u64);
            let take = (PIECE_BYTES - inside).min(out.len() - done);
            match pieces.get(&piece) {
                Some(bytes) => out[done..done + take].copy_from_slice(&bytes[inside..inside + take]),
                None => out[done..done + take].copy_from_slice(&self.original(piece)?[inside..inside + take]),
            }
            done += take;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        *self.length.lock() = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut pieces = self.pieces.lock();
        let mut done = 0;
        while done < data.len() {
            let (piece, inside) = piece_of(offset + done as u64);
            let take = (PIECE_BYTES - inside).min(data.len() - done);
            let bytes = match pieces.entry(piece) {
                Entry::Occupied(written) => written.into_mut(),
                Entry::Vacant(free) => free.insert(self.original(piece)?),
            };
            bytes[inside..inside + take].copy_from_slice(&data[done..done + take]);
            done += take;
        }
        Ok(())
    }
}
