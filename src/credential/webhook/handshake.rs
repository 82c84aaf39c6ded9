//! What senders ask when a webhook is registered, and the answers.

use http::StatusCode;
use subtle::ConstantTimeEq;

use super::Delivery;
use super::description::Handshake;
use super::json::{self, Pointer, Scalar};
use super::place::one_parameter;
use crate::denial::DeliveryFault;
use crate::secret::Secret;

/// Longest challenge that is given back, in bytes.
const MOST_BYTES: usize = 1024;

/// The answer to a handshake. It is sent with `X-Content-Type-Options: nosniff`, because part of it is the
/// caller's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    const fn ok(content_type: &'static str, body: Vec<u8>) -> Self {
        Self { status: StatusCode::OK, content_type, body }
    }
}

/// The answer to an unsigned handshake; `None` if the request is none.
///
/// # Errors
/// [`DeliveryFault::HandshakeRefused`] for one without the agreed token.
pub(super) fn unsigned(
    handshake: Option<Handshake>,
    delivery: &Delivery<'_>,
    verify_token: Option<&Secret>,
) -> Result<Option<Answer>, DeliveryFault> {
    match handshake {
        Some(handshake) if handshake.may_be_unsigned(delivery.method) => {
            meta(delivery.query.unwrap_or_default(), verify_token).map(Some)
        }
        Some(_) | None => Ok(None),
    }
}

/// The answer to a signed handshake, whose signature was verified; `None` if the delivery is an ordinary one.
pub(super) fn signed(handshake: Option<Handshake>, body: &[u8]) -> Option<Answer> {
    let values = |names: &[&str]| -> Option<json::Found> {
        let pointers: Option<Vec<Pointer>> = names.iter().map(|name| name.parse().ok()).collect();
        json::find(body, &pointers?).ok()
    };
    match handshake? {
        Handshake::SlackUrlVerification => match &*values(&["/type", "/challenge"])? {
            [Some(Scalar::Text(kind)), Some(Scalar::Text(challenge))]
                if kind == "url_verification" && (1..=MOST_BYTES).contains(&challenge.len()) =>
            {
                Some(Answer::ok("text/plain", challenge.as_bytes().to_vec()))
            }
            _ => None,
        },
        // An interaction is a PING with type 1; a webhook event (which has that type too) is one with type 0, and no event
        // in it (discord.com/developers/docs/events/webhook-events).
        Handshake::DiscordPing => match &*values(&["/type", "/event"])? {
            [Some(Scalar::Number(kind)), None] if kind == "1" => {
                Some(Answer::ok("application/json", br#"{"type":1}"#.to_vec()))
            }
            [Some(Scalar::Number(kind)), None] if kind == "0" => Some(Answer {
                status: StatusCode::NO_CONTENT,
                content_type: "application/json",
                body: Vec::new(),
            }),
            _ => None,
        },
        Handshake::MetaHubChallenge => None,
    }
}

fn meta(query: &str, verify_token: Option<&Secret>) -> Result<Answer, DeliveryFault> {
    let value = |name| one_parameter(query, name)?.ok_or(DeliveryFault::HandshakeRefused);
    let token = value("hub.verify_token")?;
    let agreed = verify_token.is_some_and(|own| own.matches(&token));
    let is_subscription = bool::from(value("hub.mode")?.ct_eq(b"subscribe"));
    let challenge = value("hub.challenge")?;
    let usable = (1..=MOST_BYTES).contains(&challenge.len());
    if agreed && is_subscription && usable {
        Ok(Answer::ok("text/plain", challenge))
    } else {
        Err(DeliveryFault::HandshakeRefused)
    }
}
