//! What a caller may do: [`scope`] says which methods and paths, [`allowlist`] from which addresses; [`senders`] whose
//! updates a bot takes, and in which [`hours`].

pub mod allowlist;
pub mod hours;
pub mod scope;
pub mod senders;
