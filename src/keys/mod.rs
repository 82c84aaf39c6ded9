//! Keys as stored: [`key`] is one, [`set`] finds one by digest, [`state`] outlives reloads, [`phase`] tells where one
//! stands in its life, [`last_used`] and [`origins`] what is known of its use, when and from where; [`origins_file`] keeps the
//! latter.

pub mod key;
pub mod last_used;
pub mod origins;
pub mod origins_file;
pub mod phase;
pub mod set;
pub mod state;
