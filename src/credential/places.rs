//! Where clients put the key: exactly one credential in all these places together, or the request is refused.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::denial::{Ambiguity, Denial};
use crate::request_head::fields::{ListedNames, same_name};

/// The configured places, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    places: Vec<Place>,
    /// Bit `n` is set for a place with a name of `n` bytes: most fields need no closer look.
    lengths: u64,
}

/// One header that may hold the key, whole or after a scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    header: HeaderName,
    /// As in `Authorization: Bearer …` (RFC 9110 section 11.1); compared without case.
    scheme: Option<Box<str>>,
}

/// Not a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a header name, or a header name and a scheme, as in 'x-api-key' or 'authorization: bearer'"
)]
pub struct PlaceError;

/// The credential as presented, and where.
#[derive(Debug)]
pub struct Presented<'a> {
    /// The header as it was spelled (lower case).
    pub header: &'a HeaderName,
    /// The key's text, not yet looked up.
    pub text: &'a [u8],
}

impl std::str::FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (name, scheme) = match text.split_once(':') {
            Some((name, scheme)) => (name, Some(scheme.trim())),
            None => (text, None),
        };
        let header = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| PlaceError)?;
        let token = |scheme: &str| {
            !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        match scheme {
            Some(scheme) if !token(scheme) => Err(PlaceError),
            scheme => Ok(Self { header, scheme: scheme.map(Into::into) }),
        }
    }
}

impl Default for Places {
    fn default() -> Self {
        Self::new(vec![
            Place { header: header::AUTHORIZATION, scheme: Some("bearer".into()) },
            Place { header: HeaderName::from_static("x-api-key"), scheme: None },
        ])
    }
}

impl Places {
    /// From the configuration.
    pub fn new(places: Vec<Place>) -> Self {
        let lengths = places.iter().fold(0, |lengths, place| lengths | length_bit(&place.header));
        Self { places, lengths }
    }

    /// The places' header names that need listing because of a `_`.
    pub fn listed_names(&self) -> Vec<HeaderName> {
        self.places
            .iter()
            .map(|place| place.header.clone())
            .filter(|name| name.as_str().contains('_'))
            .collect()
    }

    /// Header names that hold credentials, in every spelling that is present.
    pub fn present_in<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a HeaderName> {
        headers.keys().filter(|name| self.at(name).is_some())
    }

    fn at(&self, name: &HeaderName) -> Option<&Place> {
        if self.lengths & length_bit(name) == 0 {
            return None;
        }
        self.places
            .iter()
            .find(|place| place.header == *name || same_name(place.header.as_str(), name.as_str()))
    }

    /// The one credential.
    ///
    /// # Errors
    /// [`Denial::CredentialMissing`], [`Denial::CredentialMalformed`] for another scheme, or [`Ambiguity::SeveralCredentials`] for a second
    /// one in any place and spelling, even if equal.
    pub fn find<'a>(&self, headers: &'a HeaderMap) -> Result<Presented<'a>, Denial> {
        let mut found: Option<(&Place, &'a HeaderName, &'a [u8])> = None;
        for (name, value) in headers {
            if let Some(place) = self.at(name) {
                if found.is_some() {
                    return Err(Denial::Ambiguous(Ambiguity::SeveralCredentials));
                }
                found = Some((place, name, value.as_bytes()));
            }
        }
        let (place, header, value) = found.ok_or(Denial::CredentialMissing)?;
        let text = self.after_scheme(place, value).ok_or(Denial::CredentialMalformed)?;
        Ok(Presented { header, text })
    }

    /// A field that presents `text` where clients put it first; `None` if it cannot stand in one.
    pub fn present(&self, text: &str) -> Option<(HeaderName, HeaderValue)> {
        let Place { header, scheme } = self.places.first()?;
        let scheme = scheme.as_ref().map_or_else(String::new, |scheme| format!("{scheme} "));
        Some((header.clone(), HeaderValue::from_str(&format!("{scheme}{text}")).ok()?))
    }

    /// The text after one of the schemes that this header may have; the whole value where it needs none.
    fn after_scheme<'a>(&self, place: &Place, value: &'a [u8]) -> Option<&'a [u8]> {
        self.places.iter().filter(|other| other.header == place.header).find_map(|other| {
            match &other.scheme {
                None => Some(value),
                Some(scheme) => {
                    let (given, rest) = value.split_at_checked(scheme.len())?;
                    let fits = given.eq_ignore_ascii_case(scheme.as_bytes());
                    rest.strip_prefix(b" ").filter(|_| fits)
                }
            }
        })
    }
}

/// Names of 63 bytes and more share a bit.
fn length_bit(name: &HeaderName) -> u64 {
    1 << name.as_str().len().min(63)
}

impl From<&Places> for ListedNames {
    fn from(places: &Places) -> Self {
        Self::new(places.listed_names())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::api_key::DigestMemo;

    const KEY: &str = "0123456789abcdefghij";

    fn find(places: &[&str], fields: &[(&str, &str)]) -> Result<String, Denial> {
        let places = Places::new(places.iter().map(|place| place.parse().unwrap()).collect());
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let presented = places.find(&headers)?;
        // What stands there is judged when its digest is asked for.
        DigestMemo::default().digest(presented.text).ok_or(Denial::CredentialMalformed)?;
        Ok(String::from_utf8(presented.text.to_vec()).unwrap())
    }

    const BOTH: &[&str] = &["authorization: bearer", "x-api-key"];

    #[test]
    fn one_credential_in_any_place() {
        let bearer = format!("Bearer {KEY}");
        assert_eq!(find(BOTH, &[("authorization", &bearer)]).unwrap(), KEY);
        assert_eq!(find(BOTH, &[("authorization", &format!("bEARER {KEY}"))]).unwrap(), KEY);
        assert_eq!(find(BOTH, &[("x-api-key", KEY)]).unwrap(), KEY);
        assert_eq!(find(&["api_access_token"], &[("api-access-token", KEY)]).unwrap(), KEY);
        assert_eq!(find(&["api-access-token"], &[("api_access_token", KEY)]).unwrap(), KEY);
        let two_schemes = &["authorization: bearer", "authorization: token"][..];
        assert_eq!(find(two_schemes, &[("authorization", &format!("Token {KEY}"))]).unwrap(), KEY);
    }

    #[test]
    fn two_are_refused_even_if_equal() {
        let bearer = format!("Bearer {KEY}");
        for fields in [
            &[("authorization", bearer.as_str()), ("x-api-key", KEY)][..],
            &[("x-api-key", KEY), ("x-api-key", KEY)],
            &[("x-api-key", KEY), ("x_api_key", KEY)],
            &[("authorization", "Basic dTpw"), ("x-api-key", KEY)],
        ] {
            assert_eq!(
                find(BOTH, fields).unwrap_err(),
                Denial::Ambiguous(Ambiguity::SeveralCredentials),
                "{fields:?}"
            );
        }
    }

    #[test]
    fn nothing_is_repaired() {
        assert_eq!(find(BOTH, &[("cookie", KEY)]).unwrap_err(), Denial::CredentialMissing);
        for value in [
            KEY.to_owned(),
            format!("Bearer  {KEY}"),
            format!("Bearer \"{KEY}\" "),
            format!("Bearer {KEY} x"),
            format!("Bearer\t{KEY}"),
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            format!("Bearer,{KEY}"),
            format!("Basic {KEY}"),
        ] {
            assert_eq!(
                find(BOTH, &[("authorization", &value)]).unwrap_err(),
                Denial::CredentialMalformed,
                "{value}"
            );
        }
    }
}
