//! Secrets that travel with each delivery: in a header (Telegram's `X-Telegram-Bot-Api-Secret-Token`), a query parameter or
//! a path (older set-ups), and HTTP Basic.

use http::header;

use super::Delivery;
use super::place::{Place, in_head, one_header, raw_parameter};
use super::signature::from_base64;
use super::template::Around;
use crate::denial::DeliveryFault;
use crate::secret::Secret;

/// A secret as it was presented.
pub(super) struct Presented {
    /// What is compared.
    pub(super) secret: Secret,
    /// What must not go on either, if that is another text.
    pub(super) as_sent: Option<Secret>,
}

/// What stands in `place`, without what is around it.
///
/// # Errors
/// [`DeliveryFault::SecretMissing`], [`DeliveryFault::SecretWrong`] where the place has another form, and the faults of a
/// place.
pub(super) fn presented(
    place: &Place,
    around: &Around,
    delivery: &Delivery<'_>,
) -> Result<Presented, DeliveryFault> {
    let text = in_head(place, delivery)?.ok_or(DeliveryFault::SecretMissing)?;
    let value = if *place == Place::Header(header::AUTHORIZATION) {
        around.value_after_scheme(&text)
    } else {
        around.value(&text)
    };
    let value = value.ok_or(DeliveryFault::SecretWrong)?;
    let as_sent = match place {
        Place::Query(name) => raw_parameter(delivery.query.unwrap_or_default(), name),
        Place::Header(_) | Place::Path(_) | Place::Json(_) | Place::Unnamed(_) => None,
    };
    let as_sent = as_sent.filter(|raw| raw.as_bytes() != value).map(Secret::new);
    Ok(Presented { secret: Secret::new(value), as_sent })
}

/// `user:password` of `Authorization: Basic …` (RFC 7617 section 2).
///
/// # Errors
/// Like [`presented`].
pub(super) fn basic(delivery: &Delivery<'_>) -> Result<Presented, DeliveryFault> {
    let text = one_header(delivery.headers, &header::AUTHORIZATION)?;
    let (scheme, encoded) =
        text.ok_or(DeliveryFault::SecretMissing)?.split_at_checked(b"Basic ".len()).unwrap_or_default();
    let decoded = from_base64(encoded).filter(|_| scheme.eq_ignore_ascii_case(b"Basic "));
    Ok(Presented {
        secret: Secret::new(decoded.ok_or(DeliveryFault::SecretWrong)?),
        as_sent: Some(Secret::new(encoded)),
    })
}
