//! Fields that replies to keys must not show, and which requests that is about.
//!
//! Taking a field out of the reply is half of it. A caller who may name the field can have it under another name (a GraphQL
//! alias) or find it out by filtering and sorting, so a request that names one is refused.

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;
use serde_json::Value;

use super::never::Never;
use super::operation::Message;
use super::scope::Rule;
use crate::credential::webhook::json;

/// Most strings within strings that are looked into.
const MOST_LAYERS: usize = 8;

/// Most hexadecimal digits of a character, zeros before them aside.
const MOST_DIGITS: usize = 8;

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

    /// The first of the fields that the request names, anywhere in its query or body, in whatever case.
    ///
    /// # Errors
    /// [`Unread`]: the body is not JSON in UTF-8, or the query has several readings.
    pub fn named_by(&self, message: &Message<'_>) -> Result<Option<&str>, Unread> {
        let parameters = message.parameters().ok_or(Unread)?;
        let by_query =
            |(name, value): &(String, String)| self.named_in(name).or_else(|| self.named_in(value));
        if let Some(field) = parameters.iter().find_map(by_query) {
            return Ok(Some(field));
        }
        if message.body.is_empty() {
            return Ok(None);
        }
        if !message.is("application/json") {
            return Err(Unread);
        }
        json::parse(message.body).map(|body| self.named_within(&body)).map_err(|_| Unread)
    }

    fn named_within(&self, value: &Value) -> Option<&str> {
        match value {
            Value::String(text) => self.named_in(text),
            Value::Array(items) => items.iter().find_map(|item| self.named_within(item)),
            Value::Object(members) => members
                .iter()
                .find_map(|(name, member)| self.named_in(name).or_else(|| self.named_within(member))),
            Value::Null | Value::Bool(_) | Value::Number(_) => None,
        }
    }

    /// As a part of a longer name too: a CRM may have suffixes of its own for filters (`access_token_start`). Text may be JSON
    /// in a string, where a name can be written with escapes.
    fn named_in(&self, text: &str) -> Option<&str> {
        let mut text = Cow::Borrowed(text);
        for _ in 0..=MOST_LAYERS {
            let found = self.standing_in(&text);
            if found.is_some() || !text.contains('\\') {
                return found;
            }
            let plainer = without_escapes(&text);
            if plainer == text {
                return self.standing_in(&text.replace('\\', ""));
            }
            text = Cow::Owned(plainer);
        }
        // Nobody means well by so many layers: what is behind them is taken for the worst.
        self.names().next()
    }

    fn standing_in(&self, text: &str) -> Option<&str> {
        let text = text.to_ascii_lowercase();
        self.names().find(|name| text.contains(&name.to_ascii_lowercase()))
    }

    /// What the fields are called.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields().filter_map(Field::name)
    }
}

/// Without escapes as `\u0061` (JSON) and `\u{61}` (GraphQL), however many backslashes stand before the `u`: how many of them
/// belong together only the text's reader knows. Other escapes write nothing that is part of a name.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let unit = after.trim_start_matches('\\');
        if let Some((character, behind)) = escaped(unit) {
            plain.push(character);
            rest = behind;
        } else {
            plain.push('\\');
            rest = unit;
        }
    }
    plain.push_str(rest);
    plain
}

/// The character that `u0061` or `u{61}` stands for, and what follows it. Half of a pair is part of no name.
fn escaped(unit: &str) -> Option<(char, &str)> {
    let unit = unit.strip_prefix('u')?;
    let (digits, behind) = match unit.strip_prefix('{') {
        Some(unit) => {
            // Near, or each of many that do not end would be looked for to the end of the text.
            let unit = unit.trim_start_matches('0');
            let end = unit.bytes().take(MOST_DIGITS + 1).position(|byte| byte == b'}')?;
            (unit.get(..end)?, unit.get(end + 1..)?)
        }
        None => unit.split_at_checked(4)?,
    };
    let code = if digits.is_empty() { 0 } else { u32::from_str_radix(digits, 16).ok()? };
    Some((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), behind))
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
            let message = Message { method: &Method::POST, query, content_type: kind, body };
            hidden.named_by(&message).map(|found| found.is_some())
        };
        let json = Some("application/json");
        for query in [
            "filter=accesstoken%5Beq%5D:1",
            "select=a,PIN",
            "accessToken",
            "orderBy=x.accessToken",
            "accessToken__startswith=a",
            "q%5BaccessToken_cont%5D=a",
            "sort=user__accesstoken",
            r#"where=%5B%7B%22attribute%22:%22\u0061ccessToken%22%7D%5D"#,
            r#"where=%5B%7B%22attribute%22:%22access%5Cu0054oken%22%7D%5D"#,
        ] {
            assert_eq!(asks(query, None, ""), Ok(true), "{query}");
        }
        for body in [
            r#"{"query":"{ a { x: accessToken } }"}"#,
            r#"{"query":"{ a { x: \u0061ccessToken } }"}"#,
            r#"[{"domain":[["accesstoken","like","a%"]]}]"#,
            r#"{"accessToken":1}"#,
            r#"{"a":{"b":["x pin=y"]}}"#,
            r#"{"variables":"{\"orderBy\":\"\\u0061ccessToken\"}"}"#,
            r#"{"variables":"{\"x\":\"{\\\"by\\\":\\\"\\\\u0061ccessToken\\\"}\"}"}"#,
            r#"{"a":"\\u005cu0061ccessToken"}"#,
            r#"{"a":"access\\u{54}oken"}"#,
            r#"{"a":"\\u{access\\u{0000000000054}oken"}"#,
            r#"{"a":"access\\\\u0054oken"}"#,
            r#"{"a":"access\\Token"}"#,
            r#"{"query":"{ a { myAccessToken } }"}"#,
        ] {
            assert_eq!(asks("", json, body), Ok(true), "{body}");
        }
        for body in
            ["", "{}", r#"{"query":"{ a { accessTo ken } }","n":7}"#, r#"{"a":"C:\\q\\in \\n\\u00e9"}"#]
        {
            assert_eq!(asks("a=b&pi=n", json, body), Ok(false), "{body}");
        }
        for (kind, body) in [(json, "{"), (json, "{}{}"), (None, "{}"), (Some("text/plain"), "{}")] {
            assert_eq!(asks("", kind, body), Err(Unread), "{body}");
        }
        let layers = |count: usize| format!(r#"{{"a":"\\{}x"}}"#, "u005c".repeat(count));
        assert_eq!(asks("", json, &layers(MOST_LAYERS - 1)), Ok(false));
        assert_eq!(asks("", json, &layers(MOST_LAYERS + 1)), Ok(true), "nobody reads that deep");
        assert_eq!(asks("a=%zz", json, "{}"), Err(Unread));
    }
}
