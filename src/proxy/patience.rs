//! How long a client may take to send a body, or to read an answer. Waiting uses patience up, and each byte that gets through gives
//! some of it back: a byte now and then does not hold a connection for ever.

use std::time::Duration;

use tokio::time::Instant;

/// SECURITY: slower than any working client. So many bytes make up for a second of waiting.
const LEAST_BYTES_PER_SECOND: u64 = 500;

/// Patience with one client.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    most: Duration,
    left: Duration,
    /// Since when nothing gets through.
    waiting: Option<Instant>,
    /// Whether there is anything to make up for: mostly not, and then a byte costs nothing.
    tried: bool,
}

impl Patience {
    /// Whoever moves nothing at all may take `most`.
    pub const fn new(most: Duration) -> Self {
        Self { most, left: most, waiting: None, tried: false }
    }

    /// Nothing gets through. Tells when patience ends if that stays so.
    pub fn waits(&mut self, now: impl FnOnce() -> Instant) -> Instant {
        self.tried = true;
        *self.waiting.get_or_insert_with(now) + self.left
    }

    /// True if nothing is to be made up for.
    #[inline]
    pub const fn is_whole(&self) -> bool {
        !self.tried
    }

    /// When patience ends, if something waits.
    pub fn ends(&self) -> Option<Instant> {
        self.waiting.map(|since| since + self.left)
    }

    /// So many bytes got through.
    #[inline]
    pub fn moved(&mut self, bytes: usize, now: impl FnOnce() -> Instant) {
        if !self.is_whole() {
            self.restore(bytes, now);
        }
    }

    #[cold]
    fn restore(&mut self, bytes: usize, now: impl FnOnce() -> Instant) {
        if let Some(since) = self.waiting.take() {
            self.left = self.left.saturating_sub(now().duration_since(since));
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let worth = Duration::from_millis(bytes.saturating_mul(1_000 / LEAST_BYTES_PER_SECOND));
        self.left = self.left.saturating_add(worth).min(self.most);
        self.tried = self.left < self.most;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// How many times a client may take `pause` for so many bytes, up to a hundred.
    fn rounds(bytes: usize, pause: Duration) -> usize {
        let (mut patience, mut now) = (Patience::new(MINUTE), Instant::now());
        let lasts = |_: &usize| {
            let ends = patience.waits(|| now);
            now += pause;
            patience.moved(bytes, || now);
            ends >= now
        };
        (0..100).take_while(lasts).count()
    }

    #[test]
    fn reading_makes_up_for_waiting() {
        let secs = Duration::from_secs;
        assert_eq!((rounds(0, secs(61)), rounds(1_000_000, secs(61))), (0, 0), "nothing for too long");
        assert_eq!((rounds(1, secs(59)), rounds(1, secs(20))), (1, 3), "a byte now and then");
        assert_eq!((rounds(400 * 20, secs(20)), rounds(500 * 20, secs(20))), (11, 100));
        assert_eq!(rounds(500 * 59, secs(59)), 100);
    }

    #[test]
    fn what_was_read_at_leisure_is_no_store_of_patience() {
        let (mut patience, now) = (Patience::new(MINUTE), Instant::now());
        patience.moved(1_000_000_000, || now);
        assert_eq!(patience.ends(), None);
        assert_eq!(patience.waits(|| now), now + MINUTE);
        assert_eq!(patience.waits(|| now + MINUTE), now + MINUTE, "since the first time");
    }
}
