//! Reads a backup. What it gives out is believed only once [`Reader::record`] has come to the end.

use std::io::{ErrorKind, Read};

use sha2::{Digest as _, Sha256};

use super::{
    BackupError, END, FORM, HEAD_BYTES, MAGIC, MAX_KEY_BYTES, MAX_VALUE_BYTES, Record, Table, Written,
};
use crate::clock::Timestamp;

/// Reads a backup, record by record.
pub struct Reader<R> {
    input: R,
    hash: Sha256,
    records: u64,
    store_format: u32,
    created_at: Timestamp,
    key: Vec<u8>,
    value: Vec<u8>,
    ended: Option<Written>,
}

impl<R> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader({} records, of {})", self.records, self.created_at)
    }
}

impl<R: Read> Reader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// It is no backup, or one of a newer version.
    pub fn open(mut input: R) -> Result<Self, BackupError> {
        let mut head = [0; HEAD_BYTES];
        input.read_exact(&mut head).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => BackupError::Foreign,
            _ => BackupError::Io(error),
        })?;
        if head[..8] != *MAGIC {
            return Err(BackupError::Foreign);
        }
        let form = u32::from_le_bytes(std::array::from_fn(|i| head[8 + i]));
        if form != FORM {
            return Err(BackupError::TooNew { found: form });
        }
        let store_format = u32::from_le_bytes(std::array::from_fn(|i| head[12 + i]));
        let created_at = Timestamp::from_millis(u64::from_le_bytes(std::array::from_fn(|i| head[16 + i])));
        let hash = Sha256::new().chain_update(head);
        let (key, value) = (Vec::new(), Vec::new());
        Ok(Self { input, hash, records: 0, store_format, created_at, key, value, ended: None })
    }

    /// The format of the store that it was made of.
    pub fn store_format(&self) -> u32 {
        self.store_format
    }

    /// When it was begun.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// What the whole backup is, once it was read to its end.
    pub fn ended(&self) -> Option<Written> {
        self.ended
    }

    /// The next record. `None` at the end, and only if all that was read is what was written.
    ///
    /// # Errors
    /// It is damaged or cannot be read; what was read so far is not to be believed.
    pub fn record(&mut self) -> Result<Option<Record<'_>>, BackupError> {
        if self.ended.is_some() {
            return Ok(None);
        }
        let number = self.array::<1>()?[0];
        if number == END {
            self.end()?;
            return Ok(None);
        }
        let table = Table::numbered(number).ok_or(BackupError::Damaged("it names an unknown table"))?;
        let key = self.length(MAX_KEY_BYTES)?;
        let value = self.length(MAX_VALUE_BYTES)?;
        let (mut key_bytes, mut value_bytes) =
            (std::mem::take(&mut self.key), std::mem::take(&mut self.value));
        self.fill(&mut key_bytes, key)?;
        self.fill(&mut value_bytes, value)?;
        (self.key, self.value) = (key_bytes, value_bytes);
        self.records += 1;
        Ok(Some(Record { table, key: &self.key, value: &self.value }))
    }

    fn end(&mut self) -> Result<(), BackupError> {
        let records = u64::from_le_bytes(self.array()?);
        let sha256: [u8; 32] = self.hash.clone().finalize().into();
        let mut stored = [0; 32];
        self.input.read_exact(&mut stored).map_err(cut)?;
        if stored != sha256 {
            return Err(BackupError::Damaged("its checksum is wrong"));
        }
        if records != self.records {
            return Err(BackupError::Damaged("it does not hold as many records as it says"));
        }
        if self.input.read(&mut [0; 1])? != 0 {
            return Err(BackupError::Long);
        }
        self.ended = Some(Written { records, sha256 });
        Ok(())
    }

    fn length(&mut self, most: usize) -> Result<usize, BackupError> {
        let length = u32::from_le_bytes(self.array()?);
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= most)
            .ok_or(BackupError::Damaged("a record is longer than any is"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(cut)?;
        self.hash.update(bytes);
        Ok(bytes)
    }

    /// Reads no more into memory than there is, whatever length a damaged record claims.
    fn fill(&mut self, buffer: &mut Vec<u8>, length: usize) -> Result<(), BackupError> {
        buffer.clear();
        let got = self.input.by_ref().take(length as u64).read_to_end(buffer)?;
        if got < length {
            return Err(BackupError::Short);
        }
        self.hash.update(&*buffer);
        Ok(())
    }
}

fn cut(error: std::io::Error) -> BackupError {
    match error.kind() {
        ErrorKind::UnexpectedEof => BackupError::Short,
        _ => BackupError::Io(error),
    }
}

/// Reads a backup to its end, and says what it is.
///
/// # Errors
/// It is not whole.
pub fn verify(input: impl Read) -> Result<Written, BackupError> {
    let mut reader = Reader::open(input)?;
    while reader.record()?.is_some() {}
    reader.ended().ok_or(BackupError::Short)
}
