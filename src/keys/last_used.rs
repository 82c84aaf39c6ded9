//! When keys were last used, for commands that run beside the gateway.
//!
//! The running process knows ([`KeyState::last_used`](super::state::KeyState::last_used)), but writes it nowhere yet: until
//! it does, [`LastUsed::read`] finds nothing, commands show `-`, and what would refuse or ask because a key is busy does
//! not.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::key::KeyId;
use crate::clock::WallTime;

/// A secret that was used within this time is busy: 1 h.
pub const BUSY: Duration = Duration::from_secs(3_600);

/// Last uses by key.
#[derive(Clone, Debug, Default)]
pub struct LastUsed {
    by_id: HashMap<KeyId, Uses>,
}

/// The last uses of one key, `None` where none is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// By whichever secret.
    pub any: Option<WallTime>,
    /// By the secret that a rotation replaced.
    pub previous: Option<WallTime>,
}

impl LastUsed {
    /// What is kept in the state folder.
    pub fn read(_state_dir: &Path) -> Self {
        Self::default()
    }

    /// From what is known already.
    pub fn of_known(known: impl IntoIterator<Item = (KeyId, Uses)>) -> Self {
        Self { by_id: known.into_iter().collect() }
    }

    /// The uses of one key.
    pub fn of(&self, id: &KeyId) -> Uses {
        self.by_id.get(id).copied().unwrap_or_default()
    }
}

/// True if `last` is within [`BUSY`] before `now`.
pub fn is_busy(last: Option<WallTime>, now: WallTime) -> bool {
    last.is_some_and(|last| now.since(last) < BUSY)
}
