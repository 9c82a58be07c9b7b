//! `POST /api/v1/backup`: the whole store as one stream of bytes, made as it is sent.

use std::io::{self, BufWriter, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::document::NoParams;
use super::problem::Problem;
use super::{AdminState, blocking};
use crate::manage::Actor;

/// Bytes of a piece.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that wait for the client.
const PIECES_WAITING: usize = 8;
/// How long a client may take for one piece. While a backup runs, the store keeps what was replaced meanwhile.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);

type Piece = Result<Bytes, io::Error>;

pub(super) async fn backup(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
) -> Result<Response, Problem> {
    let backup = blocking(&state.manage, move |manage| manage.begin_backup(&actor)).await?;
    let name = format!("attachment; filename=\"portcullis-{}.backup\"", backup.begun_at().as_secs());
    let (sender, pieces) = mpsc::channel(PIECES_WAITING);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let pieces = Pieces { sender: sender.clone(), runtime: runtime.clone() };
        let written = backup.write(&mut BufWriter::with_capacity(PIECE_BYTES, pieces));
        // Before the answer ends: whoever has all of it may take the next.
        drop(backup);
        if let Err(error) = written {
            tracing::warn!(%error, "a backup broke off");
            // The answer must not end as if it were whole.
            let _ = runtime.block_on(timeout(PIECE_TIMEOUT, sender.send(Err(io::ErrorKind::Other.into()))));
        }
    });
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::new(Stream(pieces))).into_response())
}

/// Hands pieces over to the connection.
struct Pieces {
    sender: mpsc::Sender<Piece>,
    runtime: Handle,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Ok(Bytes::copy_from_slice(bytes));
        match self.runtime.block_on(timeout(PIECE_TIMEOUT, self.sender.send(piece))) {
            Ok(Ok(())) => Ok(bytes.len()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client left")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client took nothing for too long")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The pieces as a body.
struct Stream(mpsc::Receiver<Piece>);

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
