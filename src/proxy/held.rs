//! Bodies that are held until they are judged, in either direction: bounded each, and all together.

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

use super::upload::{Trailers, Upload, UploadState};
use crate::client_addr::AddrGroup;
use crate::config::Timeouts;
use crate::denial::Denial;

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

/// Bytes that are held, and the part of the room that they take.
#[derive(Debug)]
pub struct Store {
    bytes: Vec<u8>,
    taken: Taken,
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

impl Store {
    /// Nothing yet.
    pub const fn new(room: Arc<Room>, group: AddrGroup) -> Self {
        Self { bytes: Vec::new(), taken: Taken::nothing(room, group) }
    }

    /// Adds what came; there will be `limit` bytes at most.
    ///
    /// # Errors
    /// [`Denial::Overloaded`] if there is no room.
    pub fn add(&mut self, data: &[u8], limit: u64) -> Result<(), Denial> {
        self.make_room(data.len(), limit)?;
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn make_room(&mut self, fresh: usize, limit: u64) -> Result<(), Denial> {
        let (held, needed) = (self.bytes.capacity(), self.bytes.len() + fresh);
        // What is counted is what is taken: a vector that grows by itself takes up to twice as much.
        if needed > held {
            let most = usize::try_from(limit).unwrap_or(usize::MAX).max(needed);
            let more = needed.max(held + GROWTH).min(most) - held;
            self.taken.more(u64::try_from(more).unwrap_or(u64::MAX))?;
            self.bytes.reserve_exact(held + more - self.bytes.len());
        }
        Ok(())
    }

    /// Number of bytes.
    pub fn count(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }

    /// Others in their place, about as many.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn replace<E>(self, make: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, E>) -> Result<Self, E> {
        Ok(Self { bytes: make(self.bytes)?, taken: self.taken })
    }
}

impl AsRef<[u8]> for Store {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Store> for Bytes {
    /// The room is given back with the last of them.
    fn from(store: Store) -> Self {
        if store.bytes.is_empty() { Self::new() } else { Self::from_owner(store) }
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
    store: Store,
    /// Most time until it is whole.
    within: Duration,
}

impl Fit {
    /// What is known of how it came, or comes.
    pub const fn state(&self) -> Option<&Arc<UploadState>> {
        match self {
            Self::Whole(held) => held.state.as_ref(),
            Self::Unfinished(_, state) => state.as_ref(),
        }
    }
}

/// Why it is not.
enum Stop {
    /// It could go on, but not be held.
    Unheld(Denial),
    /// It cannot go on.
    Broken(Denial),
}

impl Held {
    /// Reads a whole body of at most `limit` bytes, with the pace that every upload must have, and within
    /// [`Timeouts::held_body`] however much of it has come: memory is not a place to stay. Trailers are dropped: no
    /// signature covers them.
    ///
    /// # Errors
    /// [`Denial::BodyTooLarge`], [`Denial::BodyTooSlow`], [`Denial::BodyBroken`], or [`Denial::Overloaded`] if there is no
    /// room.
    pub async fn read(
        body: Incoming,
        limit: u64,
        timeouts: &Timeouts,
        (room, group): (&Arc<Room>, AddrGroup),
    ) -> Result<Self, Denial> {
        if body.size_hint().exact().is_some_and(|bytes| bytes > limit) {
            return Err(Denial::BodyTooLarge);
        }
        let upload = Upload::new(body, limit, timeouts.request_body_idle, Trailers::Dropped);
        let mut filling = Filling::new(upload, Store::new(Arc::clone(room), group), timeouts.held_body);
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
        timeouts: &Timeouts,
        (room, group): (&Arc<Room>, AddrGroup),
    ) -> Result<Fit, Denial> {
        let expected = body.size_hint().exact().unwrap_or(0);
        if expected > most {
            return Err(Denial::BodyTooLarge);
        }
        let (upload, state) = Upload::new(body, most, timeouts.request_body_idle, Trailers::Forwarded);
        if expected > limit {
            return Ok(Fit::Unfinished(upload, state));
        }
        let store = Store::new(Arc::clone(room), group);
        let mut filling = Filling::new((upload, state), store, timeouts.held_body);
        match filling.fill(limit).await {
            Ok(()) => Ok(Fit::Whole(filling.whole())),
            Err(Stop::Unheld(_)) => Ok(filling.resumed()),
            Err(Stop::Broken(denial)) => Err(denial),
        }
    }
}

impl Filling {
    fn new((upload, state): (Upload, Option<Arc<UploadState>>), store: Store, within: Duration) -> Self {
        Self { upload, state, store, within }
    }

    async fn fill(&mut self, limit: u64) -> Result<(), Stop> {
        timeout(self.within, self.take_all(limit)).await.unwrap_or(Err(Stop::Unheld(Denial::BodyTooSlow)))
    }

    async fn take_all(&mut self, limit: u64) -> Result<(), Stop> {
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut self.upload).poll_frame(cx)).await {
            let broken =
                || self.state.as_ref().and_then(|state| state.denial()).unwrap_or(Denial::BodyBroken);
            let Ok(data) = frame.map_err(|_| Stop::Broken(broken()))?.into_data() else { continue };
            let is_small = self.store.count().saturating_add(length(&data)) <= limit;
            let room = self.store.make_room(data.len(), limit);
            // Also without room: the bytes are here, and must not be lost on a body that goes on.
            self.store.bytes.extend_from_slice(&data);
            room.and(if is_small { Ok(()) } else { Err(Denial::BodyTooLarge) }).map_err(Stop::Unheld)?;
        }
        Ok(())
    }

    fn whole(self) -> Held {
        let Store { mut bytes, taken } = self.store;
        bytes.shrink_to_fit();
        Held { bytes: bytes.into(), state: self.state, taken }
    }

    fn resumed(self) -> Fit {
        let Self { upload, state, store: Store { bytes, taken }, within: _ } = self;
        let before = (!bytes.is_empty()).then(|| (Bytes::from(bytes), taken));
        Fit::Unfinished(Upload::Resumed(Box::new((before, upload))), state)
    }
}

fn length(data: &Bytes) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
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
