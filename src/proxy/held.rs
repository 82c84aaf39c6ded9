//! Bodies that are held until they are judged: bounded each, and all together.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::upload::{Upload, UploadState};
use crate::client_addr::AddrGroup;
use crate::denial::Denial;

/// A held body must be whole within this time, however much of it has come: memory is not a place to stay.
const WHOLE_WITHIN: Duration = Duration::from_secs(20);

/// A body's memory grows by this much, in bytes.
const GROWTH: usize = 4 * 1024;

/// Memory for held bodies, shared by all requests, in bytes.
#[derive(Debug)]
pub struct Room {
    left: AtomicU64,
    /// Most that one address may take: strangers on one must not shut out the rest.
    share: u64,
    /// What each address holds now; one entry per address with a body under way.
    held: DashMap<AddrGroup, u64>,
}

/// A part of the room. Dropping it gives it back.
#[derive(Debug)]
pub struct Taken {
    room: Arc<Room>,
    group: AddrGroup,
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
    /// Room for `bytes`; half of it for one address.
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(bytes), share: bytes.div_ceil(2), held: DashMap::new() })
    }
}

impl Taken {
    const fn nothing(room: Arc<Room>, group: AddrGroup) -> Self {
        Self { room, group, bytes: 0 }
    }

    /// Only for bytes that came: a stranger who announces much and sends nothing takes nothing.
    fn more(&mut self, bytes: u64) -> Result<(), Denial> {
        let mut own = self.room.held.entry(self.group).or_insert(0);
        if own.saturating_add(bytes) > self.room.share {
            return Err(Denial::Overloaded);
        }
        let less = |left: u64| left.checked_sub(bytes);
        self.room
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .map_err(|_| Denial::Overloaded)?;
        *own += bytes;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.left.fetch_add(self.bytes, Ordering::Relaxed);
        if let Entry::Occupied(mut own) = self.room.held.entry(self.group) {
            *own.get_mut() = own.get().saturating_sub(self.bytes);
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

/// What became of a body that goes on whether or not it can be held.
#[derive(Debug)]
pub enum Fit {
    /// It is here.
    Whole(Held),
    /// It is too large, too slow, or there is no room: it goes on as it comes.
    Unfinished(Upload, Option<Arc<UploadState>>),
}

/// A body that is being held.
struct Filling {
    upload: Upload,
    state: Option<Arc<UploadState>>,
    bytes: Vec<u8>,
    taken: Taken,
}

/// Why it is not.
enum Stop {
    /// It could go on, but not be held.
    Unheld(Denial),
    /// It cannot go on.
    Broken(Denial),
}

impl Held {
    /// Reads a whole body of at most `limit` bytes, with the pace that every upload must have. Trailers are dropped: no
    /// signature covers them.
    ///
    /// # Errors
    /// [`Denial::BodyTooLarge`], [`Denial::BodyTooSlow`], [`Denial::BodyBroken`], or [`Denial::Overloaded`] if there is no
    /// room.
    pub async fn read(
        body: Incoming,
        limit: u64,
        idle: Duration,
        (room, group): (&Arc<Room>, AddrGroup),
    ) -> Result<Self, Denial> {
        if body.size_hint().exact().is_some_and(|bytes| bytes > limit) {
            return Err(Denial::BodyTooLarge);
        }
        let mut filling = Filling::new(Upload::new(body, limit, idle), Arc::clone(room), group);
        match filling.fill(limit).await {
            Ok(()) => Ok(filling.whole()),
            Err(Stop::Unheld(denial) | Stop::Broken(denial)) => Err(denial),
        }
    }

    /// Reads a body of at most `limit` bytes likewise, but lets one go on that cannot be held, up to `most` bytes.
    ///
    /// # Errors
    /// [`Denial::BodyTooLarge`] over `most`, [`Denial::BodyTooSlow`], or [`Denial::BodyBroken`].
    pub async fn read_if_it_fits(
        body: Incoming,
        (limit, most): (u64, u64),
        idle: Duration,
        (room, group): (&Arc<Room>, AddrGroup),
    ) -> Result<Fit, Denial> {
        let expected = body.size_hint().exact().unwrap_or(0);
        if expected > most {
            return Err(Denial::BodyTooLarge);
        }
        let (upload, state) = Upload::new(body, most, idle);
        if expected > limit {
            return Ok(Fit::Unfinished(upload, state));
        }
        let mut filling = Filling::new((upload, state), Arc::clone(room), group);
        match filling.fill(limit).await {
            Ok(()) => Ok(Fit::Whole(filling.whole())),
            Err(Stop::Unheld(_)) => Ok(filling.resumed()),
            Err(Stop::Broken(denial)) => Err(denial),
        }
    }
}

impl Filling {
    fn new((upload, state): (Upload, Option<Arc<UploadState>>), room: Arc<Room>, group: AddrGroup) -> Self {
        Self { upload, state, bytes: Vec::new(), taken: Taken::nothing(room, group) }
    }

    async fn fill(&mut self, limit: u64) -> Result<(), Stop> {
        timeout(WHOLE_WITHIN, self.take_all(limit)).await.unwrap_or(Err(Stop::Unheld(Denial::BodyTooSlow)))
    }

    async fn take_all(&mut self, limit: u64) -> Result<(), Stop> {
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut self.upload).poll_frame(cx)).await {
            let broken =
                || self.state.as_ref().and_then(|state| state.denial()).unwrap_or(Denial::BodyBroken);
            let Ok(data) = frame.map_err(|_| Stop::Broken(broken()))?.into_data() else { continue };
            let room = self.make_room(data.len(), limit);
            // Also without room: the bytes are here, and must not be lost on a body that goes on.
            self.bytes.extend_from_slice(&data);
            room.map_err(Stop::Unheld)?;
        }
        Ok(())
    }

    fn make_room(&mut self, fresh: usize, limit: u64) -> Result<(), Denial> {
        let needed = self.bytes.len() + fresh;
        if u64::try_from(needed).unwrap_or(u64::MAX) > limit {
            return Err(Denial::BodyTooLarge);
        }
        // What is counted is what is taken: a vector that grows by itself takes up to twice as much.
        let capacity = self.bytes.capacity();
        if needed > capacity {
            let most = usize::try_from(limit).unwrap_or(usize::MAX).max(needed);
            let more = needed.max(capacity + GROWTH).min(most) - capacity;
            self.taken.more(u64::try_from(more).unwrap_or(u64::MAX))?;
            self.bytes.reserve_exact(capacity + more - self.bytes.len());
        }
        Ok(())
    }

    fn whole(mut self) -> Held {
        self.bytes.shrink_to_fit();
        Held { bytes: self.bytes.into(), state: self.state, taken: self.taken }
    }

    fn resumed(self) -> Fit {
        let Self { upload, state, bytes, taken } = self;
        let before = (!bytes.is_empty()).then(|| (Bytes::from(bytes), taken));
        Fit::Unfinished(Upload::Resumed(Box::new((before, upload))), state)
    }
}

impl Held {
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
        let room = Room::new(20);
        let group = |last| AddrGroup::of(std::net::IpAddr::from([192, 0, 2, last]));
        let [mut one, mut same, mut other, mut third] =
            [1, 1, 2, 3].map(|last| Taken::nothing(Arc::clone(&room), group(last)));
        assert_eq!(one.more(7), Ok(()));
        assert_eq!(same.more(4), Err(Denial::Overloaded), "over the address's share");
        assert_eq!(same.more(3), Ok(()));
        assert_eq!(other.more(9), Ok(()));
        assert_eq!(third.more(2), Err(Denial::Overloaded), "nothing is left");
        drop(one);
        assert_eq!(third.more(2), Ok(()));
        assert_eq!(same.more(6), Ok(()));
        drop((same, other, third));
        assert_eq!((room.left.load(Ordering::Relaxed), room.held.len()), (20, 0));
    }
}
