//! Secrets for benchmarks: as long as real ones, and always the same for the same number.

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Characters after `pc_live_`.
const CHARS: usize = 38;

/// A generator of numbers that look random (`splitmix64`).
pub struct Numbers(u64);

impl Numbers {
    pub const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    /// A number from 0 up to, and without, 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The secret with this number.
pub fn secret(number: usize) -> String {
    let mut numbers = Numbers::from_seed(number as u64 ^ 0x5EC2_E700_0000_0000);
    let mut text = String::from("pc_live_");
    text.extend((0..CHARS).map(|_| char::from(BASE62[numbers.below(BASE62.len())])));
    text
}
