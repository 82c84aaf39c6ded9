//! Fields that replies to keys must not show, and which requests that is about.
//!
//! Taking a field out of the reply is half of it. A caller who may name the field can have it under another name (a GraphQL
//! alias) or find it out by filtering and sorting, so a request that names one is refused.

use std::sync::Arc;

use http::Method;
use serde_json::Value;

use super::never::Never;
use super::operation::Message;
use super::scope::Rule;
use crate::credential::webhook::json;

/// Fields that replies to some requests must not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blank {
    /// Which replies.
    pub replies_to: Vec<Rule>,
    /// Which fields.
    pub fields: Vec<Field>,
}

/// A field of a JSON reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// Of this name, at any depth.
    Named(Box<str>),
    /// At this place: names from the outermost, `*` for any item or member.
    At(Box<[Box<str>]>),
}

/// Not a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a field's name, as in 'access_token', or its place, as in '/payload/*/hmac_token' (at most 16 steps)"
)]
pub struct FieldError;

/// All that replies must not show.
#[derive(Clone, Debug, Default)]
pub struct Blanks(Vec<(Never, Arc<[Field]>)>);

/// What the reply to one request must not show.
#[derive(Clone, Debug)]
pub struct Hidden(Box<[Arc<[Field]>]>);

/// The request cannot be read with certainty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread;

impl std::str::FromStr for Field {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        const MOST_STEPS: usize = 16;
        let named = |text: &str| !text.is_empty() && text.len() <= 128 && !text.chars().any(char::is_control);
        let Some(place) = text.strip_prefix('/') else {
            let plain = named(text) && !text.contains(['/', '*']);
            return if plain { Ok(Self::Named(text.into())) } else { Err(FieldError) };
        };
        let steps: Box<[Box<str>]> = place.split('/').map(Box::from).collect();
        if steps.len() <= MOST_STEPS && steps.iter().all(|step| named(step)) {
            Ok(Self::At(steps))
        } else {
            Err(FieldError)
        }
    }
}

impl Field {
    /// The last name in it; `None` where there are only `*`.
    fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::At(steps) => steps.iter().rev().map(|step| &**step).find(|step| *step != "*"),
        }
    }
}

impl Blanks {
    /// From a pack's. Which replies are meant is compared as loosely as what no key may reach: a spelling that the CRM folds
    /// is no way around it.
    pub fn new(blanks: &[Blank]) -> Self {
        let set = |blank: &Blank| {
            let mut about = Never::default();
            blank.replies_to.iter().for_each(|rule| about.add(rule));
            (about, blank.fields.clone().into())
        };
        Self(blanks.iter().map(set).collect())
    }

    /// True where replies hide nothing.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the reply to such a request must not show; `None` for nothing, as for most.
    pub fn hidden_from(&self, method: &Method, path: &str) -> Option<Hidden> {
        let about = self.0.iter().filter(|(about, _)| about.has(method, path));
        let fields: Box<[_]> = about.map(|(_, fields)| Arc::clone(fields)).collect();
        (!fields.is_empty()).then_some(Hidden(fields))
    }
}

