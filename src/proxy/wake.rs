//! Wakers for what truly waits.
//!
//! hyper's channels between a connection and its user would wake the task that is running anyway, once more for each of
//! them. So hyper's side of a connection to the CRM is polled with a waker that does nothing, and only the socket and the
//! client's body get the real one.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Who is to be woken when bytes come or can go; empty once whoever polls the stream is also the one to wake.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<Mutex<Option<Waker>>>);

/// A stream that wakes whom [`Wake`] says.
#[derive(Debug)]
pub struct Waking<S> {
    stream: S,
    wake: Wake,
}

impl Wake {
    /// From now on `waker` is woken.
    pub fn set(&self, waker: &Waker) {
        let mut current = self.0.lock();
        match &mut *current {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// From now on whoever polls is woken.
    pub fn clear(&self) {
        *self.0.lock() = None;
    }

    /// Calls `poll` with the waker that was set, or else with its own.
    pub fn with<T>(&self, cx: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
        match &*self.0.lock() {
            Some(waker) => poll(&mut Context::from_waker(waker)),
            None => poll(cx),
        }
    }
}

impl<S> Waking<S> {
    /// Wraps `stream`.
    pub const fn new(stream: S, wake: Wake) -> Self {
        Self { stream, wake }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Waking<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, wake } = &mut *self;
        wake.with(cx, |cx| Pin::new(stream).poll_read(cx, buf))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Waking<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, wake } = &mut *self;
        wake.with(cx, |cx| Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, wake } = &mut *self;
        wake.with(cx, |cx| Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, wake } = &mut *self;
        wake.with(cx, |cx| Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, wake } = &mut *self;
        wake.with(cx, |cx| Pin::new(stream).poll_shutdown(cx))
    }
}
