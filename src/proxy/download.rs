//! The answer on its way to the client: from the CRM, or our own.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::client_io::Timer;
use super::forward;
use super::record::Record;
use super::upstream::Lease;
use crate::outcome::Ending;

/// An answer's body, with the record of its request, which ends with it.
#[derive(Debug)]
pub enum Answer {
    /// Our own.
    Whole(Whole),
    /// The CRM's.
    Streaming(Box<Download>),
    /// Nothing, while the record lives on in a tunnel or is gone.
    Tunnelled,
}

/// A body of our own.
#[derive(Debug)]
pub struct Whole {
    body: Option<Bytes>,
    record: Box<Record>,
}

/// The CRM's body on its way.
#[derive(Debug)]
pub struct Download {
    body: Incoming,
    record: Box<Record>,
    lease: Option<Lease>,
    idle: Duration,
    timer: Timer,
    due: Option<Instant>,
    flow: Flow,
}

/// What the client may not have got yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// Everything that was given has been flushed.
    Quiet,
    /// Something was given since.
    Given,
    /// The end of a broken answer waits until what came before is flushed.
    Breaking,
}

/// The CRM's answer broke off; the client's connection is cut, so that it can tell.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer broke off")]
pub struct DownloadBroke;

impl Answer {
    /// A body of our own, possibly empty.
    pub fn whole(body: Bytes, mut record: Box<Record>) -> Self {
        record.bytes_out = u64::try_from(body.len()).unwrap_or(u64::MAX);
        record.ending = Ending::Complete;
        Self::Whole(Whole { body: (!body.is_empty()).then_some(body), record })
    }

    /// The CRM's body; its connection goes back to the pool at the end.
    pub fn streaming(body: Incoming, mut record: Box<Record>, lease: Lease, idle: Duration) -> Self {
        if body.is_end_stream() {
            record.ending = Ending::Complete;
            lease.give_back(record.finish());
            return Self::Whole(Whole { body: None, record });
        }
        Self::Streaming(Box::new(Download {
            body,
            record,
            lease: Some(lease),
            idle,
            timer: Timer::default(),
            due: None,
            flow: Flow::Quiet,
        }))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = DownloadBroke;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadBroke>>> {
        match &mut *self {
            Self::Tunnelled => Poll::Ready(None),
            Self::Whole(whole) => Poll::Ready(whole.body.take().map(|body| Ok(Frame::data(body)))),
            Self::Streaming(download) => download.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Tunnelled => true,
            Self::Whole(whole) => whole.body.is_none(),
            Self::Streaming(download) => download.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Tunnelled => SizeHint::with_exact(0),
            Self::Whole(whole) => SizeHint::with_exact(whole.record.bytes_out),
            Self::Streaming(download) => download.body.size_hint(),
        }
    }
}

#[cold]
fn only_harmless(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(fields) => Frame::trailers(forward::trailers(fields)),
        Err(frame) => frame,
    }
}

impl Download {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, DownloadBroke>>> {
        if self.flow == Flow::Breaking {
            return self.broke();
        }
        let Poll::Ready(polled) = self.next(cx) else {
            self.flow = Flow::Quiet;
            let due = *self.due.get_or_insert_with(|| Instant::now() + self.idle);
            ready!(self.timer.poll(cx, due));
            return self.broke();
        };
        self.due = None;
        match polled {
            Some(Ok(frame)) => {
                let fresh = frame.data_ref().map_or(0, Bytes::len);
                self.record.bytes_out += u64::try_from(fresh).unwrap_or(u64::MAX);
                self.flow = Flow::Given;
                if self.body.is_end_stream() {
                    self.complete();
                }
                let frame = if frame.is_trailers() { only_harmless(frame) } else { frame };
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(_)) if self.flow == Flow::Given => {
                self.flow = Flow::Breaking;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Err(_)) => self.broke(),
            None => {
                self.complete();
                Poll::Ready(None)
            }
        }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.lease {
            Some(lease) => lease.poll_frame(&mut self.body, cx),
            None => Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(Waker::noop())),
        }
    }

    fn complete(&mut self) {
        self.record.ending = Ending::Complete;
        if let Some(lease) = self.lease.take() {
            lease.give_back(self.record.finish());
        }
    }

    fn broke<T>(&mut self) -> Poll<Option<Result<T, DownloadBroke>>> {
        self.record.ending = Ending::UpstreamBroke;
        self.lease = None;
        Poll::Ready(Some(Err(DownloadBroke)))
    }
}