impl Hidden {
    /// The fields.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.0.iter().flat_map(|fields| fields.iter())
    }

    /// True if the request names one of the fields, anywhere in its query or body, in whatever case.
    ///
    /// # Errors
    /// [`Unread`]: the body is not JSON in UTF-8, or the query has several readings.
    pub fn is_named_by(&self, message: &Message<'_>) -> Result<bool, Unread> {
        let parameters = message.parameters().ok_or(Unread)?;
        if parameters.iter().any(|(name, value)| self.is_named_in(name) || self.is_named_in(value)) {
            return Ok(true);
        }
        if message.body.is_empty() {
            return Ok(false);
        }
        if !message.is("application/json") {
            return Err(Unread);
        }
        json::parse(message.body).map(|body| self.is_named_within(&body)).map_err(|_| Unread)
    }

    fn is_named_within(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.is_named_in(text),
            Value::Array(items) => items.iter().any(|item| self.is_named_within(item)),
            Value::Object(members) => {
                members.iter().any(|(name, member)| self.is_named_in(name) || self.is_named_within(member))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    fn is_named_in(&self, text: &str) -> bool {
        let text = text.to_ascii_lowercase();
        self.fields().filter_map(Field::name).any(|name| has_word(&text, &name.to_ascii_lowercase()))
    }
}

/// True if `word` stands in `text` with no letter, digit or `_` next to it.
fn has_word(text: &str, word: &str) -> bool {
    let joins = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (text.as_bytes().get(..at), text.as_bytes().get(at + word.len()..));
        !joins(before.and_then(<[u8]>::last)) && !joins(after.and_then(<[u8]>::first))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(fields: &[&str]) -> Hidden {
        let blank = Blank {
            replies_to: vec!["ANY /x".parse().unwrap()],
            fields: fields.iter().map(|field| field.parse().unwrap()).collect(),
        };
        Blanks::new(&[blank]).hidden_from(&Method::GET, "/x").unwrap()
    }

    #[test]
    fn fields_by_name_and_by_place() {
        assert_eq!("access_token".parse(), Ok(Field::Named("access_token".into())));
        assert_eq!("/payload/*/x".parse(), Ok(Field::At(["payload".into(), "*".into(), "x".into()].into())));
        for bad in ["", "/", "a/b", "*", "/a//b", "/\u{7}", &"/a".repeat(17)] {
            assert_eq!(bad.parse::<Field>(), Err(FieldError), "{bad}");
        }
    }

    #[test]
    fn every_spelling_of_the_path_and_no_other_path() {
        let blank = |rule: &str, field: &str| Blank {
            replies_to: vec![rule.parse().unwrap()],
            fields: vec![field.parse().unwrap()],
        };
        let blanks = Blanks::new(&[blank("GET /api/users/**", "a"), blank("ANY /api/users/me", "b")]);
        let count = |method: &str, path: &str| {
            blanks.hidden_from(&method.parse().unwrap(), path).map_or(0, |hidden| hidden.fields().count())
        };
        assert_eq!((count("GET", "/api/users"), count("HEAD", "/API/Users.json/7/")), (1, 1));
        assert_eq!((count("GET", "/api/users/me"), count("POST", "/api/users/ME.json")), (2, 1));
        assert_eq!((count("POST", "/api/users"), count("GET", "/api/user"), count("GET", "/")), (0, 0, 0));
        assert!(Blanks::default().hidden_from(&Method::GET, "/api/users").is_none());
    }

    #[test]
    fn a_request_that_names_a_field_is_told() {
        let hidden = hidden(&["accessToken", "/data/*/pin/*"]);
        let asks = |query: &str, kind: Option<&str>, body: &str| {
            let (query, body) = (Some(query).filter(|query| !query.is_empty()), body.as_bytes());
            hidden.is_named_by(&Message { method: &Method::POST, query, content_type: kind, body })
        };
        let json = Some("application/json");
        for query in ["filter=accesstoken%5Beq%5D:1", "select=a,PIN", "accessToken", "orderBy=x.accessToken"]
        {
            assert_eq!(asks(query, None, ""), Ok(true), "{query}");
        }
        for body in [
            r#"{"query":"{ a { x: accessToken } }"}"#,
            r#"{"query":"{ a { x: \u0061ccessToken } }"}"#,
            r#"[{"domain":[["accesstoken","like","a%"]]}]"#,
            r#"{"accessToken":1}"#,
            r#"{"a":{"b":["x pin=y"]}}"#,
        ] {
            assert_eq!(asks("", json, body), Ok(true), "{body}");
        }
        for body in ["", "{}", r#"{"query":"{ a { myAccessToken accessTokens _pin } }","n":7}"#] {
            assert_eq!(asks("a=b&pins=1", json, body), Ok(false), "{body}");
        }
        for (kind, body) in [(json, "{"), (json, "{}{}"), (None, "{}"), (Some("text/plain"), "{}")] {
            assert_eq!(asks("", kind, body), Err(Unread), "{body}");
        }
        assert_eq!(asks("a=%zz", json, "{}"), Err(Unread));
    }
}
