//! Looks at an HTTP/2 client's frames as they are read, before any of them is understood: whether a head arrives in its
//! time, and whether too many frames come that carry nothing of a request.
//!
//! It sees the nine bytes in front of each frame (RFC 9113 section 4.1) and the payload's length; what is in the payload
//! is the codec's matter.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::http2::Http2;
use crate::metrics::bounds::Bound;

/// What a client begins with (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// In front of each payload.
const FRAME_HEAD: usize = 9;
/// How long frames are counted together.
const WINDOW: Duration = Duration::from_secs(1);
/// The flag of a frame that ends a block of header fields.
const END_HEADERS: u8 = 0x4;

/// Which bound a client has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// Its preface, a frame or a block of header fields took too long.
    HeadTime,
    /// It reset too many streams.
    Resets,
    /// It sent too many frames that carry nothing.
    ControlFrames,
}

impl Strike {
    /// What it is counted as.
    pub const fn bound(self) -> Bound {
        match self {
            Self::HeadTime => Bound::HeaderTimeout,
            Self::Resets => Bound::Http2Resets,
            Self::ControlFrames => Bound::Http2ControlFrames,
        }
    }
}

/// Where in the client's bytes the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// So many bytes of the preface are still to come.
    Preface(usize),
    /// So many bytes of a frame's head are there.
    Head([u8; FRAME_HEAD], usize),
    /// So many bytes of a payload are still to come.
    Payload(usize, Within),
}

/// What a payload belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// A body: it may take its time.
    Body,
    /// A block of header fields that goes on in the next frame.
    Fields,
    /// Anything else.
    Other,
}

/// What is known of a client's frames.
#[derive(Debug)]
pub struct Frames {
    place: Place,
    bounds: Http2,
    head_time: Duration,
    /// Until when what has begun must be there.
    pub deadline: Option<Instant>,
    window: Instant,
    resets: u32,
    control: u32,
}

impl Frames {
    /// Of a connection whose preface and first frame have until `deadline`.
    pub fn new(bounds: Http2, head_time: Duration, deadline: Instant) -> Self {
        Self {
            place: Place::Preface(PREFACE.len()),
            bounds,
            head_time,
            deadline: Some(deadline),
            window: Instant::now(),
            resets: 0,
            control: 0,
        }
    }

    /// Takes in what was just read.
    ///
    /// # Errors
    /// The bound that the client has reached.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), Strike> {
        let now = Instant::now();
        if now.duration_since(self.window) >= WINDOW {
            (self.window, self.resets, self.control) = (now, 0, 0);
        }
        while !bytes.is_empty() {
            let used = self.step(bytes, now)?;
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// Takes in the bytes up to the next boundary, and says how many.
    fn step(&mut self, bytes: &[u8], now: Instant) -> Result<usize, Strike> {
        let used = match &mut self.place {
            Place::Preface(left) | Place::Payload(left, _) => {
                let used = bytes.len().min(*left);
                *left -= used;
                used
            }
            Place::Head(head, there) => {
                // A frame that has begun has its time, unless it is part of what began before.
                self.deadline.get_or_insert(now + self.head_time);
                let used = bytes.len().min(FRAME_HEAD - *there);
                head[*there..*there + used].copy_from_slice(&bytes[..used]);
                *there += used;
                used
            }
        };
        match self.place {
            Place::Preface(0) => self.place = Place::Head([0; FRAME_HEAD], 0),
            Place::Head(head, FRAME_HEAD) => self.begin(head)?,
            Place::Preface(_) | Place::Head(..) | Place::Payload(..) => {}
        }
        if let Place::Payload(0, within) = self.place {
            if within != Within::Fields {
                self.deadline = None;
            }
            self.place = Place::Head([0; FRAME_HEAD], 0);
        }
        Ok(used)
    }

    /// A frame's head is there.
    fn begin(&mut self, head: [u8; FRAME_HEAD]) -> Result<(), Strike> {
        let [high, middle, low, kind, flags, ..] = head;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let within = match kind {
            // DATA
            0 => Within::Body,
            // HEADERS, CONTINUATION
            1 | 9 if flags & END_HEADERS == 0 => Within::Fields,
            _ => Within::Other,
        };
        if within == Within::Body {
            self.deadline = None;
        }
        match kind {
            // RST_STREAM
            3 => {
                self.resets += 1;
                if self.resets > self.bounds.max_resets {
                    return Err(Strike::Resets);
                }
            }
            // HEADERS, GOAWAY and WINDOW_UPDATE, of which an honest client sends as many as it needs.
            1 | 7 | 8 => {}
            0 if length > 0 => {}
            _ => {
                self.control += 1;
                if self.control > self.bounds.max_control_frames {
                    return Err(Strike::ControlFrames);
                }
            }
        }
        self.place = Place::Payload(length, within);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::http2::Cleartext;

    fn frames() -> Frames {
        let bounds =
            Http2 { cleartext: Cleartext::Off, max_streams: 1, max_resets: 3, max_control_frames: 10 };
        Frames::new(bounds, Duration::from_secs(5), Instant::now() + Duration::from_secs(5))
    }

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        bytes.resize(FRAME_HEAD + usize::from(length), 7);
        bytes
    }

    #[test]
    fn a_deadline_runs_while_a_preface_a_frame_or_a_block_of_fields_is_under_way() {
        // (bytes after the preface and SETTINGS, whether a deadline runs then)
        let cases: [(Vec<u8>, bool); 9] = [
            (vec![], false),
            (vec![0], true),
            (frame(1, 0, 4), true),
            ([frame(1, 0, 4), frame(9, 0, 0)].concat(), true),
            ([frame(1, 0, 4), frame(9, END_HEADERS, 4)].concat(), false),
            (frame(1, END_HEADERS, 4), false),
            (frame(1, END_HEADERS, 4)[..10].to_vec(), true),
            (frame(0, 0, 4)[..10].to_vec(), false),
            (frame(6, 0, 8)[..16].to_vec(), true),
        ];
        for (more, running) in cases {
            let all = [PREFACE, &frame(4, 0, 6), &more].concat();
            for piece in [1, 2, 9, 1000] {
                let mut frames = frames();
                for bytes in all.chunks(piece) {
                    frames.take(bytes).unwrap();
                }
                assert_eq!(frames.deadline.is_some(), running, "{more:?} in pieces of {piece}");
            }
        }
        let mut frames = frames();
        frames.take(PREFACE).unwrap();
        assert!(frames.deadline.is_some(), "SETTINGS belong to the first moment");
    }

    #[test]
    fn a_flood_is_a_strike_and_a_body_and_windows_are_none() {
        let flood = |bytes: Vec<u8>, count: usize| {
            let mut frames = frames();
            frames.take(&[PREFACE, &frame(4, 0, 0)].concat()).unwrap();
            (0..count).try_for_each(|_| frames.take(&bytes))
        };
        assert_eq!(flood(frame(3, 0, 4), 3), Ok(()));
        assert_eq!(flood(frame(3, 0, 4), 4), Err(Strike::Resets));
        for control in
            [frame(6, 0, 8), frame(4, 0, 6), frame(2, 0, 5), frame(9, 0, 0), frame(0, 0, 0), frame(99, 0, 1)]
        {
            assert_eq!(flood(control.clone(), 9), Ok(()));
            assert_eq!(flood(control, 10), Err(Strike::ControlFrames));
        }
        for free in [frame(0, 0, 1), frame(8, 0, 4), frame(1, END_HEADERS, 1)] {
            assert_eq!(flood(free, 1000), Ok(()));
        }
    }
}
