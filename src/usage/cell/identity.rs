//! What a cell counts, in the words of the domain and in those of the file.

use crate::key::KeyId;

/// What is counted. The usage module gives the numbers their meaning (outcomes, quota windows).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

/// What one cell counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellKey {
    /// Whose requests.
    pub key: KeyId,
    /// Made with which version of its secret.
    pub version: u32,
    /// In which hour since the epoch; for a quota, the first hour of its window.
    pub hour: u32,
    /// On which route.
    pub route: u16,
    /// Which of their ends, or which quota.
    pub kind: Kind,
}

/// A [`CellKey`] as the words that the file holds: compared on each request, hashed by the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::usage) struct Identity {
    pub(super) high: u64,
    pub(super) low: u64,
    /// The hour (32 bits), the route (16), the kind (8), and 8 bits that are 0.
    pub(super) tag: u64,
    pub(super) version: u32,
}

impl From<&CellKey> for Identity {
    #[expect(clippy::cast_possible_truncation, reason = "a ULID is cut into its two halves")]
    fn from(key: &CellKey) -> Self {
        let bits = key.key.as_u128();
        Self {
            high: (bits >> 64) as u64,
            low: bits as u64,
            tag: u64::from(key.hour) << 32 | u64::from(key.route) << 16 | u64::from(key.kind.0) << 8,
            version: key.version,
        }
    }
}

impl Identity {
    /// Back to the words of the domain.
    pub fn key(&self) -> CellKey {
        CellKey {
            key: KeyId::from_u128(u128::from(self.high) << 64 | u128::from(self.low)),
            version: self.version,
            hour: (self.tag >> 32) as u32,
            route: (self.tag >> 16 & 0xffff) as u16,
            kind: Kind((self.tag >> 8 & 0xff) as u8),
        }
    }

    /// A number that spreads over the index's shards: keys made in one millisecond differ in the low word alone.
    pub fn spread(&self) -> usize {
        let mixed = (self.high ^ self.low.rotate_left(32) ^ self.tag).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 48) as usize
    }

    /// The checksum of all that says whose cell it is, for this generation of it.
    pub fn checksum(&self, generation: u64) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for word in [generation, self.high, self.low, self.tag, u64::from(self.version)] {
            hasher.update(&word.to_le_bytes());
        }
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_from_the_words_it_is_stored_as() {
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978] {
            for hour in [0, 495_123, u32::MAX] {
                let key = KeyId::from_u128(bits);
                let key = CellKey { key, version: !hour, hour, route: 0xabcd, kind: Kind(0xef) };
                assert_eq!(Identity::from(&key).key(), key);
            }
        }
    }
}
