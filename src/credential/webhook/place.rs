//! Where a scheme reads something: exactly one value in exactly one spelling, or nothing.

use http::{HeaderMap, HeaderName};

use super::Delivery;
use super::form::decoded;
use super::json::Pointer;
use crate::denial::DeliveryFault;
use crate::request_head::fields::same_name;

/// Longest value that a scheme reads, in bytes.
const MOST_BYTES: usize = 8192;

/// Where a signature or a secret stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The value of this header.
    Header(HeaderName),
    /// The value of this query parameter, whose name is compared with case.
    Query(Box<str>),
    /// The rest of the path after this prefix.
    Path(Box<str>),
    /// A value in the JSON body.
    Json(Pointer),
    /// A place of this kind, whose name the configuration has to give.
    Unnamed(PlaceKind),
}

/// Kinds of places that need a name from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceKind {
    /// A header.
    Header,
    /// A query parameter.
    Query,
    /// A path.
    Path,
}

/// The one value of `name`, trimmed (RFC 9110 section 5.5); `None` if the field is missing. `_` is not `-` in the field
/// that is read, but a second field that a CRM could take for it is one too many.
///
/// # Errors
/// [`DeliveryFault::FieldDoubled`] or [`DeliveryFault::FieldTooLong`].
pub(super) fn one_header<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h [u8]>, DeliveryFault> {
    let mut alike = headers.iter().filter(|(given, _)| same_name(given.as_str(), name.as_str()));
    match (alike.next(), alike.next()) {
        (Some(_), Some(_)) => Err(DeliveryFault::FieldDoubled),
        (Some((given, value)), None) if given == name => {
            let value = trimmed(value.as_bytes());
            if value.len() > MOST_BYTES { Err(DeliveryFault::FieldTooLong) } else { Ok(Some(value)) }
        }
        (Some(_) | None, None) | (None, Some(_)) => Ok(None),
    }
}

/// Without spaces and tabs at both ends.
pub(super) fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The parameter's value after form decoding; a second occurrence, in any spelling of its name, is refused.
pub(super) fn one_parameter(query: &str, name: &str) -> Result<Option<Vec<u8>>, DeliveryFault> {
    let parameters = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut values = parameters.filter(|(given, _)| decoded(given) == name.as_bytes());
    match (values.next(), values.next()) {
        (Some(_), Some(_)) => Err(DeliveryFault::FieldDoubled),
        (Some((_, value)), None) if value.len() > MOST_BYTES => Err(DeliveryFault::FieldTooLong),
        (Some((_, value)), None) => Ok(Some(decoded(value))),
        (None, _) => Ok(None),
    }
}

/// The parameter's value as it was sent, escapes and all.
pub(super) fn raw_parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let mut parameters = query.split('&').filter_map(|pair| pair.split_once('='));
    parameters.find(|(given, _)| decoded(given) == name.as_bytes()).map(|(_, value)| value)
}

/// What stands in a place outside the body.
pub(super) fn in_head(place: &Place, delivery: &Delivery<'_>) -> Result<Option<Vec<u8>>, DeliveryFault> {
    match place {
        Place::Header(name) => Ok(one_header(delivery.headers, name)?.map(<[u8]>::to_vec)),
        Place::Query(name) => one_parameter(delivery.query.unwrap_or_default(), name),
        Place::Path(prefix) => Ok(delivery
            .path
            .strip_prefix(&**prefix)
            .filter(|rest| !rest.is_empty() && rest.len() <= MOST_BYTES)
            .map(|rest| rest.as_bytes().to_vec())),
        Place::Json(_) | Place::Unnamed(_) => Err(DeliveryFault::NotConfigured),
    }
}

/// `query` without the parameter `name`; everything else byte for byte.
pub fn without_parameter(query: &str, name: &str) -> String {
    without_parameters(query, |given| given == name.as_bytes())
}

/// `query` without the parameters whose decoded name is `unwanted`; everything else byte for byte.
pub fn without_parameters(query: &str, unwanted: impl Fn(&[u8]) -> bool) -> String {
    let name = |pair: &str| decoded(pair.split_once('=').map_or(pair, |(given, _)| given));
    let kept: Vec<&str> = query.split('&').filter(|pair| !unwanted(&name(pair))).collect();
    kept.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, http::HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn one_field_in_one_spelling() {
        let name = HeaderName::from_static("x-token");
        let one = |fields: &[(&str, &[u8])]| {
            one_header(&headers(fields), &name).map(|value| value.map(<[u8]>::to_vec))
        };
        assert_eq!(one(&[("X-Token", b" \ta b\t")]), Ok(Some(b"a b".to_vec())));
        assert_eq!(one(&[("x-other", b"a")]), Ok(None));
        assert_eq!(one(&[("x_token", b"a")]), Ok(None), "another spelling is another field");
        for twice in [[("x-token", b"a"), ("x-token", b"a")], [("x-token", b"a"), ("x_token", b"a")]] {
            let twice: Vec<(&str, &[u8])> = twice.iter().map(|(name, value)| (*name, &value[..])).collect();
            assert_eq!(one(&twice), Err(DeliveryFault::FieldDoubled));
        }
        assert!(one(&[("x-token", &[b'a'; 8192])]).is_ok());
        assert_eq!(one(&[("x-token", &[b'a'; 8193])]), Err(DeliveryFault::FieldTooLong));
    }

    #[test]
    fn query_parameters() {
        let one = |query: &str| one_parameter(query, "secret");
        assert_eq!(one("x=1&secret=a+b%2fc"), Ok(Some(b"a b/c".to_vec())));
        assert_eq!(one("Secret=a"), Ok(None));
        assert_eq!(one("secret=a&secret=a"), Err(DeliveryFault::FieldDoubled));
        assert_eq!(one("secret=a&se%63ret=a"), Err(DeliveryFault::FieldDoubled));
        assert_eq!(without_parameter("x=1&secret=s&y=%20&se%63ret=t", "secret"), "x=1&y=%20");
        assert_eq!(without_parameter("secret=s", "secret"), "");
    }
}
