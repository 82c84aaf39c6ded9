//! What webhook senders prove their deliveries with: one engine, and senders as data ([`description`]).
//!
//! [`Sender::prove`] is the whole decision, in straight-line order: network, handshake, selecting fields, then a secret or a
//! signature, then what the body must say. The rules are stricter than most senders' own libraries: one spelling, one
//! field, both bounds of a time window.

pub mod crypto;
pub mod description;
pub mod handshake;
pub mod json;
pub mod place;
pub mod telegram;
pub mod template;

mod facts;
mod form;
mod message;
mod replay;
mod screen;
mod sender;
mod settings;
mod signature;
mod timestamp;
mod token;
mod twilio;
mod url;
mod xml;

use std::net::IpAddr;

use http::{HeaderMap, Method};

use crate::secret::Secret;
pub use facts::SecretPrint;
pub use handshake::Answer;
pub use replay::ReplayKey;
pub use sender::Sender;
pub use settings::{HandshakeMode, LiveSecret, ReplayMode, Settings};

/// One request to a webhook, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The method.
    pub method: &'a Method,
    /// The URL that the sender called: the configured public base and the raw target. Read only where
    /// [`Sender::needs_url`].
    pub url: &'a str,
    /// The raw path.
    pub path: &'a str,
    /// The raw query, without `?`.
    pub query: Option<&'a str>,
    /// All fields, repetitions included.
    pub headers: &'a HeaderMap,
    /// The raw body; read only where [`Sender::needs_body`].
    pub body: &'a [u8],
    /// The client's address, where the sender's networks are enforced here.
    pub peer: Option<IpAddr>,
}

/// A delivery that is genuine.
#[derive(Clone, Debug)]
pub struct Proved {
    /// Which of the configured secrets said so; `None` for an unsigned handshake.
    pub secret_index: Option<usize>,
    /// What tells this delivery from others; `None` where nothing does, or nothing should.
    pub replay_key: Option<ReplayKey>,
    /// The secret that travelled with it, in each of its spellings, so that no copy of it goes on.
    pub presented: Vec<Secret>,
    /// The answer to a handshake, where Sidelock gives it.
    pub handshake: Option<Answer>,
}
