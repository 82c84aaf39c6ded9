//! A client's connection with deadlines: for a whole request head, between requests, and for a client that does not read.
//! Between requests it can also be waited on without a buffer.
//!
//! The deadline for a head is one, not a time-out per read. Timers are touched only when a read or write must wait, and
//! moved only when they fire, so that a busy connection pays next to nothing for them.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::lingering::Lingering;
use super::patience::Patience;
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
    /// The last request was read to its end.
    read_through: AtomicBool,
    /// Bytes of an answer wait for the client to read.
    stuck: AtomicBool,
    /// Nothing came for [`RESTS_AFTER`] since the last answer.
    quiet: AtomicBool,
    /// The next answer ends the connection.
    last: AtomicBool,
    head: Duration,
    keep_alive: Duration,
}

/// What [`Pace`] knows of the next deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    /// Then the connection may rest.
    Rests,
    /// Then it is over.
    Ends,
}

const BUSY: u64 = u64::MAX;
const BEGUN: u64 = u64::MAX - 1;
const BETWEEN_REQUESTS: u64 = 1 << 63;

/// How long a connection is kept at hand after an answer: long enough that one in use never pays for resting.
const RESTS_AFTER: Duration = Duration::from_secs(1);

/// What a connection that rests reads at once; most heads are shorter.
const FIRST_BYTES: usize = 1024;

impl Pace {
    /// A connection that was just accepted: the first head is due.
    pub fn new(clock: &Clock, head: Duration, keep_alive: Duration) -> Arc<Self> {
        let origin = clock.monotonic();
        let start = clock.instant(origin).into();
        let deadline = AtomicU64::new(millis(head));
        Arc::new(Self {
            start,
            origin,
            deadline,
            open_end: AtomicBool::new(false),
            read_through: AtomicBool::new(true),
            stuck: AtomicBool::new(false),
            quiet: AtomicBool::new(false),
            last: AtomicBool::new(false),
            head,
            keep_alive,
        })
    }

    /// A head is complete; `has_body` says that more belongs to it.
    pub fn busy(&self, has_body: bool) {
        if has_body {
            self.open_end.store(false, Ordering::Relaxed);
        }
        self.read_through.store(!has_body, Ordering::Relaxed);
        self.quiet.store(false, Ordering::Relaxed);
        self.deadline.store(BUSY, Ordering::Relaxed);
    }

    /// The body of the request was read to its end.
    pub fn read_through(&self) {
        self.read_through.store(true, Ordering::Relaxed);
    }

    /// True if nothing came for a while, and nothing is under way: the connection may rest.
    pub fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// The process drains: the next answer whose head is made says that it is the last.
    pub fn end(&self) {
        self.last.store(true, Ordering::Relaxed);
    }

    /// True if the next answer is the last.
    pub fn is_last(&self) -> bool {
        self.last.load(Ordering::Relaxed)
    }

    /// True if no request and no answer is under way, so that whoever speaks over the connection may be replaced.
    pub fn is_between(&self) -> bool {
        self.deadline.load(Ordering::Relaxed) != BUSY && self.is_clean()
    }

    fn is_clean(&self) -> bool {
        self.read_through.load(Ordering::Relaxed) && !self.stuck.load(Ordering::Relaxed)
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
            self.quiet.store(false, Ordering::Relaxed);
        }
    }

    /// Part of the next head is here already: its end is due, and nothing rests on it.
    fn begun(&self) {
        self.quiet.store(false, Ordering::Relaxed);
        if self.deadline.load(Ordering::Relaxed) & BETWEEN_REQUESTS != 0 {
            self.deadline.store(BEGUN, Ordering::Relaxed);
        }
    }

    /// The moment until which silence is expected, and what it means beyond; `None` while a request is worked on.
    fn due(&self) -> Option<(Instant, Silence)> {
        let (due, beyond) = match self.deadline.load(Ordering::Relaxed) {
            BUSY => return None,
            BEGUN => {
                let due = millis(self.start.elapsed() + self.head);
                self.deadline.store(due, Ordering::Relaxed);
                (due, Silence::Ends)
            }
            packed => {
                let due = packed & !BETWEEN_REQUESTS;
                let sooner = self.keep_alive.saturating_sub(RESTS_AFTER);
                if packed != due && !sooner.is_zero() && self.is_clean() && !self.is_quiet() {
                    (due.saturating_sub(millis(sooner)), Silence::Rests)
                } else {
                    (due, Silence::Ends)
                }
            }
        };
        Some((self.start + Duration::from_millis(due), beyond))
    }
}

