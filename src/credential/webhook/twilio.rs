//! Twilio's bodies: a form is signed field by field; anything else by a digest in the signed URL
//! (twilio.com/docs/usage/security, "Validating signatures").

use http::header;
use ring::digest;
use subtle::ConstantTimeEq;

use super::Delivery;
use super::form::sorted;
use super::place::{one_header, one_parameter};
use super::signature::from_hex;
use crate::denial::DeliveryFault;

/// What of the body is signed after the URL: the form's fields, or nothing where the URL has the body's digest.
///
/// # Errors
/// [`DeliveryFault::BodyMismatch`] where the digest is another body's; [`DeliveryFault::BodyMalformed`] for a body that
/// neither is a form nor has a digest: nothing of it would be signed.
pub(super) fn fields(delivery: &Delivery<'_>) -> Result<Vec<Vec<u8>>, DeliveryFault> {
    let announced = one_parameter(delivery.query.unwrap_or_default(), "bodySHA256")?;
    let is_form = is_form(one_header(delivery.headers, &header::CONTENT_TYPE)?.unwrap_or_default());
    if let Some(announced) = announced {
        let own = digest::digest(&digest::SHA256, delivery.body);
        let given = from_hex(&announced).unwrap_or_default();
        if !bool::from(own.as_ref().ct_eq(&given)) {
            return Err(DeliveryFault::BodyMismatch);
        }
        let form = if is_form { sorted(delivery.body).ok().filter(|form| !form.is_empty()) } else { None };
        return Ok(form.into_iter().chain([Vec::new()]).collect());
    }
    if delivery.body.is_empty() {
        Ok(vec![Vec::new()])
    } else if is_form {
        Ok(vec![sorted(delivery.body)?])
    } else {
        Err(DeliveryFault::BodyMalformed)
    }
}

fn is_form(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}
