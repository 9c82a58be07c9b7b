//! A file of any size as batches of lines, none of it ever whole in memory.

use std::io::{self, BufRead, Read};

use crate::manage::import::MAX_LINE_BYTES;

/// How much one batch holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Lines.
    pub(super) lines: usize,
    /// Bytes.
    pub(super) bytes: usize,
}

/// Lines that follow one another. Those that can be no key are empty in the text, so that the rest keep their numbers.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The lines, each with its end.
    pub(super) text: String,
    /// How many.
    pub(super) lines: u64,
    /// The number of the first.
    pub(super) first: u64,
    /// Lines that can be no key, by number, and why.
    pub(super) refused: Vec<(u64, String)>,
    /// Bytes read from the file for it.
    pub(super) read: u64,
}

/// Reads batches.
pub(super) struct Batches<R> {
    input: R,
    bounds: Bounds,
    next_line: u64,
    buffer: Vec<u8>,
}

enum Line {
    End,
    TooLong,
    Whole,
}

impl<R: BufRead> Batches<R> {
    pub(super) fn new(input: R, bounds: Bounds) -> Self {
        Self { input, bounds, next_line: 1, buffer: Vec::new() }
    }

    /// The next batch, if there are lines left.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Batch>> {
        let mut batch = Batch { first: self.next_line, ..Batch::default() };
        while batch.lines < self.bounds.lines as u64 && batch.text.len() + MAX_LINE_BYTES < self.bounds.bytes
        {
            match self.line(&mut batch.read)? {
                Line::End => break,
                Line::TooLong => {
                    batch.refused.push((self.next_line, format!("the line has over {MAX_LINE_BYTES} bytes")));
                }
                Line::Whole => match std::str::from_utf8(&self.buffer) {
                    Ok(line) => batch.text.push_str(without_mark(line, self.next_line)),
                    Err(_) => batch.refused.push((self.next_line, "not UTF-8".to_owned())),
                },
            }
            batch.text.push('\n');
            batch.lines += 1;
            self.next_line += 1;
        }
        Ok((batch.lines > 0).then_some(batch))
    }

    /// Reads one line into the buffer, without its end.
    fn line(&mut self, read: &mut u64) -> io::Result<Line> {
        self.buffer.clear();
        // Two more for the end of the line.
        let most = MAX_LINE_BYTES as u64 + 2;
        let got = self.input.by_ref().take(most).read_until(b'\n', &mut self.buffer)?;
        *read += got as u64;
        if got == 0 {
            return Ok(Line::End);
        }
        let ended = self.buffer.pop_if(|last| *last == b'\n').is_some();
        if ended {
            self.buffer.pop_if(|last| *last == b'\r');
        }
        let too_long = self.buffer.len() > MAX_LINE_BYTES;
        if too_long && !ended {
            *read += self.skip_line()?;
        }
        Ok(if too_long { Line::TooLong } else { Line::Whole })
    }

    /// Passes over the rest of a line, piece by piece.
    fn skip_line(&mut self) -> io::Result<u64> {
        let mut skipped = 0;
        loop {
            let piece = self.input.fill_buf()?;
            let end = memchr::memchr(b'\n', piece);
            let length = end.map_or(piece.len(), |at| at + 1);
            let last = end.is_some() || piece.is_empty();
            self.input.consume(length);
            skipped += length as u64;
            if last {
                return Ok(skipped);
            }
        }
    }
}

/// The first line without the byte order mark that some editors put before it.
fn without_mark(line: &str, number: u64) -> &str {
    if number == 1 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Bounds = Bounds { lines: 1000, bytes: 1 << 20 };

    fn batches(input: &[u8], bounds: Bounds) -> Vec<Batch> {
        // A small buffer, so that lines cross its edge.
        let mut batches = Batches::new(io::BufReader::with_capacity(7, input), bounds);
        let mut all = Vec::new();
        while let Some(batch) = batches.next().unwrap() {
            all.push(batch);
        }
        let read: u64 = all.iter().map(|batch| batch.read).sum();
        assert_eq!(read, input.len() as u64);
        all
    }

    #[test]
    fn every_line_keeps_its_number() {
        let all = batches(b"a\nb\r\n\nd\ne", Bounds { lines: 2, ..ROOMY });
        let seen: Vec<_> = all.iter().map(|batch| (batch.first, batch.text.as_str(), batch.lines)).collect();
        assert_eq!(seen, [(1, "a\nb\n", 2), (3, "\nd\n", 2), (5, "e\n", 1)]);
        assert!(batches(b"", ROOMY).is_empty());
    }

    #[test]
    fn what_can_be_no_key_is_refused_and_the_rest_stays_in_its_place() {
        let fits = "x".repeat(MAX_LINE_BYTES);
        for end in ["\n", "\r\n"] {
            let text = format!("{fits}{end}{fits}x{end}{fits}{fits}{end}ok{end}");
            let mut input = text.into_bytes();
            input.extend(b"\xff\nlast");
            let all = batches(&input, ROOMY);
            let numbers: Vec<u64> = all[0].refused.iter().map(|(number, _)| *number).collect();
            assert_eq!(numbers, [2, 3, 5]);
            assert_eq!(all[0].text, format!("{fits}\n\n\nok\n\nlast\n"));
        }
    }

    #[test]
    fn a_last_line_that_is_too_long_ends_the_file() {
        let all = batches("x".repeat(3 * MAX_LINE_BYTES).as_bytes(), ROOMY);
        assert_eq!((all.len(), all[0].refused.len()), (1, 1));
    }

    #[test]
    fn a_batch_is_bounded_in_bytes() {
        let bounds = Bounds { lines: 1000, bytes: 3 * MAX_LINE_BYTES };
        let line = format!("{}\n", "x".repeat(MAX_LINE_BYTES - 1));
        let all = batches(line.repeat(5).as_bytes(), bounds);
        assert!(all.iter().all(|batch| batch.text.len() <= bounds.bytes));
        assert_eq!(all.iter().map(|batch| batch.lines).sum::<u64>(), 5);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert_eq!(batches("\u{feff}{}\n".as_bytes(), ROOMY)[0].text, "{}\n");
    }
}
