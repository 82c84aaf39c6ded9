//! A connection in use by one request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;

use super::Upstream;
use crate::clock::Moment;
use crate::proxy::line::Line;
use crate::proxy::upload::UploadState;

/// A place in the CRM's room, and the connection that fills it once there is one.
pub struct Lease {
    pub(super) line: Option<Box<Line>>,
    pub(super) upload: Option<Arc<UploadState>>,
    pub(super) upstream: Arc<Upstream>,
    /// Position of the address.
    at: usize,
}

/// No address yet.
const NOWHERE: usize = usize::MAX;

impl Lease {
    /// In a place that was taken for it.
    pub(super) fn new(upstream: Arc<Upstream>, upload: Option<Arc<UploadState>>) -> Self {
        upstream.active_gauge.inc();
        Self { line: None, upload, upstream, at: NOWHERE }
    }

    /// From now on it is with the address `at`; how busy each one is matters only where there are several.
    #[inline]
    pub(super) fn go_to(&mut self, at: usize) {
        if let several @ [_, _, ..] = &*self.upstream.addresses
            && self.at != at
        {
            several.get(self.at).into_iter().for_each(|address| address.end());
            several.get(at).into_iter().for_each(|address| address.begin());
        }
        self.at = at;
    }

    /// Lets the CRM's bytes come in while the answer goes out.
    pub fn drive(&mut self, cx: &Context<'_>) {
        if let Some(upload) = &self.upload {
            upload.tell(cx.waker());
        }
        if let Some(line) = &mut self.line {
            line.drive(cx);
        }
    }

    /// The next frame of an answer: one that is here already, or else what its connection brings now.
    pub fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Only the driver brings frames: a waker of their own would wake this task once more for nothing.
        if self.is_released() {
            return Pin::new(body).poll_frame(cx);
        }
        let idle = &mut Context::from_waker(Waker::noop());
        match Pin::new(&mut *body).poll_frame(idle) {
            Poll::Pending => {
                self.drive(cx);
                Pin::new(body).poll_frame(idle)
            }
            known @ Poll::Ready(_) => known,
        }
    }

    /// Lets a connection run on by itself whose answer came before the request was whole: neither must wait for the other. If the
    /// CRM takes nothing of it for so long as `idle`, it ends.
    pub fn release_unfinished(&mut self, idle: Duration) {
        let Some(upload) = self.upload.as_ref().filter(|upload| !upload.is_whole()) else { return };
        upload.tell_nobody();
        if let Some(line) = self.line.take() {
            line.run_on(Arc::clone(upload), idle, self.again());
        }
    }

    /// A place for what runs on by itself, however long the answer takes.
    fn again(&self) -> Self {
        self.upstream.room.enter_anyway();
        let mut other = Self::new(Arc::clone(&self.upstream), None);
        other.go_to(self.at);
        other
    }

    /// True if nobody here drives the connection.
    const fn is_released(&self) -> bool {
        self.line.is_none()
    }

    /// Lets a connection that is no longer HTTP run on by itself.
    pub fn release(&mut self) {
        if let Some(line) = self.line.take() {
            line.release();
        }
    }

    /// Returns the connection to the pool at the moment `now`, unless part of the request is still under way.
    pub fn give_back(mut self, now: Moment) {
        let whole = self.upload.as_ref().is_none_or(|upload| upload.is_whole());
        if let Some(line) = self.line.take()
            && whole
            && let Some(address) = self.upstream.addresses.get(self.at)
        {
            address.keep(line, now);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.upstream.active_gauge.dec();
        self.upstream.room.leave();
        if let several @ [_, _, ..] = &*self.upstream.addresses
            && let Some(address) = several.get(self.at)
        {
            address.end();
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}
