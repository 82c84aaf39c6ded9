//! Sidelock's own fields, put into a request's head while hyper writes it: right behind the request line.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::request_head::own_fields::OwnFields;

/// What goes into the next head; shared by whoever sends requests and the stream that they go out on.
#[derive(Debug, Default)]
pub struct Insertion {
    waits: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    fields: OwnFields,
    /// Of them, those that went out.
    sent: usize,
    /// Bytes of the request line that are still to come before them; `None` until its first byte is written.
    line: Option<usize>,
}

impl Insertion {
    /// The next head that is written gets these `fields`. The one before is written whole.
    pub fn set(&self, fields: &OwnFields) {
        let mut state = self.state.lock();
        state.fields.clear();
        state.fields.say_all(fields);
        (state.sent, state.line) = (0, None);
        self.waits.store(!fields.as_bytes().is_empty(), Ordering::Relaxed);
    }
}

/// A stream into whose heads the fields go.
#[derive(Debug)]
pub struct Inserting<S> {
    stream: S,
    insertion: Arc<Insertion>,
}

impl<S> Inserting<S> {
    /// Wraps `stream`.
    pub const fn new(stream: S, insertion: Arc<Insertion>) -> Self {
        Self { stream, insertion }
    }
}

impl<S: AsyncWrite + Unpin> Inserting<S> {
    /// Writes a head with the fields in it. The count that it tells is that of the bytes it was given.
    fn insert(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut state = self.insertion.state.lock();
        let state = &mut *state;
        let Some((head, rest)) = bufs.split_first() else { return Poll::Ready(Ok(0)) };
        let line = match state.line {
            Some(left) => left,
            None => memchr::memchr(b'\n', head).ok_or(io::ErrorKind::InvalidData)? + 1,
        };
        let (line, head) = head.split_at_checked(line).ok_or(io::ErrorKind::InvalidData)?;
        loop {
            let fields = state.fields.as_bytes().get(state.sent..).unwrap_or_default();
            let body = rest.first().map_or(&[][..], |next| next);
            let parts = [line, fields, head, body].map(IoSlice::new);
            let parts = if line.is_empty() { parts.get(1..).unwrap_or_default() } else { &parts };
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, parts))?;
            let of_line = written.min(line.len());
            let of_fields = (written - of_line).min(fields.len());
            state.sent += of_fields;
            state.line = Some(line.len() - of_line);
            let of_theirs = written - of_fields;
            if of_fields == fields.len() {
                self.insertion.waits.store(false, Ordering::Relaxed);
            }
            // If only fields went out, there is more to do: whoever writes would take "none of mine" for the end.
            if of_theirs > 0 || written == 0 {
                return Poll::Ready(Ok(of_theirs));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Inserting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Inserting<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.insertion.waits.load(Ordering::Relaxed) {
            return self.insert(cx, &[IoSlice::new(buf)]);
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.insertion.waits.load(Ordering::Relaxed) {
            return self.insert(cx, bufs);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use http::{HeaderName, HeaderValue};
    use tokio::io::AsyncWriteExt;

    /// Takes so many bytes at a time, in turns, with a `Pending` between.
    #[derive(Debug)]
    struct Narrow {
        got: Vec<u8>,
        takes: Vec<usize>,
        turn: usize,
        vectored: bool,
    }

    impl Narrow {
        fn take(&mut self, cx: &Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
            let most = self.takes[self.turn % self.takes.len()];
            self.turn += 1;
            if most == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).take(most).collect();
            self.got.extend_from_slice(&all);
            Poll::Ready(Ok(all.len()))
        }
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.take(cx, &[IoSlice::new(buf)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            if self.vectored {
                return self.take(cx, bufs);
            }
            // As the trait does where a stream knows nothing better.
            let first = bufs.iter().position(|buf| !buf.is_empty()).unwrap_or(0);
            self.take(cx, &bufs[first..=first])
        }

        fn is_write_vectored(&self) -> bool {
            self.vectored
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn fields() -> OwnFields {
        let mut fields = OwnFields::default();
        fields.say(&HeaderName::from_static("x-one"), &HeaderValue::from_static("1"));
        fields.say(&HeaderName::from_static("x-two"), &HeaderValue::from_static("two"));
        fields
    }

    proptest! {
        #[test]
        fn however_little_a_stream_takes(
            takes in prop::collection::vec(0usize..40, 1..12).prop_filter("something", |takes| takes.iter().any(|take| *take > 0)),
            body in "[a-z\n]{0,40}",
            vectored: bool,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let insertion = Arc::new(Insertion::default());
            let mut stream = Inserting::new(Narrow { got: Vec::new(), takes, turn: 0, vectored }, Arc::clone(&insertion));
            let head = b"GET /a HTTP/1.1\r\nhost: b\r\n\r\n";
            runtime.block_on(async {
                for _ in 0..2 {
                    insertion.set(&fields());
                    let mut both = [&head[..], body.as_bytes()].concat();
                    if vectored {
                        let bufs = [IoSlice::new(head), IoSlice::new(body.as_bytes())];
                        let wrote = std::future::poll_fn(|cx| Pin::new(&mut stream).poll_write_vectored(cx, &bufs)).await.unwrap();
                        assert!(wrote > 0);
                        both.drain(..wrote);
                    }
                    stream.write_all(&both).await.unwrap();
                }
            });
            let one = format!("GET /a HTTP/1.1\r\nx-one: 1\r\nx-two: two\r\nhost: b\r\n\r\n{body}");
            prop_assert_eq!(String::from_utf8(stream.stream.got).unwrap(), one.repeat(2));
        }
    }

    #[tokio::test]
    async fn without_fields_bytes_pass_as_they_are() {
        let narrow = Narrow { got: Vec::new(), takes: vec![3], turn: 0, vectored: true };
        let mut stream = Inserting::new(narrow, Arc::default());
        stream.write_all(b"no head\nat all").await.unwrap();
        assert_eq!(stream.stream.got, b"no head\nat all");
    }
}
