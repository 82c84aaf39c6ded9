//! After the last word to a client whose request was not read: what it still sends is read into nothing, for a while. A socket that
//! is closed with something unread in it resets the connection, and the client may lose the answer (RFC 9112 section 9.6).

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::client_io::Timer;

/// How long, and for how many bytes.
const LINGERS: Duration = Duration::from_secs(2);
const MOST: usize = 256 * 1024;

/// What is left of both.
#[derive(Debug)]
pub(super) struct Lingering {
    due: Instant,
    bytes: usize,
    timer: Timer,
}

impl Lingering {
    /// From now on.
    pub(super) fn begin() -> Self {
        Self { due: Instant::now() + LINGERS, bytes: MOST, timer: Timer::default() }
    }

    /// Ready once the client has ended, or had its time.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, stream: &mut (impl AsyncRead + Unpin)) -> Poll<()> {
        let mut room = [MaybeUninit::uninit(); 8 * 1024];
        while self.bytes > 0 {
            let mut buf = ReadBuf::uninit(&mut room);
            match Pin::new(&mut *stream).poll_read(cx, &mut buf) {
                Poll::Pending => return self.timer.poll(cx, self.due),
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.bytes = self.bytes.saturating_sub(buf.filled().len());
                }
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(())
    }
}
