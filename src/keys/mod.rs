//! Keys as stored: [`key`] is one, [`set`] finds one by digest, [`state`] outlives reloads.

pub mod key;
pub mod set;
pub mod state;
