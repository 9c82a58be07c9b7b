//! One flipped bit, undone: memory and disks flip single bits, and a checksum of 128 bits tells for sure which it was.

/// The longest piece that is tried, in bytes: the time grows with its square, to a fifth of a second for this.
const MAX_BYTES: usize = 16 << 10;
/// Pieces that are tried in one look at a file: where more are damaged, it was not a bit here and there.
const MAX_PIECES: u32 = 200;

/// Tries to mend pieces, up to a bound.
#[derive(Debug)]
pub(super) struct Mender {
    left: u32,
}

impl Default for Mender {
    fn default() -> Self {
        Self { left: MAX_PIECES }
    }
}

impl Mender {
    /// The piece with one bit turned back, if that makes it whole. `None`: more is wrong with it than one bit.
    pub(super) fn mend(&mut self, piece: &[u8], is_whole: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        if piece.len() > MAX_BYTES || self.left == 0 {
            return None;
        }
        self.left -= 1;
        let mut tried = piece.to_vec();
        for bit in 0..piece.len() * 8 {
            let (at, mask) = (bit / 8, 1 << (bit % 8));
            tried[at] ^= mask;
            if is_whole(&tried) {
                return Some(tried);
            }
            tried[at] ^= mask;
        }
        None
    }
}
