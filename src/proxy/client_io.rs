//! A client's connection with deadlines: for a whole request head, between requests, and for a client that does not read.
//!
//! The deadline for a head is one, not a time-out per read. Timers are touched only when a read or write must wait, and
//! moved only when they fire, so that a busy connection pays next to nothing for them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::wake::{Told, Waking};
use crate::clock::{Clock, Moment};

/// What a connection is doing; shared by its reader and its requests.
#[derive(Debug)]
pub struct Pace {
    start: Instant,
    /// `start` on the clock of requests.
    origin: Moment,
    /// Milliseconds after `start`; [`BUSY`] while a request is worked on. The top bit tells waiting for a head's first
    /// byte from waiting for its end, [`BEGUN`] a head whose deadline nobody has asked for yet: most come whole.
    deadline: AtomicU64,
    /// The last read ended within a message: with a request that has no body, that is the next head's beginning.
    open_end: AtomicBool,
    head: Duration,
    keep_alive: Duration,
}

const BUSY: u64 = u64::MAX;
const BEGUN: u64 = u64::MAX - 1;
const BETWEEN_REQUESTS: u64 = 1 << 63;

impl Pace {
    /// A connection that was just accepted: the first head is due.
    pub fn new(clock: &Clock, head: Duration, keep_alive: Duration) -> Arc<Self> {
        let origin = clock.monotonic();
        let start = clock.instant(origin).into();
        let deadline = AtomicU64::new(millis(head));
        Arc::new(Self { start, origin, deadline, open_end: AtomicBool::new(false), head, keep_alive })
    }

    /// A head is complete; `has_body` says that more belongs to it.
    pub fn busy(&self, has_body: bool) {
        if has_body {
            self.open_end.store(false, Ordering::Relaxed);
        }
        self.deadline.store(BUSY, Ordering::Relaxed);
    }

    /// True from the end of a head to the end of its answer.
    pub fn is_busy(&self) -> bool {
        self.deadline.load(Ordering::Relaxed) == BUSY
    }

    /// An answer was complete at `now`; the next head may take its time to begin.
    pub fn idle(&self, now: Moment) {
        let elapsed = now.since(self.origin);
        let deadline = if self.open_end.load(Ordering::Relaxed) {
            millis(elapsed + self.head)
        } else {
            millis(elapsed + self.keep_alive) | BETWEEN_REQUESTS
        };
        self.deadline.store(deadline, Ordering::Relaxed);
    }

    /// Bytes came: if they begin a head, its end is now due.
    fn bytes_came(&self, bytes: &[u8]) {
        let deadline = self.deadline.load(Ordering::Relaxed);
        if deadline != BUSY {
            self.open_end.store(!bytes.ends_with(b"\r\n\r\n"), Ordering::Relaxed);
        }
        if deadline != BUSY && deadline & BETWEEN_REQUESTS != 0 {
            self.deadline.store(BEGUN, Ordering::Relaxed);
        }
    }

    fn due(&self) -> Option<Instant> {
        match self.deadline.load(Ordering::Relaxed) {
            BUSY => None,
            BEGUN => {
                let due = millis(self.start.elapsed() + self.head);
                self.deadline.store(due, Ordering::Relaxed);
                Some(self.start + Duration::from_millis(due))
            }
            packed => Some(self.start + Duration::from_millis(packed & !BETWEEN_REQUESTS)),
        }
    }
}

/// The stream with its deadlines.
#[derive(Debug)]
pub struct ClientIo<S> {
    stream: Waking<S>,
    pace: Arc<Pace>,
    write_idle: Duration,
    reading: Timer,
    writing: Timer,
    write_due: Option<Instant>,
}

impl<S> ClientIo<S> {
    /// Wraps an accepted stream.
    pub fn new(stream: S, pace: Arc<Pace>, write_idle: Duration) -> Self {
        Self {
            stream: Waking::new(stream, Arc::default(), Told::ByPolls),
            pace,
            write_idle,
            reading: Timer::default(),
            writing: Timer::default(),
            write_due: None,
        }
    }

    /// A write that got through clears the deadline; one that must wait sets it.
    fn watch_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_due = None;
            return written;
        }
        let due = *self.write_due.get_or_insert_with(|| Instant::now() + self.write_idle);
        ready!(self.writing.poll(cx, due));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut me.stream).poll_read(cx, buf) {
            if buf.filled().len() > before {
                me.pace.bytes_came(buf.filled().get(before..).unwrap_or_default());
            }
            return Poll::Ready(read);
        }
        let Some(due) = me.pace.due() else {
            return Poll::Pending;
        };
        ready!(me.reading.poll_of_one_task(cx, due));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch_write(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        let flushed = Pin::new(&mut me.stream).poll_flush(cx);
        // The last flush of an answer is the moment when the connection goes idle: hyper does not read again until
        // something wakes it, so its next deadline is set here.
        if let Some(due) = me.pace.due()
            && me.reading.poll_of_one_task(cx, due).is_ready()
        {
            cx.waker().wake_by_ref();
        }
        me.watch_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A timer that is moved lazily: later deadlines wait until it fires, earlier ones reset it.
#[derive(Debug, Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

/// The same for a timer that moves from task to task: while one task asks, it needs no second asking until it fires.
#[derive(Debug)]
pub struct MovingTimer {
    timer: Timer,
    task: Waker,
}

impl Default for MovingTimer {
    fn default() -> Self {
        Self { timer: Timer::default(), task: Waker::noop().clone() }
    }
}

impl MovingTimer {
    /// Ready when `due` has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        if self.task.will_wake(cx.waker()) {
            return self.timer.poll_of_one_task(cx, due);
        }
        self.task.clone_from(cx.waker());
        self.timer.poll(cx, due)
    }
}

impl Timer {
    /// Like [`Self::poll`], for a timer that one task alone asks: once it waits it needs no second asking until it fires.
    fn poll_of_one_task(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        match &self.0 {
            Some(sleep) if !sleep.is_elapsed() && sleep.deadline() <= due => Poll::Pending,
            Some(_) | None => self.poll(cx, due),
        }
    }

    /// Ready when `due` has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
    }
}

fn millis(duration: Duration) -> u64 {
    const MOST: u64 = BETWEEN_REQUESTS - 2;
    u64::try_from(duration.as_millis()).unwrap_or(MOST).min(MOST)
}
