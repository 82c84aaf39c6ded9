//! Signatures as senders write them: found in their place, and decoded without leniency.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::crypto::Primitive;
use super::description::{SignatureEncoding, SignatureForm};
use super::place::trimmed;
use super::template::Around;
use crate::denial::DeliveryFault;

/// Most items of a list.
const MOST_ITEMS: usize = 16;

/// What stands in the signature's place, taken apart.
#[derive(Debug)]
pub(super) struct Presented {
    /// Signatures of the right form and length; at least one.
    pub(super) signatures: Vec<Vec<u8>>,
    /// All items, for a time stamp among them.
    pub(super) items: Vec<Vec<u8>>,
}

/// Takes `text` apart. In a list, what is malformed or of another kind does not count; alone, it is refused.
pub(super) fn read(
    text: &[u8],
    form: &SignatureForm,
    around: &Around,
    primitive: Primitive,
) -> Result<Presented, DeliveryFault> {
    if text.is_empty() {
        return Err(DeliveryFault::SignatureMissing);
    }
    let items: Vec<&[u8]> = match form.separator {
        None => vec![text],
        Some(separator) => text.split(|byte| *byte == separator).take(MOST_ITEMS + 1).collect(),
    };
    if items.len() > MOST_ITEMS {
        return Err(DeliveryFault::FieldTooLong);
    }
    let items: Vec<Vec<u8>> = items.into_iter().filter_map(|item| without_outer(item, form)).collect();
    let mut fits = false;
    let mut signatures = Vec::new();
    for value in items.iter().filter_map(|item| around.value(item)) {
        fits = true;
        let decoded = decode(value, form.encoding);
        signatures.extend(decoded.filter(|bytes| primitive.signature_bytes().contains(&bytes.len())));
    }
    if signatures.is_empty() {
        let names_another = !fits && !items.is_empty() && form.item.variables().next().is_some();
        return Err(if names_another {
            DeliveryFault::IdMismatch
        } else {
            DeliveryFault::SignatureMalformed
        });
    }
    Ok(Presented { signatures, items })
}

fn without_outer(item: &[u8], form: &SignatureForm) -> Option<Vec<u8>> {
    let item = if form.trim_items { trimmed(item) } else { item };
    if form.outer_base64 { from_base64(item) } else { Some(item.to_vec()) }
}

fn decode(text: &[u8], encoding: SignatureEncoding) -> Option<Vec<u8>> {
    match encoding {
        SignatureEncoding::Hex => from_hex(text),
        SignatureEncoding::Base64 => from_base64(text),
        SignatureEncoding::Raw => Some(text.to_vec()),
    }
}

/// Lower-case hexadecimal, as all senders write it.
pub(super) fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

/// Standard alphabet, padded, no spare bits: one spelling for each value.
pub(super) fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_each_value() {
        assert_eq!(from_hex(b"00ff1a"), Some(vec![0, 255, 26]));
        for bad in [&b"0"[..], b"0F", b"0g", b" 00", b"+0"] {
            assert_eq!(from_hex(bad), None);
        }
        assert_eq!(from_base64(b"/+8="), Some(vec![0xff, 0xef]));
        for bad in [&b"/+8"[..], b"/+9=", b"_-8=", b"/+8=\n", b"/ +8=", b"/+8==", b"====", b"/+8=x"] {
            assert_eq!(from_base64(bad), None);
        }
    }
}
