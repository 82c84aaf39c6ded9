//! The request body on its way to the CRM: streamed, counted, bounded in size and pace.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::client_io::Timer;
use super::held::Taken;
use super::patience::Patience;
use crate::denial::{Ambiguity, Denial};
use crate::request_head::fields::{Kind, kind_of};

/// A request body for the CRM.
#[derive(Debug)]
pub enum Upload {
    /// None.
    Empty,
    /// From the client.
    Streaming(Box<Streaming>),
    /// Already here, with the memory that it takes. Boxed like the other, so that requests stay small.
    Held(Box<(Option<Bytes>, Taken)>),
    /// What came while it was held, then the rest as it comes.
    Resumed(Box<(Option<(Bytes, Taken)>, Self)>),
}

/// A body on its way.
#[derive(Debug)]
pub struct Streaming {
    body: Incoming,
    state: Arc<UploadState>,
    limit: u64,
    patience: Patience,
    timer: Timer,
    trailers: Trailers,
}

/// What becomes of fields behind a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trailers {
    /// They go on, if they say nothing that a head must say.
    Forwarded,
    /// They are left out: a webhook's proof does not cover them.
    Dropped,
}

/// What others may know of an upload.
#[derive(Debug, Default)]
pub struct UploadState {
    /// Whom more of the body wakes: hyper's side of the CRM's connection is polled with a waker that does nothing.
    task: Mutex<Option<Waker>>,
    bytes: AtomicU64,
    /// 0: under way; otherwise an [`UploadEnd`].
    end: AtomicU8,
}

/// How an upload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum UploadEnd {
    Whole = 1,
    TooLarge = 2,
    TooSlow = 3,
    Broken = 4,
    Trailer = 5,
}

/// The client's body cannot go on; the CRM's connection is dropped with it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the request body cannot go on")]
pub struct UploadBroke;

impl Upload {
    /// Streams `body`, unless there is none.
    pub fn new(
        body: Incoming,
        limit: u64,
        idle: Duration,
        trailers: Trailers,
    ) -> (Self, Option<Arc<UploadState>>) {
        if body.is_end_stream() {
            return (Self::Empty, None);
        }
        let state = Arc::new(UploadState::default());
        let streaming = Streaming {
            body,
            state: Arc::clone(&state),
            limit,
            patience: Patience::new(idle),
            timer: Timer::default(),
            trailers,
        };
        (Self::Streaming(Box::new(streaming)), Some(state))
    }
}

impl UploadState {
    /// From now on more of the body wakes whoever polls it.
    pub fn tell_nobody(&self) {
        *self.task.lock() = None;
    }

    /// From now on more of the body wakes `task`.
    pub fn tell(&self, task: &Waker) {
        match &mut *self.task.lock() {
            Some(known) => known.clone_from(task),
            none => *none = Some(task.clone()),
        }
    }

    /// Bytes that came.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// True if the whole body went on.
    pub fn is_whole(&self) -> bool {
        self.end.load(Ordering::Relaxed) == UploadEnd::Whole as u8
    }

    /// Why the body could not go on, if it is the client's doing.
    pub fn denial(&self) -> Option<Denial> {
        let end = self.end.load(Ordering::Relaxed);
        let reasons = [
            (UploadEnd::TooLarge, Denial::BodyTooLarge),
            (UploadEnd::TooSlow, Denial::BodyTooSlow),
            (UploadEnd::Broken, Denial::BodyBroken),
            (UploadEnd::Trailer, Denial::Ambiguous(Ambiguity::Trailer)),
        ];
        reasons.into_iter().find_map(|(known, denial)| (known as u8 == end).then_some(denial))
    }

    fn ended(&self, end: UploadEnd) {
        self.end.store(end as u8, Ordering::Relaxed);
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadBroke;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadBroke>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Held(held) => Poll::Ready(held.0.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Resumed(parts) => match parts.0.take() {
                Some((bytes, _)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => Pin::new(&mut parts.1).poll_frame(cx),
            },
            Self::Streaming(streaming) => {
                let task = streaming.state.task.lock().clone();
                match task {
                    Some(task) => streaming.poll(&mut Context::from_waker(&task)),
                    None => streaming.poll(cx),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Held(held) => held.0.is_none(),
            Self::Resumed(parts) => parts.0.is_none() && parts.1.is_end_stream(),
            // Never early: the end must be polled, so that it is noted.
            Self::Streaming(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Held(held) => {
                let left = held.0.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(left).unwrap_or(u64::MAX))
            }
            Self::Resumed(parts) => {
                let held = parts.0.as_ref().map_or(0, |(bytes, _)| bytes.len());
                let rest = parts.1.size_hint().exact();
                let all = rest.map(|rest| rest.saturating_add(u64::try_from(held).unwrap_or(u64::MAX)));
                all.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            Self::Streaming(streaming) => streaming.body.size_hint(),
        }
    }
}

impl Streaming {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadBroke>>> {
        let Poll::Ready(polled) = Pin::new(&mut self.body).poll_frame(cx) else {
            let due = self.patience.waits(Instant::now);
            ready!(self.timer.poll(cx, due));
            return self.broke(UploadEnd::TooSlow);
        };
        match polled {
            None => {
                self.state.ended(UploadEnd::Whole);
                Poll::Ready(None)
            }
            Some(Err(_)) => self.broke(UploadEnd::Broken),
            Some(Ok(frame)) if frame.is_trailers() && self.trailers == Trailers::Dropped => {
                self.state.ended(UploadEnd::Whole);
                Poll::Ready(None)
            }
            Some(Ok(frame)) => match self.judge(&frame) {
                Ok(()) => {
                    // With a known length hyper stops polling at the last byte.
                    if self.body.is_end_stream() {
                        self.state.ended(UploadEnd::Whole);
                    }
                    Poll::Ready(Some(Ok(frame)))
                }
                Err(end) => self.broke(end),
            },
        }
    }

    fn judge(&mut self, frame: &Frame<Bytes>) -> Result<(), UploadEnd> {
        if let Some(trailers) = frame.trailers_ref() {
            return if trailers_are_harmless(trailers) { Ok(()) } else { Err(UploadEnd::Trailer) };
        }
        let fresh = u64::try_from(frame.data_ref().map_or(0, Bytes::len)).unwrap_or(u64::MAX);
        let total = self.state.bytes.fetch_add(fresh, Ordering::Relaxed).saturating_add(fresh);
        if total > self.limit {
            return Err(UploadEnd::TooLarge);
        }
        self.patience.moved(frame.data_ref().map_or(0, Bytes::len), Instant::now);
        Ok(())
    }

    fn broke<T>(&self, end: UploadEnd) -> Poll<Option<Result<T, UploadBroke>>> {
        self.state.ended(end);
        Poll::Ready(Some(Err(UploadBroke)))
    }
}

/// Trailers may not say what a head must say (RFC 9110 section 6.5.1).
fn trailers_are_harmless(trailers: &HeaderMap) -> bool {
    trailers.keys().all(|name| {
        let folded = name.as_str().replace('_', "-");
        let named = [
            "host",
            "authorization",
            "cookie",
            "content-type",
            "content-encoding",
            "content-range",
            "x-api-key",
        ];
        kind_of(&folded) == Kind::Plain && !named.contains(&folded.as_str())
    })
}
