//! The two little templates of a description: what is around a signature, and what is signed.

use std::str::FromStr;

use http::HeaderName;

use super::json::Pointer;

/// What is around one value, as in `v1={sig}` or `t={ts}`: text, and names that the configuration fills in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    before: Vec<Part>,
    after: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Variable(Box<str>),
}

/// An [`Item`] with every name filled in: a prefix and a suffix.
#[derive(Clone, Debug)]
pub(super) struct Around {
    prefix: Vec<u8>,
    suffix: Vec<u8>,
}

/// What is signed, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(Vec<MessageToken>);

/// One part of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageToken {
    /// These bytes.
    Literal(Box<str>),
    /// The body as it came.
    Body,
    /// The time stamp's text as it came, never printed anew.
    Timestamp,
    /// The first signed id's text.
    Id,
    /// The method.
    Method,
    /// The public URL.
    Url(UrlForm),
    /// The secret itself; only in hashes.
    Secret,
    /// A value in the body.
    Json(Pointer),
    /// A header's value.
    Header(HeaderName),
    /// The form's fields, sorted (Twilio).
    SortedForm,
}

/// How a sender spells the URL that it signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlForm {
    /// As it was called.
    AsCalled,
    /// Some escapes decoded, or as it was called.
    HubSpot,
    /// With its port, or without.
    Twilio,
}

/// Not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No `{sig}`, or two.
    #[error("expected exactly one {{{0}}} in it")]
    NotOneValue(&'static str),
    /// A name in braces that means nothing here.
    #[error("'{{{0}}}' means nothing here")]
    Unknown(Box<str>),
    /// A brace without its other half.
    #[error("a brace without its other half")]
    Unbalanced,
    /// `{json:…}` with something that is no pointer.
    #[error("expected a JSON pointer, which starts with '/'")]
    NoPointer,
    /// `{hdr:…}` with something that is no header's name.
    #[error("expected a header's name")]
    NoHeader,
}

impl Item {
    /// The value alone.
    pub fn bare() -> Self {
        Self { before: Vec::new(), after: "".into() }
    }

    /// Reads `text`, which has one `{value}` in it.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn parse(text: &str, value: &'static str) -> Result<Self, TemplateError> {
        let mut before = Vec::new();
        let mut after: Option<String> = None;
        for chunk in chunks(text)? {
            match (chunk, &mut after) {
                (Chunk::Name(name), None) if name == value => after = Some(String::new()),
                (Chunk::Name(name), Some(_)) if name == value => {
                    return Err(TemplateError::NotOneValue(value));
                }
                (Chunk::Name(name), None) => match name.strip_prefix("var:") {
                    Some(variable) if !variable.is_empty() => before.push(Part::Variable(variable.into())),
                    Some(_) | None => return Err(TemplateError::Unknown(name.into())),
                },
                (Chunk::Name(name), Some(_)) => return Err(TemplateError::Unknown(name.into())),
                (Chunk::Text(text), None) => before.push(Part::Literal(text.into())),
                (Chunk::Text(text), Some(after)) => after.push_str(text),
            }
        }
        let after = after.ok_or(TemplateError::NotOneValue(value))?;
        Ok(Self { before, after: after.into() })
    }

    /// Names that must be filled in.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.before.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(&**name),
            Part::Literal(_) => None,
        })
    }

    /// With every name filled in; `None` if one has no value.
    pub(super) fn fill(&self, value_of: &dyn Fn(&str) -> Option<Box<str>>) -> Option<Around> {
        let mut prefix = Vec::new();
        for part in &self.before {
            match part {
                Part::Literal(text) => prefix.extend_from_slice(text.as_bytes()),
                Part::Variable(name) => {
                    let value = value_of(name).filter(|value| !value.is_empty())?;
                    prefix.extend_from_slice(value.as_bytes());
                }
            }
        }
        Some(Around { prefix, suffix: self.after.as_bytes().to_vec() })
    }
}

