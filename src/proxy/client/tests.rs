//! What a client sees of writes, and Pingora of reads.

use super::*;
use crate::head::{Body, Framing};
use exchange::{attended, serves};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

async fn pair() -> (Client, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (ours, _) = listener.accept().await.unwrap();
    let digest = SocketDigest::from_raw_fd(ours.as_raw_fd());
    (Client::new(ours, digest), theirs)
}

async fn serving<T>(framing: Framing, work: impl Future<Output = T>) -> T {
    let mut done = None;
    attended(Duration::from_mins(1), async {
        serves(Some(Body::of(framing)), Duration::from_mins(1));
        done = Some(work.await);
    })
    .await;
    done.unwrap()
}

/// What arrives within a moment.
async fn arrived(theirs: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; 64 << 10];
    match tokio::time::timeout(Duration::from_millis(50), theirs.read(&mut bytes)).await {
        Ok(read) => bytes.truncate(read.unwrap()),
        Err(_) => bytes.clear(),
    }
    bytes
}

#[tokio::test]
async fn a_head_leaves_with_the_first_of_its_body_and_the_rest_at_once() {
    let (mut ours, mut theirs) = pair().await;
    ours.write_all(b"head ").await.unwrap();
    assert_eq!(arrived(&mut theirs).await, b"");
    ours.write_all(b"body ").await.unwrap();
    assert_eq!(arrived(&mut theirs).await, b"head body ");
    ours.write_all(b"more").await.unwrap();
    assert_eq!(arrived(&mut theirs).await, b"more");
}

#[tokio::test]
async fn what_is_held_leaves_at_a_flush_a_shutdown_and_a_read() {
    let (mut ours, mut theirs) = pair().await;
    for _ in 0..2 {
        ours.write_all(b"event").await.unwrap();
        ours.flush().await.unwrap();
        assert_eq!(arrived(&mut theirs).await, b"event");
    }
    ours.write_all(b"head").await.unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(20), ours.read_u8()).await;
    assert!(waits.is_err());
    assert_eq!(arrived(&mut theirs).await, b"head");
    ours.flush().await.unwrap();
    ours.write_all(b"last").await.unwrap();
    AsyncWriteExt::shutdown(&mut ours).await.unwrap();
    assert_eq!(arrived(&mut theirs).await, b"last");
}

#[tokio::test]
async fn a_look_takes_nothing_from_the_next_request_and_sees_that_the_client_left() {
    let (mut ours, mut theirs) = pair().await;
    let next = vec![b'x'; 3 * MAX_AHEAD];
    theirs.write_all(&next).await.unwrap();
    for _ in 0..2 {
        let mut byte = [0; LOOK];
        let look = serving(Framing::None, ours.read(&mut byte));
        assert!(tokio::time::timeout(Duration::from_millis(20), look).await.is_err(), "it is still there");
    }
    let mut read = vec![0; next.len()];
    let mut filled = 0;
    while filled < read.len() {
        filled += ours.read(&mut read[filled..]).await.unwrap();
    }
    assert_eq!(read, next);
    theirs.write_all(b"x").await.unwrap();
    let last = serving(Framing::ContentLength(1), ours.read(&mut [0; LOOK])).await;
    assert_eq!(last.unwrap(), 1, "the last byte of a body");
    drop(theirs);
    assert_eq!(serving(Framing::None, ours.read(&mut [0; LOOK])).await.unwrap(), 0);
}

#[tokio::test]
async fn bytes_keep_their_order_through_a_full_socket() {
    let (mut ours, mut theirs) = pair().await;
    let pieces: Vec<Vec<u8>> =
        (0..400_usize).map(|n| vec![u8::try_from(n % 251).unwrap(); 1 + n * 37 % 9_000]).collect();
    let expected: Vec<u8> = pieces.concat();
    let writer = tokio::spawn(async move {
        for (number, piece) in pieces.iter().enumerate() {
            ours.write_all(piece).await.unwrap();
            if number % 3 == 0 {
                ours.flush().await.unwrap();
            }
        }
        AsyncWriteExt::shutdown(&mut ours).await.unwrap();
    });
    let mut received = Vec::new();
    theirs.read_to_end(&mut received).await.unwrap();
    writer.await.unwrap();
    assert!(received == expected, "{} bytes of {}", received.len(), expected.len());
}

#[tokio::test]
async fn what_comes_behind_a_body_is_kept_for_the_next_request_and_then_takes_no_room() {
    let (mut ours, mut theirs) = pair().await;
    theirs.write_all(&[b"hello".as_slice(), &b"x".repeat(40_000)].concat()).await.unwrap();
    let mut body = vec![0; 64 << 10];
    let read = serving(Framing::ContentLength(5), ours.read(&mut body)).await.unwrap();
    assert_eq!(&body[..read], b"hello");
    let mut next = vec![0; 40_000];
    ours.read_exact(&mut next).await.unwrap();
    assert!(next.iter().all(|&byte| byte == b'x'));
    assert_eq!(ours.ahead.capacity(), 0);
}

#[tokio::test]
async fn a_body_that_is_none_is_read_from_and_thrown_away() {
    let (mut ours, mut theirs) = pair().await;
    theirs.write_all(b"zz\r\n").await.unwrap();
    attended(Duration::from_mins(1), async {
        serves(Some(Body::of(Framing::Chunked)), Duration::from_mins(1));
        assert_eq!(ours.read(&mut [0; 64]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        theirs.write_all(b"3\r\nabc\r\n0\r\n\r\nGET /").await.unwrap();
        let more =
            tokio::time::timeout(Duration::from_millis(50), async { ours.read(&mut [0; 64]).await }).await;
        assert!(more.is_err(), "nobody gets any of it: {more:?}");
        drop(theirs);
        assert_eq!(ours.read(&mut [0; 64]).await.unwrap(), 0);
    })
    .await;
}
