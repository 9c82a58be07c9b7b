//! How long the other end of a connection takes nothing of what it is sent.
//!
//! A write that is ready proves that the other end reads. One that is not ready proves nothing yet: the system says that
//! there is room only once a good part of a full socket, perhaps a megabyte, has left. So before anybody is given up, what
//! still waits in the socket is asked for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// A connection's wait until its other end takes something.
#[derive(Debug, Default)]
pub struct Stall(Option<Wait>);

#[derive(Debug)]
struct Wait {
    end: Pin<Box<Sleep>>,
    /// Bytes that waited in the socket at its beginning, where that can be told.
    unsent: Option<u32>,
}

impl Stall {
    /// The other end has taken something.
    pub fn ends(&mut self) {
        self.0 = None;
    }

    /// Waits for that. Ready with [`io::ErrorKind::TimedOut`] once it has taken nothing for `patience`, by what `unsent`
    /// says of the bytes that wait in the socket.
    pub fn goes_on(
        &mut self,
        context: &mut Context<'_>,
        patience: Duration,
        unsent: impl Fn() -> Option<u32>,
    ) -> Poll<io::Error> {
        let begin = || Wait { end: Box::pin(sleep(patience)), unsent: unsent() };
        let wait = self.0.get_or_insert_with(begin);
        loop {
            ready!(wait.end.as_mut().poll(context));
            let left = unsent();
            if left >= wait.unsent {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            wait.unsent = left;
            wait.end.as_mut().reset(Instant::now() + patience);
        }
    }
}
