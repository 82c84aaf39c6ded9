//! What a sender does, as data: the same description for the senders that are known and for those that a user describes.
//!
//! Everything is parsed here, once; at verification time nothing is text that would have to be understood first.

use http::{HeaderName, Method, StatusCode};
use ipnet::IpNet;

use super::crypto::{KeyError, KeyForm, Primitive};
use super::json::Pointer;
use super::place::Place;
use super::template::{Item, Message, MessageToken};
use crate::secret::Secret;

/// One sender's scheme.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its name in configurations.
    pub name: Box<str>,
    /// How a delivery is proved.
    pub verify: Verify,
    /// Where deliveries have an id, in order of preference.
    pub ids: Vec<Id>,
    /// Fields that select this scheme among the sender's: exactly one of each, with this value.
    pub require: Vec<(HeaderName, Box<str>)>,
    /// What the sender asks when the webhook is registered.
    pub handshake: Option<Handshake>,
    /// The sender's networks, where it publishes them.
    pub networks: Vec<IpNet>,
    /// What else the body must say.
    pub body_check: Option<BodyCheck>,
    /// The answer that the sender needs instead of the CRM's.
    pub reply: Option<Reply>,
    /// What tells one delivery from another.
    pub replay: Replay,
    /// What the sender's secrets look like.
    pub secrets: SecretRules,
}

/// How a delivery is proved.
#[derive(Clone, Debug)]
pub enum Verify {
    /// A MAC, a hash with a secret in it, or a public-key signature.
    Signature(Box<Signed>),
    /// A secret that travels with each delivery.
    Token {
        /// Where it stands.
        place: Place,
        /// What is around it.
        item: Item,
    },
    /// HTTP Basic authentication (RFC 7617); the secret is `user:password`.
    Basic,
}

/// What is signed, with what, and where the signature stands.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The algorithm.
    pub primitive: Primitive,
    /// How the secret is written.
    pub key: KeyForm,
    /// Where the signature stands.
    pub place: Place,
    /// How it is written there.
    pub form: SignatureForm,
    /// When it was made.
    pub timestamp: Option<Timestamp>,
    /// What is signed.
    pub message: Message,
}

/// How signatures are written in their place.
#[derive(Clone, Debug)]
pub struct SignatureForm {
    /// The separator, if there is a list.
    pub separator: Option<u8>,
    /// True if items have spaces around them that do not count.
    pub trim_items: bool,
    /// True if base64 is around the whole item (`EspoCRM`).
    pub outer_base64: bool,
    /// What is around each signature.
    pub item: Item,
    /// How its bytes are written.
    pub encoding: SignatureEncoding,
}

/// How a signature's bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureEncoding {
    /// Lower-case hexadecimal.
    Hex,
    /// Standard alphabet, padded (RFC 4648 section 4).
    Base64,
    /// As they are; only within an outer base64.
    Raw,
}

/// When a delivery was signed.
#[derive(Clone, Debug)]
pub struct Timestamp {
    /// Where it stands.
    pub place: TimestampPlace,
    /// How it is written.
    pub unit: TimestampUnit,
    /// Oldest that is believed, in seconds; `None` for any age.
    pub past_seconds: Option<u32>,
    /// Furthest ahead that is believed, in seconds.
    pub future_seconds: Option<u32>,
}

/// Where the time stamp stands.
#[derive(Clone, Debug)]
pub enum TimestampPlace {
    /// A header.
    Header(HeaderName),
    /// An item of the signature's list.
    SignatureItem(Item),
    /// A value in the body.
    Json(Pointer),
}

/// How a time stamp is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampUnit {
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// `YYYY-MM-DDThh:mm:ss[.f]Z`.
    Iso8601,
}

/// Where a delivery's id stands.
#[derive(Clone, Debug)]
pub struct Id {
    /// In a header or in the body.
    pub place: IdPlace,
    /// True if the signature covers it: others can be changed by whoever replays.
    pub is_signed: bool,
}

/// Header or body.
#[derive(Clone, Debug)]
pub enum IdPlace {
    /// A header.
    Header(HeaderName),
    /// A value in the body.
    Json(Pointer),
}

/// What a sender asks when a webhook is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// A signed `url_verification` (`docs.slack.dev/reference/events/url_verification`).
    SlackUrlVerification,
    /// An unsigned GET (developers.facebook.com/docs/graph-api/webhooks/getting-started).
    MetaHubChallenge,
    /// A signed PING (discord.com/developers/docs/interactions/overview).
    DiscordPing,
}

impl Handshake {
    /// True for a request that carries no signature.
    pub fn may_be_unsigned(self, method: &Method) -> bool {
        match self {
            Self::MetaHubChallenge => *method == Method::GET,
            Self::SlackUrlVerification | Self::DiscordPing => false,
        }
    }
}

/// What else the body must say.
#[derive(Clone, Debug)]
pub enum BodyCheck {
    /// The text of the only XML element of this name is the configured organization id.
    XmlText(Box<str>),
}

/// The answer that a sender needs when the CRM took the delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The type of the answer's body.
    pub content_type: Box<str>,
    /// The body.
    pub body: Box<str>,
}

/// What tells one delivery from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Nothing does: equal bodies can be distinct events, or nothing is signed.
    Off,
    /// The signature alone.
    Signature,
    /// The first id that is signed, else the signature.
    SignedId,
}

/// What a sender's secrets look like, for `check`.
#[derive(Clone, Debug)]
pub struct SecretRules {
    /// The alphabet and the lengths that the sender itself enforces.
    pub charset: Option<Charset>,
    /// Fewest bytes of a decoded key that are hard to guess.
    pub fair_bytes: usize,
    /// Most bytes that the scheme allows.
    pub most_bytes: Option<usize>,
}

