//! What was signed, in pieces: the body is never copied for a MAC.

use std::borrow::Cow;

use super::Delivery;
use super::place::one_header;
use super::template::{Message, MessageToken};
use super::{twilio, url};
use crate::denial::DeliveryFault;

/// One piece of a message.
#[derive(Clone, Debug)]
pub(super) enum Piece<'a> {
    /// These bytes.
    Bytes(Cow<'a, [u8]>),
    /// The secret under trial.
    Secret,
}

/// What a message needs beyond the request itself.
pub(super) struct Values<'a> {
    /// The time stamp's text as it came.
    pub(super) timestamp: Option<&'a [u8]>,
    /// The first signed id's text.
    pub(super) id: Option<&'a [u8]>,
    /// Values of the body, by pointer.
    pub(super) json: &'a dyn Fn(&super::json::Pointer) -> Option<&'a str>,
}

impl<'a> Piece<'a> {
    /// The bytes, with `secret` where the secret belongs.
    pub(super) fn bytes<'s>(&'s self, secret: &'s [u8]) -> &'s [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Secret => secret,
        }
    }

    fn text(text: &'a str) -> Self {
        Self::Bytes(Cow::Borrowed(text.as_bytes()))
    }
}

/// Every form in which the message may have been signed: more than one only where a sender's URL has several spellings.
///
/// # Errors
/// A value that is signed and missing, or a body of another kind.
pub(super) fn render<'a>(
    message: &'a Message,
    delivery: &'a Delivery<'a>,
    values: &Values<'a>,
) -> Result<Vec<Vec<Piece<'a>>>, DeliveryFault> {
    let mut forms: Vec<Vec<Piece<'a>>> = vec![Vec::new()];
    for token in message.tokens() {
        let pieces = spellings(token, delivery, values)?;
        forms = forms
            .into_iter()
            .flat_map(|form| {
                pieces.iter().map(move |piece| {
                    let mut form = form.clone();
                    form.push(piece.clone());
                    form
                })
            })
            .collect();
    }
    Ok(forms)
}

fn spellings<'a>(
    token: &'a MessageToken,
    delivery: &'a Delivery<'a>,
    values: &Values<'a>,
) -> Result<Vec<Piece<'a>>, DeliveryFault> {
    let owned = |bytes: Vec<u8>| Piece::Bytes(Cow::Owned(bytes));
    Ok(match token {
        MessageToken::Literal(text) => vec![Piece::text(text)],
        MessageToken::Body => vec![Piece::Bytes(Cow::Borrowed(delivery.body))],
        MessageToken::Timestamp => {
            vec![Piece::Bytes(Cow::Borrowed(values.timestamp.ok_or(DeliveryFault::TimestampMissing)?))]
        }
        MessageToken::Id => {
            vec![Piece::Bytes(Cow::Borrowed(values.id.ok_or(DeliveryFault::FieldMissing)?))]
        }
        MessageToken::Method => vec![Piece::text(delivery.method.as_str())],
        MessageToken::Url(form) => {
            url::spellings(delivery.url, *form).into_iter().map(|url| owned(url.into_bytes())).collect()
        }
        MessageToken::Secret => vec![Piece::Secret],
        MessageToken::Json(pointer) => {
            vec![Piece::text((values.json)(pointer).ok_or(DeliveryFault::FieldMissing)?)]
        }
        MessageToken::Header(name) => {
            let value = one_header(delivery.headers, name)?.ok_or(DeliveryFault::FieldMissing)?;
            vec![Piece::Bytes(Cow::Borrowed(value))]
        }
        MessageToken::SortedForm => twilio::fields(delivery)?.into_iter().map(owned).collect(),
    })
}
