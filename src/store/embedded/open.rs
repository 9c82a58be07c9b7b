//! Opening the file: never an empty store in place of one that cannot be read, never a panic.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;

use redb::{Database, DatabaseError, ReadableTable, StorageError};

use super::heal::OpenFile;
use super::tables::{
    AUDIT, FORMAT, KEYS, LEDGER, META, OPENINGS, OWNERS, PEPPER_CHECK, PREDECESSORS, REPLAY_TIMES, REPLAYS,
    REVISION, ROLES, ROUTES, SEALED, STORE_ID, TOKENS, TOMBSTONES, TOTALS,
};
use super::write::{meta_u64, set_meta_u64};
use super::{EmbeddedStore, Fault};
use crate::key::secret::{Algorithm, NewSecret, SecretHasher};
use crate::store::StoreError;

/// The newest format that this version reads and writes.
pub const NEWEST_FORMAT: u32 = 1;
/// redb's own cache. The keys are in the snapshot, so this only serves writes and listings.
pub(super) const CACHE_BYTES: usize = 16 << 20;
/// Files up to this size have every page's checksum verified at start; larger ones would take too long.
const VERIFY_BYTES: u64 = 2 << 30;
/// Whose the file is: the owner's alone.
pub(super) const MODE: u32 = 0o600;
/// What a redb file starts with.
const MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";
/// Hashed with the pepper, and the digest kept, so that a wrong pepper is noticed at start.
const PEPPER_PROBE: &str = "portcullis-pepper-probe-0000";

/// Whether secrets are hashed with a pepper here.
#[derive(Debug, Clone, Copy)]
pub struct Peppering<'a>(pub &'a SecretHasher);

impl EmbeddedStore {
    /// Opens the store at `path`, and makes one where there is no file.
    ///
    /// # Errors
    /// The file is in use, foreign, damaged, empty, too new or unreadable; or its secrets were hashed with another
    /// pepper. Nothing is changed then.
    pub fn open(path: &Path, peppering: Peppering<'_>) -> Result<Self, StoreError> {
        Self::open_and(path, peppering, Left::Anyhow)
    }

    /// Opens a store that another process has just closed in good order: its pages need not be verified.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`].
    pub fn open_handed_over(path: &Path, peppering: Peppering<'_>) -> Result<Self, StoreError> {
        Self::open_and(path, peppering, Left::InOrder)
    }

    fn open_and(path: &Path, peppering: Peppering<'_>, left: Left) -> Result<Self, StoreError> {
        let io_error = |error: io::Error| StoreError::Io { path: path.into(), cause: error.to_string() };
        match fs::metadata(path) {
            Ok(_) => check_magic(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
            Err(error) => return Err(io_error(error)),
        }
        let found = fs::metadata(path).map_err(io_error)?;
        let whole = left == Left::Anyhow && found.len() <= VERIFY_BYTES;
        let verify = if whole { Verify::Pages } else { Verify::Head };
        let database = open_file(path, verify)?;
        // A copy or a backup may have come back with more rights than the file was made with.
        if found.permissions().mode() & 0o7777 != MODE {
            fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(io_error)?;
        }
        let file = OpenFile::new(database);
        let mut store = Self { file, path: path.into(), store_id: 0, opening: 0, observer: None };
        let format = store.format()?;
        if format > NEWEST_FORMAT {
            return Err(StoreError::TooNew { path: path.into(), found: format, known: NEWEST_FORMAT });
        }
        store.check_pepper(peppering)?;
        store.begin()?;
        Ok(store)
    }

    fn format(&self) -> Result<u32, StoreError> {
        let corrupt = |cause: &str| StoreError::Corrupt { path: self.path.clone(), cause: cause.into() };
        let format = self.read(|transaction| {
            let stored = transaction.open_table(META)?.get(FORMAT)?;
            Ok(stored.and_then(|value| value.value().first_chunk().map(|bytes| u64::from_le_bytes(*bytes))))
        });
        match format {
            Ok(Some(format)) => u32::try_from(format).map_err(|_| corrupt("its format number is nonsense")),
            Ok(None) => Err(corrupt("it is a redb file, but no store of portcullis")),
            Err(StoreError::Io { cause, .. }) if cause.contains("does not exist") => {
                Err(corrupt("it is a redb file, but no store of portcullis"))
            }
            Err(error) => Err(error),
        }
    }

    /// Refuses to start with a pepper that would make every secret unknown.
    fn check_pepper(&self, Peppering(hasher): Peppering<'_>) -> Result<(), StoreError> {
        let stored = self.read(|transaction| {
            let stored = transaction.open_table(META)?.get(PEPPER_CHECK)?;
            Ok(stored.map(|value| value.value().to_vec()))
        })?;
        let probe = match hasher.algorithm() {
            Algorithm::Sha256 => None,
            Algorithm::HmacSha256 => {
                NewSecret::import(PEPPER_PROBE).map(|secret| hasher.digest(&secret).as_bytes().to_vec())
            }
        };
        let refuse = |expected, remedy| StoreError::Pepper { path: self.path.clone(), expected, remedy };
        match (stored, probe) {
            (None, None) => Ok(()),
            (Some(kept), Some(given)) if kept == given => Ok(()),
            (Some(_), None) => Err(refuse("a pepper", "set keys.pepper_env to the variable that holds it")),
            (Some(_), Some(_)) => Err(refuse("another pepper", "give the one that the store was made with")),
            (None, Some(given)) => self.write(|transaction| {
                transaction.open_table(META)?.insert(PEPPER_CHECK, &given[..])?;
                Ok(())
            }),
        }
    }

    /// Counts this opening and makes the tables that an older version did not have.
    fn begin(&mut self) -> Result<(), StoreError> {
        let (store_id, opening, revision) = self.write(|transaction| {
            make_tables(transaction)?;
            let opening = meta_u64(transaction, OPENINGS)? + 1;
            set_meta_u64(transaction, OPENINGS, opening)?;
            let revision = meta_u64(transaction, REVISION)?;
            let meta = transaction.open_table(META)?;
            let id = meta.get(STORE_ID)?.and_then(|value| value.value().first_chunk().copied());
            Ok((id.map_or(0, u128::from_le_bytes), opening, revision))
        })?;
        self.store_id = store_id;
        self.file.acknowledged(revision);
        self.opening = u32::try_from(opening).unwrap_or(u32::MAX);
        Ok(())
    }
}

pub(super) fn make_tables(transaction: &redb::WriteTransaction) -> Result<(), Fault> {
    transaction.open_table(KEYS)?;
    transaction.open_table(TOMBSTONES)?;
    transaction.open_table(TOKENS)?;
    transaction.open_table(ROLES)?;
    transaction.open_table(OWNERS)?;
    transaction.open_table(AUDIT)?;
    transaction.open_table(ROUTES)?;
    transaction.open_table(LEDGER)?;
    transaction.open_table(TOTALS)?;
    transaction.open_table(REPLAYS)?;
    transaction.open_table(REPLAY_TIMES)?;
    transaction.open_table(SEALED)?;
    transaction.open_table(PREDECESSORS)?;
    Ok(())
}

/// A file that exists must be one of ours: an empty or foreign one is refused before redb could touch it.
fn check_magic(path: &Path) -> Result<(), StoreError> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(9).read_to_end(&mut start));
    read.map_err(|error| StoreError::Io { path: path.into(), cause: error.to_string() })?;
    let corrupt = |cause: &str| Err(StoreError::Corrupt { path: path.into(), cause: cause.into() });
    match &start[..] {
        [] => corrupt("the file is empty, which no store ever is"),
        start if start == MAGIC => Ok(()),
        _ => corrupt("the file is not a store of portcullis"),
    }
}

