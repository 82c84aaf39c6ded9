//! How often: [`rate`] is the written form, [`limiter`] one governor limiter, [`failures`] the bounded memory of addresses
//! whose credentials were refused, [`bans`] those of them that may not use keys for a while.

pub mod bans;
pub mod deliveries;
pub mod failures;
pub mod limiter;
pub mod rate;
