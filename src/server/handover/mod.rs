//! An upgrade: the running process starts the program anew, hands over its listening sockets, and ends once the new one runs.
//!
//! A connection that waits to be accepted waits in a socket, and the sockets live on, so none is lost. If the new process does
//! not come to run, the old one goes on as if nothing had happened.

pub(super) mod estate;
pub(super) mod giving;
pub(super) mod taking;
pub(super) mod words;
