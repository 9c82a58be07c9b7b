//! Room on the disk, and names on it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, retry_on_intr};

/// Reserves bytes that nothing was written to yet; they read as zeroes.
pub(super) fn reserve_fresh(file: &File, from: u64, to: u64) -> io::Result<()> {
    match fallocate(file, from, to) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeroes(file, from, to),
        reserved => Ok(reserved?),
    }
}

/// Reserves what holes the file may have got, being copied or restored, and leaves what is written.
pub(super) fn reserve_again(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, 0, bytes) {
        // Nothing can be done here without writing over counts.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        reserved => Ok(reserved?),
    }
}

fn fallocate(file: &File, from: u64, to: u64) -> Result<(), Errno> {
    retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), from, to - from))
}

/// The slow way to reserve, for file systems that know no other.
fn write_zeroes(file: &File, from: u64, to: u64) -> io::Result<()> {
    const ZEROES: [u8; 4096] = [0; 4096];
    (from..to).step_by(ZEROES.len()).try_for_each(|at| file.write_all_at(&ZEROES, at))
}

/// The folder that a file is in.
pub(in crate::usage) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the name of a file, or that there is none any more, as durable as the file.
pub(in crate::usage) fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}
