//! What is sealed, as it is stored.

use serde::{Deserialize, Serialize};

use super::ms;
use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::store::sealed::{Replay, ReplayId, SealedSecret};

#[derive(Serialize, Deserialize)]
pub(in crate::store) struct ReplayRecord {
    request: [u8; 32],
    key: u128,
    made_at: u64,
    revision: u64,
    sealed: Vec<u8>,
}

impl From<&Replay> for ReplayRecord {
    fn from(replay: &Replay) -> Self {
        Self {
            request: replay.request,
            key: replay.key.as_u128(),
            made_at: ms(replay.made_at),
            revision: replay.revision,
            sealed: replay.sealed.clone(),
        }
    }
}

impl ReplayRecord {
    /// The answer, whose ID is the table's.
    pub(in crate::store) fn into_replay(self, id: ReplayId) -> Replay {
        Replay {
            id,
            request: self.request,
            key: KeyId::from_u128(self.key),
            made_at: Timestamp::from_millis(self.made_at),
            revision: self.revision,
            sealed: self.sealed,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store) struct SealedRecord {
    version: u32,
    sealed: Vec<u8>,
}

impl From<&SealedSecret> for SealedRecord {
    fn from(secret: &SealedSecret) -> Self {
        Self { version: secret.version, sealed: secret.sealed.clone() }
    }
}

impl SealedRecord {
    /// The secret, whose key is the table's.
    pub(in crate::store) fn into_secret(self, key: KeyId) -> SealedSecret {
        SealedSecret { key, version: self.version, sealed: self.sealed }
    }
}
