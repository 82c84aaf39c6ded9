//! Bodies that are held until they are judged: bounded each, and all together.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;

use super::upload::{Upload, UploadState};
use crate::denial::Denial;

/// Memory for held bodies, shared by all requests, in bytes.
#[derive(Debug)]
pub struct Room {
    left: AtomicU64,
}

/// A part of the room. Dropping it gives it back.
#[derive(Debug)]
pub struct Taken {
    room: Arc<Room>,
    bytes: u64,
}

/// A whole body.
#[derive(Debug)]
pub struct Held {
    /// The bytes as they came.
    pub bytes: Bytes,
    /// What is known of how they came; `None` without a body.
    pub state: Option<Arc<UploadState>>,
    taken: Taken,
}

impl Room {
    /// Room for `bytes`.
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(bytes) })
    }
}

impl Taken {
    const fn nothing(room: Arc<Room>) -> Self {
        Self { room, bytes: 0 }
    }

    /// Only for bytes that came: a stranger who announces much and sends nothing takes nothing.
    fn more(&mut self, bytes: u64) -> Result<(), Denial> {
        let less = |left: u64| left.checked_sub(bytes);
        self.room
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .map_err(|_| Denial::Overloaded)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

impl Held {
    /// Reads a whole body of at most `limit` bytes, with the pace that every upload must have. Trailers are dropped: no
    /// signature covers them.
    ///
    /// # Errors
    /// [`Denial::BodyTooLarge`], [`Denial::BodyTooSlow`], [`Denial::BodyBroken`], or [`Denial::Overloaded`] if there is no
    /// room.
    pub async fn read(body: Incoming, limit: u64, idle: Duration, room: &Arc<Room>) -> Result<Self, Denial> {
        const FIRST: usize = 64 * 1024;
        let mut taken = Taken::nothing(Arc::clone(room));
        let expected = body.size_hint().exact();
        if expected.is_some_and(|bytes| bytes > limit) {
            return Err(Denial::BodyTooLarge);
        }
        let (mut upload, state) = Upload::new(body, limit, idle);
        let mut bytes = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut upload).poll_frame(cx)).await {
            let broken = || state.as_ref().and_then(|state| state.denial()).unwrap_or(Denial::BodyBroken);
            let Ok(data) = frame.map_err(|_| broken())?.into_data() else { continue };
            taken.more(u64::try_from(data.len()).unwrap_or(u64::MAX))?;
            if bytes.is_empty() {
                let whole = expected.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
                bytes.reserve_exact(whole.min(FIRST));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Self { bytes: bytes.into(), state, taken })
    }

    /// The same bytes on their way to the CRM.
    pub fn into_upload(self) -> (Upload, Option<Arc<UploadState>>) {
        let Self { bytes, state, taken } = self;
        let upload =
            if bytes.is_empty() { Upload::Empty } else { Upload::Held(Box::new((Some(bytes), taken))) };
        (upload, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_shared_and_given_back() {
        let room = Room::new(10);
        let (mut one, mut other) = (Taken::nothing(Arc::clone(&room)), Taken::nothing(Arc::clone(&room)));
        assert_eq!(one.more(7), Ok(()));
        assert_eq!(other.more(4), Err(Denial::Overloaded));
        assert_eq!(other.more(3), Ok(()));
        drop(one);
        assert_eq!(other.more(7), Ok(()));
        drop(other);
        assert_eq!(room.left.load(Ordering::Relaxed), 10);
    }
}