impl Around {
    /// The value in `text`, if the rest of it fits.
    pub(super) fn value<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        text.strip_prefix(&*self.prefix)?.strip_suffix(&*self.suffix)
    }

    /// Like [`Self::value`], but the text before it is an authentication scheme, which has no case (RFC 9110 section 11.1).
    pub(super) fn value_after_scheme<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let (scheme, rest) = text.split_at_checked(self.prefix.len())?;
        if scheme.eq_ignore_ascii_case(&self.prefix) { rest.strip_suffix(&*self.suffix) } else { None }
    }
}

impl Message {
    /// The parts.
    pub fn tokens(&self) -> &[MessageToken] {
        &self.0
    }
}

impl FromStr for Message {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let token = |chunk: Chunk<'_>| match chunk {
            Chunk::Text(text) => Ok(MessageToken::Literal(text.into())),
            Chunk::Name(name) => message_token(name),
        };
        chunks(text)?.into_iter().map(token).collect::<Result<_, _>>().map(Self)
    }
}

fn message_token(name: &str) -> Result<MessageToken, TemplateError> {
    match name.split_once(':') {
        None => match name {
            "body" => Ok(MessageToken::Body),
            "ts" => Ok(MessageToken::Timestamp),
            "id" => Ok(MessageToken::Id),
            "method" => Ok(MessageToken::Method),
            "url" => Ok(MessageToken::Url(UrlForm::AsCalled)),
            "secret" => Ok(MessageToken::Secret),
            _ => Err(TemplateError::Unknown(name.into())),
        },
        Some(("json", pointer)) => {
            pointer.parse().map(MessageToken::Json).map_err(|_| TemplateError::NoPointer)
        }
        Some(("hdr", header)) => HeaderName::from_bytes(header.as_bytes())
            .map(MessageToken::Header)
            .map_err(|_| TemplateError::NoHeader),
        Some(("url", "hubspot")) => Ok(MessageToken::Url(UrlForm::HubSpot)),
        Some(("url", "twilio")) => Ok(MessageToken::Url(UrlForm::Twilio)),
        Some(("form", "sorted")) => Ok(MessageToken::SortedForm),
        Some(_) => Err(TemplateError::Unknown(name.into())),
    }
}

#[derive(Clone, Copy)]
enum Chunk<'t> {
    Text(&'t str),
    Name(&'t str),
}

fn chunks(text: &str) -> Result<Vec<Chunk<'_>>, TemplateError> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (before, tail) = rest.split_once('{').unwrap_or((rest, ""));
        if before.contains('}') {
            return Err(TemplateError::Unbalanced);
        }
        if !before.is_empty() {
            out.push(Chunk::Text(before));
        }
        if before.len() == rest.len() {
            break;
        }
        let (name, after) = tail.split_once('}').ok_or(TemplateError::Unbalanced)?;
        out.push(Chunk::Name(name));
        rest = after;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items() {
        let espo = Item::parse("{var:webhook_id}:{sig}", "sig").unwrap();
        assert_eq!(espo.variables().collect::<Vec<_>>(), ["webhook_id"]);
        let around = espo.fill(&|_| Some("5f".into())).unwrap();
        assert_eq!(around.value(b"5f:abc"), Some(&b"abc"[..]));
        assert_eq!(around.value(b"5e:abc"), None);
        assert!(espo.fill(&|_| None).is_none() && espo.fill(&|_| Some("".into())).is_none());
        for bad in ["", "v1=", "{sig}{sig}", "{ts}", "{sig", "sig}", "{var:}{sig}"] {
            assert!(Item::parse(bad, "sig").is_err(), "{bad}");
        }
        assert_eq!(Item::parse("{sig}", "sig").unwrap(), Item::bare());
    }

    #[test]
    fn messages() {
        let message: Message = "v0:{ts}:{json:/a/b}{url:twilio}".parse().unwrap();
        assert_eq!(message.tokens().len(), 5);
        for bad in ["{nothing}", "{json:a}", "{hdr:}", "{url:other}", "a}", "{body"] {
            assert!(bad.parse::<Message>().is_err(), "{bad}");
        }
    }
}
