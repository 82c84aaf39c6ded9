//! Keys as stored: [`key`] is one, [`set`] finds one by digest, [`state`] outlives reloads, [`phase`] tells where one
//! stands in its life, and [`last_used`] what commands can know of its use.

pub mod key;
pub mod last_used;
pub mod phase;
pub mod set;
pub mod state;
