//! `application/x-www-form-urlencoded`, as far as senders sign it.

use std::collections::{BTreeMap, BTreeSet};

use crate::denial::DeliveryFault;

/// One name or value of a query; what is no escape stays as it is. The judged query has no bad escapes.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, escaped(rest)) {
            (b'+', _) => out.push(b' '),
            (b'%', Some((byte, after))) => {
                out.push(byte);
                rest = after;
            }
            (byte, _) => out.push(*byte),
        }
    }
    out
}

/// The byte that two hexadecimal digits stand for, and what comes after them.
pub(super) fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let [high, low, after @ ..] = text else { return None };
    Some((digit(*high)? << 4 | digit(*low)?, after))
}

/// Names and values of a form, one after the other: names sorted, the values of a repeated name sorted and without
/// repetition (twilio.com/docs/usage/security; the libraries agree).
///
/// # Errors
/// [`DeliveryFault::BodyMalformed`] for bytes that no form encoder writes, bad escapes, or what is not UTF-8: two readers
/// could make different fields of it.
pub(super) fn sorted(body: &[u8]) -> Result<Vec<u8>, DeliveryFault> {
    let mut fields: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at_checked(at).unwrap_or((pair, b""));
        let value = value.strip_prefix(b"=").unwrap_or_default();
        fields.entry(strictly(name)?).or_default().insert(strictly(value)?);
    }
    let mut out = Vec::with_capacity(body.len());
    for (name, values) in fields {
        for value in values {
            out.extend_from_slice(&name);
            out.extend_from_slice(&value);
        }
    }
    Ok(out)
}

fn strictly(text: &[u8]) -> Result<Vec<u8>, DeliveryFault> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'+' => out.push(b' '),
            b'%' => {
                let (byte, after) = escaped(rest).ok_or(DeliveryFault::BodyMalformed)?;
                out.push(byte);
                rest = after;
            }
            0x21..=0x7e => out.push(*first),
            _ => return Err(DeliveryFault::BodyMalformed),
        }
    }
    if std::str::from_utf8(&out).is_ok() { Ok(out) } else { Err(DeliveryFault::BodyMalformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_in_order() {
        assert_eq!(sorted(b"b=2&a=1&b=1&b=2&c").unwrap(), b"a1b1b2c");
        assert_eq!(sorted(b"a=%2B1+x%C3%A9").unwrap(), "a+1 xé".as_bytes());
        assert_eq!(sorted(b"").unwrap(), b"");
        for bad in [&b"a=%2"[..], b"a=%zz", b"a=\xff", b"a=%ff", b"a b=1", b"a=1\n"] {
            assert_eq!(sorted(bad), Err(DeliveryFault::BodyMalformed));
        }
        assert_eq!(decoded("a+%zz%41%"), b"a %zzA%");
    }
}