/// Makes a store beside its place and moves it there once it is whole, so that a crash leaves none or all of it.
fn create(path: &Path) -> Result<(), StoreError> {
    let io_error = |path: &Path, error: &dyn std::error::Error| StoreError::Io {
        path: path.into(),
        cause: format!("the store cannot be made: {error}"),
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| io_error(folder, &e))?;
    let young = PathBuf::from(format!("{}.new", path.display()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(MODE);
    let file = options.open(&young).map_err(|e| io_error(&young, &e))?;
    let backend = redb::backends::FileBackend::new(file).map_err(|e| io_error(&young, &e))?;
    let database = Database::builder().create_with_backend(backend).map_err(|e| io_error(&young, &e))?;
    let fill = || -> Result<(), Fault> {
        let transaction = database.begin_write()?;
        set_meta_u64(&transaction, FORMAT, u64::from(NEWEST_FORMAT))?;
        transaction.open_table(META)?.insert(STORE_ID, &rand::random::<[u8; 16]>()[..])?;
        make_tables(&transaction)?;
        transaction.commit()?;
        Ok(())
    };
    fill().map_err(|e| io_error(&young, &e))?;
    drop(database);
    let sync_folder = || File::open(folder)?.sync_all();
    fs::rename(&young, path).and_then(|()| sync_folder()).map_err(|e| io_error(path, &e))
}

/// Opens the file again after its disk failed, in a process that found it whole before.
pub(super) fn open_again(path: &Path) -> Result<Database, StoreError> {
    check_magic(path)?;
    open_file(path, Verify::Head)
}

/// How the process before left the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nobody knows.
    Anyhow,
    /// It said that it closed it.
    InOrder,
}

/// How much of a file is looked at when it is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verify {
    /// What says where everything is.
    Head,
    /// Every page's checksum.
    Pages,
}

/// Opens the file. redb answers most damage with an error, but may panic on some: that is damage too.
fn open_file(path: &Path, verify: Verify) -> Result<Database, StoreError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder.set_check_integrity_on_open(verify == Verify::Pages);
    let opened = quietly(|| builder.open(path));
    let corrupt = |cause: String| StoreError::Corrupt { path: path.into(), cause };
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => Err(StoreError::InUse { path: path.into() }),
        Ok(Err(DatabaseError::Storage(StorageError::Io(error)))) if !is_damage(error.kind()) => {
            Err(StoreError::Io { path: path.into(), cause: error.to_string() })
        }
        Ok(Err(error)) => Err(corrupt(format!("the store is damaged: {error}"))),
        Err(_) => Err(corrupt("the store is damaged".into())),
    }
}

/// Whether reading failed for what the file holds, and not for what holds the file.
fn is_damage(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(kind, K::InvalidData | K::InvalidInput | K::UnexpectedEof | K::Other)
}

thread_local! {
    /// Whether a panic of this thread is expected and not to be reported.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs what may panic, without the report that a panic makes. The hook is the process's, so it is replaced once and
/// stays silent for this thread alone: what panics elsewhere meanwhile is reported as ever.
pub(super) fn quietly<T>(run: impl FnOnce() -> T) -> std::thread::Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                report(panic);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    result
}