/// As in `^[A-Za-z0-9_-]{1,256}$`: a set of characters and how many of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charset {
    text: Box<str>,
    ranges: Vec<(u8, u8)>,
    least: usize,
    most: usize,
}

/// Not such a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a set and a number of characters, as in '^[A-Za-z0-9_-]{{1,256}}$'")]
pub struct CharsetError;

impl Description {
    /// True if the body decides.
    pub fn reads_body(&self) -> bool {
        match &self.verify {
            Verify::Token { .. } | Verify::Basic => self.body_check.is_some() || self.handshake.is_some(),
            // Also for the few whose signature leaves the body out: their ids and handshakes are in it.
            Verify::Signature(_) => true,
        }
    }

    /// True if the public URL is signed, which the request itself does not tell for sure.
    pub fn reads_url(&self) -> bool {
        match &self.verify {
            Verify::Signature(signed) => {
                signed.message.tokens().iter().any(|token| matches!(token, MessageToken::Url(_)))
            }
            Verify::Token { .. } | Verify::Basic => false,
        }
    }

    /// Names that the sender's items need from the configuration.
    pub fn variables(&self) -> Vec<&str> {
        match &self.verify {
            Verify::Signature(signed) => signed.form.item.variables().collect(),
            Verify::Token { item, .. } => item.variables().collect(),
            Verify::Basic => Vec::new(),
        }
    }

    /// Every value of the body that deciding needs.
    pub(super) fn pointers(&self) -> Vec<Pointer> {
        let Verify::Signature(signed) = &self.verify else {
            return Vec::new();
        };
        let mut pointers: Vec<Pointer> = Vec::new();
        if let Place::Json(pointer) = &signed.place {
            pointers.push(pointer.clone());
        }
        if let Some(Timestamp { place: TimestampPlace::Json(pointer), .. }) = &signed.timestamp {
            pointers.push(pointer.clone());
        }
        pointers.extend(signed.message.tokens().iter().filter_map(|token| match token {
            MessageToken::Json(pointer) => Some(pointer.clone()),
            MessageToken::Id => self.signed_id().and_then(|id| match &id.place {
                IdPlace::Json(pointer) => Some(pointer.clone()),
                IdPlace::Header(_) => None,
            }),
            MessageToken::Literal(_)
            | MessageToken::Body
            | MessageToken::Timestamp
            | MessageToken::Method
            | MessageToken::Url(_)
            | MessageToken::Secret
            | MessageToken::Header(_)
            | MessageToken::SortedForm => None,
        }));
        pointers
    }

    /// The first id that the signature covers.
    pub(super) fn signed_id(&self) -> Option<&Id> {
        self.ids.iter().find(|id| id.is_signed)
    }
}

impl Signed {
    /// Number of bytes of the key that `secret` is in this scheme.
    ///
    /// # Errors
    /// [`KeyError`] for one that is none.
    pub fn key_bytes(&self, secret: &Secret) -> Result<usize, KeyError> {
        self.primitive.key(&self.key, secret)?;
        self.key.bytes(secret).map(|bytes| bytes.len())
    }
}

impl Default for SecretRules {
    fn default() -> Self {
        Self { charset: None, fair_bytes: 16, most_bytes: None }
    }
}

impl Charset {
    /// True if the whole of `text` is made of the set, and neither too short nor too long.
    pub fn covers(&self, text: &[u8]) -> bool {
        let known = |byte: &u8| self.ranges.iter().any(|(first, last)| (first..=last).contains(&byte));
        (self.least..=self.most).contains(&text.len()) && text.iter().all(known)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl std::str::FromStr for Charset {
    type Err = CharsetError;

    fn from_str(text: &str) -> Result<Self, CharsetError> {
        let inner = text.strip_prefix("^[").and_then(|rest| rest.strip_suffix("}$")).ok_or(CharsetError)?;
        let (set, counts) = inner.rsplit_once("]{").ok_or(CharsetError)?;
        let (least, most) = counts.split_once(',').ok_or(CharsetError)?;
        let number = |text: &str| text.parse::<usize>().map_err(|_| CharsetError);
        let mut ranges = Vec::new();
        let mut rest = set.as_bytes();
        while let [first, tail @ ..] = rest {
            (rest, ranges) = match tail {
                [b'-', last, after @ ..] if first <= last => (after, with(ranges, (*first, *last))),
                after => (after, with(ranges, (*first, *first))),
            };
        }
        if !set.is_ascii() || set.contains(['[', ']', '\\', '^']) || ranges.is_empty() {
            return Err(CharsetError);
        }
        Ok(Self { text: text.into(), ranges, least: number(least)?, most: number(most)? })
    }
}

fn with(mut ranges: Vec<(u8, u8)>, range: (u8, u8)) -> Vec<(u8, u8)> {
    ranges.push(range);
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_characters() {
        let telegram: Charset = "^[A-Za-z0-9_-]{1,256}$".parse().unwrap();
        assert!(telegram.covers(b"azAZ09_-"));
        for bad in [&b""[..], b"a b", b"a.", b"\xc3\xa9", &[b'a'; 257]] {
            assert!(!telegram.covers(bad));
        }
        for bad in ["", "^[a]$", "[a-z]{1,2}", "^[]{1,2}$", "^[a]{1}$", "^[a]{x,2}$", "^[^a]{1,2}$"] {
            assert_eq!(bad.parse::<Charset>(), Err(CharsetError), "{bad}");
        }
    }
}
