//! Try before it bites: for a key in observe mode its own limits count what they would refuse.

use crate::denial::{Denial, Observed};
use crate::keys::key::{Key, Mode};

/// What was let through so far, and whether more may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lenience {
    mode: Mode,
    first: Option<Observed>,
}

impl Lenience {
    /// Nothing let through yet.
    pub(super) const fn of(key: &Key) -> Self {
        Self { mode: key.mode, first: None }
    }

    /// The same, in the mode that the key has by now.
    pub(super) const fn still(self, key: &Key) -> Self {
        Self { mode: key.mode, ..self }
    }

    /// Lets a refusal pass that the key's mode only counts. The first one counts: it is the one that would be answered.
    ///
    /// # Errors
    /// The same refusal, where it is to be enforced.
    #[cold]
    pub(super) fn waive(&mut self, denial: Denial) -> Result<(), Denial> {
        match (self.mode, denial.observed()) {
            (Mode::Observe, Some(observed)) => {
                self.first.get_or_insert(observed);
                Ok(())
            }
            (Mode::Enforce, _) | (Mode::Observe, None) => Err(denial),
        }
    }

    /// True if refusals may pass.
    pub(super) fn is_given(self) -> bool {
        self.mode == Mode::Observe
    }

    /// What would have been refused.
    pub(super) const fn observed(self) -> Option<Observed> {
        self.first
    }
}
