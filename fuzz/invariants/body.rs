//! Any bytes after a chunked request's head are refused, are more of its body, or are the whole of it and then something
//! else; and where they are the whole, another parser finds the same chunks, the same trailers and the same end.

use portcullis::head::{Body, Framing};

/// What came of bytes: how many are of the body, and whether it is over; `None` where they are refused.
type Outcome = Option<(usize, bool)>;

/// Holds the reading of bodies to its promise. The first byte says how the body is framed.
pub fn hold(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    if first == b'#' {
        return of_stated_length(bytes);
    }
    let whole = pass(Framing::Chunked, bytes, bytes.len());
    for step in [1, 2, 7, usize::from(first)] {
        assert_eq!(pass(Framing::Chunked, bytes, step.max(1)), whole, "in pieces of {step}");
    }
    if let Some((taken, over)) = whole {
        assert!(over || taken == bytes.len(), "what is not of it comes after its end");
        assert_eq!(read(&bytes[..taken]), over.then_some(taken), "its end is where another parser finds it");
    }
}

fn of_stated_length(bytes: &[u8]) {
    let Some((&length, bytes)) = bytes.split_first() else { return };
    let taken = bytes.len().min(length.into());
    let expected = Some((taken, taken == usize::from(length)));
    for step in [1, 3, bytes.len().max(1)] {
        assert_eq!(pass(Framing::ContentLength(length.into()), bytes, step), expected);
    }
}

/// Lets bytes pass, so many at a time.
fn pass(framing: Framing, bytes: &[u8], step: usize) -> Outcome {
    let (mut body, mut taken) = (Body::of(framing), 0);
    for piece in bytes.chunks(step.max(1)) {
        let of_it = body.take(piece).inspect_err(|fault| assert!(!fault.detail().is_empty())).ok()?;
        assert!(of_it <= piece.len());
        taken += of_it;
        if of_it < piece.len() {
            break;
        }
    }
    Some((taken, body.is_over()))
}

/// Where another parser, the server's, finds the end of a chunked body; `None` where there is more to come.
fn read(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = httparse::parse_chunk_size(&bytes[at..]).expect("a chunk's line");
        let httparse::Status::Complete((length, size)) = line else { return None };
        assert!(
            bytes[at..at + length - 2].iter().all(|byte| !b"\r\n\0".contains(byte)),
            "a line is one line"
        );
        at += length;
        if size == 0 {
            break;
        }
        let end = usize::try_from(size).ok().and_then(|size| at.checked_add(size))?;
        let after = bytes.get(end..)?;
        assert!(b"\r\n".starts_with(&after[..after.len().min(2)]), "a chunk ends with CRLF");
        at = if after.len() < 2 { return None } else { end + 2 };
    }
    let mut fields = vec![httparse::EMPTY_HEADER; 4096];
    match httparse::parse_headers(&bytes[at..], &mut fields).expect("trailers") {
        httparse::Status::Complete((length, _)) => Some(at + length),
        httparse::Status::Partial => None,
    }
}
