//! What senders ask when a webhook is registered, and the answers.

use http::Method;
use subtle::ConstantTimeEq;

use super::Delivery;
use super::description::Handshake;
use super::json::{self, Pointer, Scalar};
use super::place::one_parameter;
use crate::denial::DeliveryFault;
use crate::secret::Secret;

/// Longest challenge that is given back, in bytes.
const MOST_BYTES: usize = 1024;

/// The answer to a handshake, with status 200. It is sent with `X-Content-Type-Options: nosniff`, because part of it is the
/// caller's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
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
        Some(Handshake::MetaHubChallenge) if *delivery.method == Method::GET => {
            meta(delivery.query.unwrap_or_default(), verify_token).map(Some)
        }
        Some(Handshake::MetaHubChallenge | Handshake::SlackUrlVerification | Handshake::DiscordPing)
        | None => Ok(None),
    }
}

/// The answer to a signed handshake, whose signature was verified; `None` if the delivery is an ordinary one.
pub(super) fn signed(handshake: Option<Handshake>, body: &[u8]) -> Option<Answer> {
    let values = |names: &[&str]| -> Option<json::Found<'_>> {
        let pointers: Option<Vec<Pointer>> = names.iter().map(|name| name.parse().ok()).collect();
        json::find(body, &pointers?).ok()
    };
    match handshake? {
        Handshake::SlackUrlVerification => match &*values(&["/type", "/challenge"])? {
            [Some(Scalar::Text(kind)), Some(Scalar::Text(challenge))]
                if kind == "url_verification" && (1..=MOST_BYTES).contains(&challenge.len()) =>
            {
                Some(Answer { content_type: "text/plain", body: challenge.as_bytes().to_vec() })
            }
            _ => None,
        },
        Handshake::DiscordPing => match &*values(&["/type"])? {
            [Some(Scalar::Number("1"))] => {
                Some(Answer { content_type: "application/json", body: br#"{"type":1}"#.to_vec() })
            }
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
        Ok(Answer { content_type: "text/plain", body: challenge })
    } else {
        Err(DeliveryFault::HandshakeRefused)
    }
}
