//! The access log read back: its files in the order of time, its lines as values.
//!
//! Everything here is bounded whatever the files hold: one buffer, one line at a time. What is no line of the log is
//! counted and passed over.

pub mod files;
pub mod follow;
pub mod line;
pub mod lines;
pub mod reading;
