//! How long to wait before trying again.

use std::num::NonZeroU64;

/// Whole seconds until trying again makes sense; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(NonZeroU64);

impl RetryAfter {
    /// One second.
    pub const LEAST: Self = Self(NonZeroU64::MIN);

    /// Rounds `wait` up to whole seconds.
    pub fn from_wait(wait: std::time::Duration) -> Self {
        let secs = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        Self(NonZeroU64::new(secs).unwrap_or(NonZeroU64::MIN))
    }

    /// The seconds.
    pub const fn seconds(self) -> u64 {
        self.0.get()
    }
}
