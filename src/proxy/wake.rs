//! Wakers of our own, so that a task is woken only by what truly waits, and a stream is read only when it may have
//! something.
//!
//! hyper looks at its stream several times per message, and each look goes through every layer below; its channels between a
//! connection and its user wake the task that is running anyway. So each stream has one [`Wake`]: it remembers whether
//! something came since the last look, and passes the news on to the task of the moment.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::has_budget_remaining;

/// Who is to be woken, and whether there was cause to.
#[derive(Debug)]
pub struct Wake {
    /// True until a look finds nothing, and again once something came.
    news: AtomicBool,
    task: Mutex<Waker>,
    /// Bytes that may still be read before somebody must say that more is wanted.
    left: AtomicU64,
}

impl Default for Wake {
    fn default() -> Self {
        Self {
            news: AtomicBool::new(true),
            task: Mutex::new(Waker::noop().clone()),
            left: AtomicU64::new(u64::MAX),
        }
    }
}

impl std::task::Wake for Wake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.news.store(true, Ordering::Release);
        self.task.lock().wake_by_ref();
    }
}

impl Wake {
    /// From now on news goes to `task`.
    pub fn tell(&self, task: &Waker) {
        self.task.lock().clone_from(task);
    }

    /// From now on at most so many bytes are read; beyond them the stream is broken.
    pub fn allow(&self, bytes: u64) {
        self.left.store(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that were read.
    fn take(&self, bytes: usize) -> io::Result<()> {
        let left = self.left.load(Ordering::Relaxed);
        let rest = u64::try_from(bytes).ok().and_then(|bytes| left.checked_sub(bytes));
        self.left
            .store(rest.ok_or_else(|| io::Error::other("more came than was asked for"))?, Ordering::Relaxed);
        Ok(())
    }

    /// True if something came since the last look, or nobody has looked yet.
    pub fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire)
    }
}

/// A stream that is only touched when there is cause to.
#[derive(Debug)]
pub struct Waking<S> {
    stream: S,
    wake: Arc<Wake>,
    waker: Waker,
    /// Who tells [`Wake`] which task to wake.
    told: Told,
    /// Something was written since the last flush.
    unflushed: bool,
}

/// Who knows the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Whoever polls the stream.
    ByPolls,
    /// Whoever holds its [`Wake`]; the polls come with a waker that does nothing.
    ByHolder,
}

impl<S> Waking<S> {
    /// Wraps `stream`.
    pub fn new(stream: S, wake: Arc<Wake>, told: Told) -> Self {
        let waker = Waker::from(Arc::clone(&wake));
        Self { stream, wake, waker, told, unflushed: false }
    }

    /// True if something was written since the last flush that got through.
    pub const fn is_unflushed(&self) -> bool {
        self.unflushed
    }

    fn listen(&self, cx: &Context<'_>) {
        // Once a tunnel's own task polls the stream, its waker is a real one. One that does nothing has no data; `will_wake`
        // compares addresses of tables, of which an optimised build may have several.
        if self.told == Told::ByPolls || !cx.waker().data().is_null() {
            self.wake.tell(cx.waker());
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Waking<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        me.listen(cx);
        if !me.wake.has_news() {
            return Poll::Pending;
        }
        // Before the look: what comes during it must not be forgotten.
        me.wake.news.store(false, Ordering::Release);
        let before = buf.filled().len();
        let read = Pin::new(&mut me.stream).poll_read(&mut Context::from_waker(&me.waker), buf);
        if read.is_ready() {
            me.wake.take(buf.filled().len().saturating_sub(before))?;
        }
        // A task that had its share of the thread is not told what is there: that was no look.
        if read.is_ready() || !has_budget_remaining() {
            me.wake.news.store(true, Ordering::Release);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Waking<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let me = &mut *self;
        me.listen(cx);
        me.unflushed = true;
        Pin::new(&mut me.stream).poll_write(&mut Context::from_waker(&me.waker), buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let me = &mut *self;
        me.listen(cx);
        me.unflushed = true;
        Pin::new(&mut me.stream).poll_write_vectored(&mut Context::from_waker(&me.waker), bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if !me.unflushed {
            return Poll::Ready(Ok(()));
        }
        me.listen(cx);
        let flushed = Pin::new(&mut me.stream).poll_flush(&mut Context::from_waker(&me.waker));
        me.unflushed = flushed.is_pending();
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        me.listen(cx);
        Pin::new(&mut me.stream).poll_shutdown(&mut Context::from_waker(&me.waker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Wake as _;
    use tokio::io::AsyncWriteExt;

    #[derive(Default)]
    struct Count(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(stream: &mut Waking<tokio::io::DuplexStream>, task: &Waker) -> Option<usize> {
        let mut bytes = [0; 16];
        let mut buf = ReadBuf::new(&mut bytes);
        match Pin::new(stream).poll_read(&mut Context::from_waker(task), &mut buf) {
            Poll::Ready(Ok(())) => Some(buf.filled().len()),
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn news_is_passed_on_and_never_lost() {
        let (near, mut far) = tokio::io::duplex(64);
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let mut stream = Waking::new(near, Arc::default(), Told::ByPolls);
        assert_eq!(read(&mut stream, &task), None);
        assert_eq!(read(&mut stream, &task), None, "no news, no look");
        far.write_all(b"abc").await.unwrap();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(read(&mut stream, &task), Some(3));
        assert_eq!(read(&mut stream, &task), None);
        // A word between two looks of another task reaches the task that looked last.
        let other = Arc::new(Count::default());
        assert_eq!(read(&mut stream, &Waker::from(Arc::clone(&other))), None);
        drop(far);
        assert_eq!((count.0.load(Ordering::Relaxed), other.0.load(Ordering::Relaxed)), (1, 1));
        assert_eq!(read(&mut stream, &task), Some(0), "the end");
    }

    #[tokio::test]
    async fn a_task_that_had_its_share_has_not_looked() {
        use tokio::task::coop::consume_budget;

        let wake = Arc::new(Wake::default());
        let (near, _far) = tokio::io::duplex(64);
        let mut stream = Waking::new(near, Arc::clone(&wake), Told::ByHolder);
        std::future::poll_fn(|cx| {
            while has_budget_remaining() {
                assert!(std::pin::pin!(consume_budget()).poll(cx).is_ready());
            }
            assert_eq!(read(&mut stream, Waker::noop()), None);
            Poll::Ready(())
        })
        .await;
        assert!(wake.has_news(), "there may be some");
        tokio::task::yield_now().await;
        assert_eq!(read(&mut stream, Waker::noop()), None);
        assert!(!wake.has_news());
    }

    #[test]
    fn a_holder_says_whom_to_wake() {
        let wake = Arc::new(Wake::default());
        let count = Arc::new(Count::default());
        wake.tell(&Waker::from(Arc::clone(&count)));
        let (near, _far) = tokio::io::duplex(64);
        let mut stream = Waking::new(near, Arc::clone(&wake), Told::ByHolder);
        assert_eq!(read(&mut stream, Waker::noop()), None);
        wake.wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
