//! Writes a backup to a file: of a gateway that runs, or of a store that none has open.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::json;

use super::BackupArgs;
use crate::app::offline;
use crate::cli::client::Client;
use crate::cli::output::{self, Form, Unit};
use crate::config::file;
use crate::manage::Actor;
use crate::manage::audit::hex;
use crate::store::StoreError;
use crate::store::backup::{self, Written};

/// What is written or read at once, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// Makes a backup.
///
/// # Errors
/// There is no backup then.
pub(super) fn run(args: &BackupArgs, form: Form) -> anyhow::Result<ExitCode> {
    let bar = output::progress(None, Unit::Bytes);
    let out = Draft::create(&args.out)?;
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, bar.wrap_write(&out.file));
    match &args.config {
        None => Client::new(&args.connection)?.backup(&mut writer)?,
        Some(config) => offline(config, &mut writer)?,
    }
    writer.flush().with_context(|| format!("{}: cannot be written", args.out.display()))?;
    drop(writer);
    let written = out.finish()?;
    bar.finish_and_clear();
    report(&args.out, &written, form)?;
    Ok(ExitCode::SUCCESS)
}

fn offline(config: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = file::load(config)?;
    offline::store_file(&config)?;
    let core = offline::open(&config).map_err(|error| match error.downcast_ref() {
        Some(StoreError::InUse { path }) => anyhow::anyhow!(
            "{}: the store is in use; a gateway that runs makes the backup itself: leave --config away (its admin API \
             is PORTCULLIS_ADMIN_URL)",
            path.display()
        ),
        _ => error,
    })?;
    core.manage.begin_backup(&Actor::local("offline"))?.write(out)?;
    Ok(())
}

/// What was written, for people and for scripts.
pub(super) fn report(out: &Path, written: &Written, form: Form) -> anyhow::Result<()> {
    let (name, sha256) = (out.display().to_string(), hex(&written.sha256));
    match form {
        Form::Json => output::json(&json!({"file": name, "records": written.records, "sha256": sha256})),
        Form::Table | Form::Csv => {
            output::line(&format!("{name}: {} records, sha256 {sha256}", written.records))
        }
    }
}

/// A backup under way, beside the place where it belongs.
pub(super) struct Draft {
    pub(super) file: File,
    path: PathBuf,
    out: PathBuf,
    finished: Option<()>,
}

impl Draft {
    /// Makes the file, for its owner alone.
    pub(super) fn create(out: &Path) -> anyhow::Result<Self> {
        if fs::symlink_metadata(out).is_ok() {
            bail!(
                "{}: is there already, and a backup overwrites nothing; choose another name",
                out.display()
            );
        }
        let draft = PathBuf::from(format!("{}.partial", out.display()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&draft).with_context(|| format!("{}: cannot be made", draft.display()))?;
        Ok(Self { file, path: draft, out: out.into(), finished: None })
    }

    /// Makes it durable, reads it back, and gives it its name.
    pub(super) fn finish(mut self) -> anyhow::Result<Written> {
        let named = || format!("{}: the backup cannot be kept", self.out.display());
        self.file.sync_all().with_context(named)?;
        let read = File::open(&self.path).with_context(named)?;
        let written = backup::verify(BufReader::with_capacity(BUFFER_BYTES, read))
            .with_context(|| format!("{}: what was written does not read back", self.out.display()))?;
        fs::rename(&self.path, &self.out).with_context(named)?;
        self.finished = Some(());
        let folder = self.out.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new("."))).with_context(named)?;
        folder.sync_all().with_context(named)?;
        Ok(written)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.finished.is_none() {
            // Half a backup is none.
            let _ = fs::remove_file(&self.path);
        }
    }
}
