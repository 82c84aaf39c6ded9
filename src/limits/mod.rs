//! How often: [`rate`] is the written form, [`limiter`] one governor limiter, [`failures`] the bounded memory of addresses
//! whose credentials were refused.

pub mod deliveries;
pub mod failures;
pub mod limiter;
pub mod rate;
