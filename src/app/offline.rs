//! The store without a gateway: for imports, checks, backups and repairs while nothing serves.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};

use super::{Core, usage_path};
use crate::clock::SystemClock;
use crate::config::{Config, Store as StoreConfig};
use crate::key::secret::SecretHasher;
use crate::store::StoreError;
use crate::store::backup::{BackupError, Reader};
use crate::store::embedded::{self, EmbeddedStore, Peppering, Restored};
use crate::usage::{predecessor, slab};

/// How many stores may be set aside beside one before a restore gives up.
const MAX_SET_ASIDE: u32 = 1000;

/// Opens what the configuration's store holds, with nothing serving from it.
///
/// # Errors
/// The store is in use by a gateway, damaged, or not to be had.
pub fn open(config: &Config) -> anyhow::Result<Core> {
    Core::open(config, Arc::new(SystemClock::new()))
}

/// The file of the configuration's store, which must be there: for what must not make an empty one.
///
/// # Errors
/// It is not there.
pub fn store_file(config: &Config) -> anyhow::Result<&Path> {
    let path = store_path(config);
    match fs::metadata(path) {
        Ok(_) => Ok(path),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("{}: there is no store", path.display()),
        Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
    }
}

fn store_path(config: &Config) -> &Path {
    let StoreConfig::Redb { path } = &config.store;
    path
}

/// What is wrong with the usage file beside the store, if anything is; it is not changed.
///
/// # Errors
/// It cannot be read.
pub fn usage_fault(config: &Config, store_id: Option<u128>) -> anyhow::Result<Option<String>> {
    let path = usage_path(store_path(config));
    let fault =
        slab::fault(&path, store_id).with_context(|| format!("{}: cannot be read", path.display()))?;
    Ok(fault.map(|fault| format!("{}: {fault}", path.display())))
}

/// What becomes of a store that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and nothing is restored.
    Refuse,
    /// It gets another name.
    SetAside,
}

/// A store that was put in its place.
#[derive(Debug)]
pub struct Placed {
    /// What is in it.
    pub restored: Restored,
    /// What was there before, under its new names.
    pub aside: Vec<PathBuf>,
}

/// Makes a store of a backup and puts it where the configuration says. The new store is whole, and was opened with this
/// configuration, before the old one loses its name; at no moment is there none under that name.
///
/// # Errors
/// Nothing was replaced.
pub fn restore<R: Read>(config: &Config, backup: Reader<R>, existing: Existing) -> anyhow::Result<Placed> {
    let path = store_path(config);
    let old = held(path, existing)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("{}: the folder cannot be made", folder.display()))?;
    let young = PathBuf::from(format!("{}.restoring", path.display()));
    let placed = fill(config, &young, backup).and_then(|restored| {
        let aside = replace(path, &young, old.as_ref())?;
        Ok(Placed { restored, aside })
    });
    let of_another = |error: &anyhow::Error| {
        matches!(error.downcast_ref(), Some(BackupError::Store(StoreError::InUse { .. })))
    };
    if placed.as_ref().is_err_and(|error| !of_another(error)) {
        // An unfinished store is of no use; that it stays is no harm either.
        let _ = fs::remove_file(&young);
    }
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    placed
}

/// The store that is there, held so that no gateway opens it meanwhile.
fn held(path: &Path, existing: Existing) -> anyhow::Result<Option<File>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{}: cannot be read", path.display())),
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: path.into() }.into()),
        Err(TryLockError::Error(error)) if error.kind() != ErrorKind::Unsupported => {
            return Err(error).with_context(|| format!("{}: cannot be locked", path.display()));
        }
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    if existing == Existing::Refuse {
        bail!("{}: a store is there; with --force it is set aside under another name", path.display());
    }
    Ok(Some(file))
}

fn fill<R: Read>(config: &Config, young: &Path, backup: Reader<R>) -> anyhow::Result<Restored> {
    let restored = embedded::restore(young, backup)?;
    let hasher = SecretHasher::new(config.keys.pepper.as_ref().map(crate::config::Pepper::expose));
    // As `serve` will: a wrong pepper shows here, and not when the old store is gone.
    EmbeddedStore::open(young, Peppering(&hasher)).context("the restored store does not open")?;
    Ok(restored)
}

/// Gives the young store its name, and what had it before another. The usage file goes with its store: the counters in
/// it are of that store alone.
fn replace(path: &Path, young: &Path, old: Option<&File>) -> anyhow::Result<Vec<PathBuf>> {
    let usage = usage_path(path);
    let name = |of: &Path, n: u32| PathBuf::from(format!("{}.replaced-{n}", of.display()));
    let is_free = |path: PathBuf| fs::symlink_metadata(path).is_err();
    let n = (1..=MAX_SET_ASIDE).find(|n| is_free(name(path, *n)) && is_free(name(&usage, *n)));
    let n = n.with_context(|| format!("{}: too many stores were set aside beside it", path.display()))?;
    let mut aside = Vec::new();
    if old.is_some() {
        let beside = name(path, n);
        // A second name first, so that the place is never empty: an empty place would get an empty store.
        let named = fs::hard_link(path, &beside).or_else(|_| fs::rename(path, &beside));
        named.with_context(|| format!("{}: the store cannot be set aside", path.display()))?;
        aside.push(beside);
    }
    fs::rename(young, path)
        .with_context(|| format!("{}: the restored store cannot be put in its place", path.display()))?;
    for file in predecessor::numbered(&usage).into_iter().chain([usage]) {
        let beside = name(&file, n);
        match fs::rename(&file, &beside) {
            Ok(()) => aside.push(beside),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // Also where it stays, the new store takes it for a foreign one.
            Err(error) => note_left(&file, &error),
        }
    }
    Ok(aside)
}

fn note_left(usage: &Path, error: &io::Error) {
    let path = usage.display();
    tracing::warn!(%path, %error, "the old usage file cannot be set aside; the next start does it");
}
