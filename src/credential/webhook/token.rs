//! A shared secret in a header (Telegram's `X-Telegram-Bot-Api-Secret-Token`) or a query parameter (older set-ups).

use http::{HeaderMap, HeaderName};
use subtle::{Choice, ConditionallySelectable};

use super::Proved;
use crate::denial::{Ambiguity, Denial};
use crate::request_head::fields::same_name;
use crate::secret::Secret;

/// Longest presented secret, in bytes.
const MOST_BYTES: usize = 512;

/// Where the secret stands and which ones are live.
#[derive(Debug)]
pub struct Token {
    place: TokenPlace,
    secrets: Vec<Secret>,
}

/// Where a sender puts its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// The whole value of this header.
    Header(HeaderName),
    /// The value of this query parameter, whose name is compared with case.
    Query(Box<str>),
}

impl Token {
    /// Any of `secrets` will do; without one, nothing does.
    pub const fn new(place: TokenPlace, secrets: Vec<Secret>) -> Self {
        Self { place, secrets }
    }

    /// Where the secret stands, so that it can be taken out of what goes on.
    pub const fn place(&self) -> &TokenPlace {
        &self.place
    }

    /// True if `text` is one of the live secrets.
    pub fn is_secret(&self, text: &[u8]) -> bool {
        self.secrets.iter().any(|secret| secret.matches(text))
    }

    /// Compares what was presented with every live secret, without an early exit.
    ///
    /// # Errors
    /// [`Denial::WebhookSecretMissing`], [`Denial::WebhookSecretWrong`], or [`Ambiguity::SeveralCredentials`].
    pub fn verify(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Proved, Denial> {
        let presented = match &self.place {
            TokenPlace::Header(name) => one_header(headers, name)?,
            TokenPlace::Query(name) => one_parameter(query.unwrap_or_default(), name)?,
        };
        if presented.len() > MOST_BYTES {
            return Err(Denial::WebhookSecretWrong);
        }
        let (mut index, mut hit) = (0_u32, Choice::from(0));
        for (at, secret) in (0_u32..).zip(&self.secrets) {
            let equal = Choice::from(u8::from(secret.matches(&presented)));
            index = u32::conditional_select(&index, &at, equal & !hit);
            hit |= equal;
        }
        if bool::from(hit) {
            Ok(Proved {
                secret_index: usize::try_from(index).unwrap_or_default(),
                presented: Secret::new(presented),
            })
        } else {
            Err(Denial::WebhookSecretWrong)
        }
    }
}

fn one_header(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<u8>, Denial> {
    let mut values = headers
        .iter()
        .filter(|(given, _)| *given == name || same_name(given.as_str(), name.as_str()))
        .map(|(_, value)| value.as_bytes());
    match (values.next(), values.next()) {
        (None, _) => Err(Denial::WebhookSecretMissing),
        (Some(value), None) => Ok(without_outer_space(value).to_vec()),
        (Some(_), Some(_)) => Err(Denial::Ambiguous(Ambiguity::SeveralCredentials)),
    }
}

/// Field values have no leading or trailing space or tab (RFC 9110 section 5.5).
fn without_outer_space(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The parameter's value after form decoding; a second occurrence, in any spelling of its name, is refused.
fn one_parameter(query: &str, name: &str) -> Result<Vec<u8>, Denial> {
    let mut values = parameters(query).filter(|(given, _)| form_decoded(given) == name.as_bytes());
    match (values.next(), values.next()) {
        (None, _) => Err(Denial::WebhookSecretMissing),
        (Some((_, value)), None) => Ok(form_decoded(value)),
        (Some(_), Some(_)) => Err(Denial::Ambiguous(Ambiguity::SeveralCredentials)),
    }
}

/// `query` without the parameter `name`; everything else byte for byte.
pub fn without_parameter(query: &str, name: &str) -> String {
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            form_decoded(pair.split_once('=').map_or(*pair, |(given, _)| given)) != name.as_bytes()
        })
        .collect();
    kept.join("&")
}

fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// `application/x-www-form-urlencoded` decoding; the judged query has no bad escapes.
fn form_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
                if let (Some(high), Some(low)) = (digit(*high), digit(*low)) {
                    out.push(high << 4 | low);
                    rest = after;
                } else {
                    out.push(b'%');
                }
            }
            (byte, _) => out.push(*byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(place: TokenPlace, secrets: &[&str]) -> Token {
        Token::new(place, secrets.iter().map(|secret| Secret::new(*secret)).collect())
    }

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn either_live_secret_passes_and_is_told() {
        let token = token(TokenPlace::Header(HeaderName::from_static("x-token")), &["old", "new"]);
        let verify = |fields: &[(&str, &str)]| token.verify(&headers(fields), None);
        assert_eq!(verify(&[("x-token", "old")]).unwrap().secret_index, 0);
        assert_eq!(verify(&[("x-token", "new")]).unwrap().secret_index, 1);
        assert_eq!(
            verify(&[("x-token", "new ")]).unwrap().secret_index,
            1,
            "field values have no outer space"
        );
        for wrong in ["", "ol", "oldx", "OLD"] {
            assert_eq!(verify(&[("x-token", wrong)]).unwrap_err(), Denial::WebhookSecretWrong, "{wrong}");
        }
        assert_eq!(verify(&[]).unwrap_err(), Denial::WebhookSecretMissing);
        let twice = verify(&[("x-token", "old"), ("x-token", "old")]);
        assert_eq!(twice.unwrap_err(), Denial::Ambiguous(Ambiguity::SeveralCredentials));
    }

    #[test]
    fn no_secret_means_closed() {
        let token = token(TokenPlace::Header(HeaderName::from_static("x-token")), &[]);
        assert!(token.verify(&headers(&[("x-token", "")]), None).is_err());
    }

    #[test]
    fn query_parameters() {
        let token = token(TokenPlace::Query("secret".into()), &["a b/c"]);
        let verify = |query: &str| token.verify(&HeaderMap::new(), Some(query));
        assert!(verify("x=1&secret=a+b%2fc").is_ok());
        assert!(verify("secret=a%20b/c&y").is_ok());
        assert_eq!(verify("Secret=a+b/c").unwrap_err(), Denial::WebhookSecretMissing);
        assert!(verify("secret=a+b/c&secret=a+b/c").is_err());
        assert!(verify("secret=a+b/c&se%63ret=a+b/c").is_err());
        assert_eq!(without_parameter("x=1&secret=s&y=%20&se%63ret=t", "secret"), "x=1&y=%20");
        assert_eq!(without_parameter("secret=s", "secret"), "");
    }
}
