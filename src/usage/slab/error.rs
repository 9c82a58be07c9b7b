//! What can be wrong with the file, for whoever opens it and for the log.

use std::io;
use std::path::PathBuf;

/// Why the slab could not be opened. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum SlabError {
    /// Another process has it.
    #[error("the usage file {} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is there, and cannot be opened for reading and writing.
    #[error("cannot open the usage file {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not there, and cannot be made.
    #[error("cannot make the usage file {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk has no room for it.
    #[error("cannot reserve {bytes} bytes on the disk for the usage file {}", path.display())]
    Reserve {
        /// The file.
        path: PathBuf,
        /// How long it should be.
        bytes: u64,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be mapped into memory.
    #[error("cannot map the usage file {} into memory", path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is damaged, and cannot be renamed out of the way.
    #[error("cannot set aside the usage file {}, which cannot be used: {fault}", path.display())]
    SetAside {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
        /// What the system said.
        source: io::Error,
    },
    /// The store has counted more openings than a generation has room for.
    #[error("opening number {epoch} is more than the usage file {} has room for", path.display())]
    Epoch {
        /// The file.
        path: PathBuf,
        /// The number of the opening.
        epoch: u32,
    },
}

/// What is wrong with a file that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The system could not read it.
    #[error("its header cannot be read: {0}")]
    Unreadable(io::ErrorKind),
    /// It does not begin as a usage file does.
    #[error("it is not a usage file")]
    NotUsage,
    /// Its header does not hold together.
    #[error("its header is damaged")]
    Header,
    /// Made by another release.
    #[error("its format is {0}, which this release does not read")]
    Format(u32),
    /// It counts for another store.
    #[error("it belongs to another store")]
    Foreign,
    /// It is shorter than its header says.
    #[error("it is cut short")]
    Truncated,
}

/// A file that could not be used, and where it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Its new name: the old one and `.damaged-<n>`.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}