/// The stream with its deadlines.
#[derive(Debug)]
pub struct ClientIo<S> {
    stream: Waking<S>,
    /// Read while the connection rested, and not yet by whoever speaks over it.
    ahead: Bytes,
    pace: Arc<Pace>,
    patience: Patience,
    reading: Timer,
    writing: Timer,
    lingering: Option<Lingering>,
}

impl<S> ClientIo<S> {
    /// Wraps an accepted stream.
    pub fn new(stream: S, pace: Arc<Pace>, write_idle: Duration) -> Self {
        Self {
            stream: Waking::new(stream, Arc::default(), Told::ByPolls),
            ahead: Bytes::new(),
            pace,
            patience: Patience::new(write_idle),
            reading: Timer::default(),
            writing: Timer::default(),
            lingering: None,
        }
    }

    /// A write that got through makes up for some waiting; one that must wait has a deadline.
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() && self.patience.is_whole() {
            return written;
        }
        if let Poll::Ready(done) = &written {
            self.patience.moved(done.as_ref().map_or(0, bytes), Instant::now);
            self.pace.stuck.store(false, Ordering::Relaxed);
            return written;
        }
        self.pace.stuck.store(true, Ordering::Relaxed);
        let due = self.patience.waits(Instant::now);
        ready!(self.writing.poll(cx, due));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> ClientIo<S> {
    /// Puts back what was read and belongs to the next request; as a copy, which does not keep the buffer that it was cut from.
    pub fn put_back(&mut self, bytes: &[u8]) {
        self.ahead = Bytes::copy_from_slice(bytes);
        if !bytes.is_empty() {
            self.pace.begun();
        }
    }

    /// Waits for a request to begin; false if the connection ends instead.
    pub fn poll_first_bytes(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if !self.ahead.is_empty() {
            return Poll::Ready(true);
        }
        let mut bytes = [MaybeUninit::uninit(); FIRST_BYTES];
        let mut buf = ReadBuf::uninit(&mut bytes);
        let read = ready!(Pin::new(&mut *self).poll_read(cx, &mut buf));
        self.ahead = Bytes::copy_from_slice(buf.filled());
        Poll::Ready(read.is_ok() && !self.ahead.is_empty())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if !me.ahead.is_empty() {
            buf.put_slice(&me.ahead.split_to(me.ahead.len().min(buf.remaining())));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut me.stream).poll_read(cx, buf) {
            if buf.filled().len() > before {
                me.pace.bytes_came(buf.filled().get(before..).unwrap_or_default());
            }
            return Poll::Ready(read);
        }
        while let Some((due, beyond)) = me.pace.due() {
            ready!(me.reading.poll_of_one_task(cx, due));
            match beyond {
                Silence::Ends => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Silence::Rests => me.pace.quiet.store(true, Ordering::Relaxed),
            }
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch_write(cx, written, |bytes| *bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        let is_new = me.stream.is_unflushed();
        let flushed = Pin::new(&mut me.stream).poll_flush(cx);
        // The last flush of an answer is the moment when the connection goes idle: hyper does not read again until
        // something wakes it, so its next deadline is set here.
        if is_new
            && let Some((due, _)) = me.pace.due()
            && me.reading.poll_of_one_task(cx, due).is_ready()
        {
            cx.waker().wake_by_ref();
        }
        me.watch_write(cx, flushed, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if me.lingering.is_none() {
            // TLS has something to say here too.
            let shut = Pin::new(&mut me.stream).poll_shutdown(cx);
            ready!(me.watch_write(cx, shut, |()| 0))?;
        }
        if !me.pace.read_through.load(Ordering::Relaxed) {
            ready!(me.lingering.get_or_insert_with(Lingering::begin).poll(cx, &mut me.stream));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch_write(cx, written, |bytes| *bytes)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Writes much to a client that reads `bytes` at a time, with pauses; whether all of it went.
    async fn written_to_one_who_reads(bytes: usize) -> io::Result<()> {
        let (near, mut far) = tokio::io::duplex(64);
        let limit = Duration::from_secs(1);
        let mut io = ClientIo::new(near, Pace::new(&Clock::system(), limit, limit), limit);
        let reading = async {
            let mut buffer = vec![0; bytes];
            let mut pauses = tokio::time::interval(Duration::from_millis(20));
            while far.read_exact(&mut buffer).await.is_ok() {
                pauses.tick().await;
            }
        };
        tokio::select! {
            written = io.write_all(&[0; 4_000]) => written,
            () = reading => Ok(()),
        }
    }

    #[tokio::test]
    async fn a_client_must_read_at_some_pace() {
        let slow = tokio::time::timeout(Duration::from_secs(10), written_to_one_who_reads(1)).await;
        assert_eq!(slow.expect("it is cut").unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(written_to_one_who_reads(60).await.is_ok(), "3,000 bytes a second are read");
    }
}
