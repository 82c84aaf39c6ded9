//! What a request asks for where method and path do not tell: GraphQL has one path for reading and writing, and RPC has one
//! for everything.
//!
//! The body is read more strictly than any server does. What two readers could understand differently counts as the worse
//! of the two: a GraphQL request in doubt is a mutation, an RPC call in doubt has no name that a rule could know.

use http::Method;

use super::graphql::{self, GraphqlKind};
use super::rpc;

/// Largest body that is looked into.
pub const MOST_BYTES: usize = 1024 * 1024;

/// What the body of a request must ask for, so that a rule covers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `graphql:query`, `graphql:mutation`, `graphql:subscription`
    Graphql(GraphqlKind),
    /// `jsonrpc:NAME`: every call of the body is of this method.
    JsonRpc(CallName),
    /// `xmlrpc:NAME`
    XmlRpc(CallName),
}

/// The name of a remote procedure; with a `*` at its end, of all that begin so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallName(Box<str>);

/// Not an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an operation")]
pub struct OperationError;

/// A request of which the whole is known.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The method.
    pub method: &'a Method,
    /// The query, as sent.
    pub query: Option<&'a str>,
    /// The only `Content-Type`; `None` if there is none, several, or one that is no text.
    pub content_type: Option<&'a str>,
    /// The body, without any content coding.
    pub body: &'a [u8],
}

impl std::str::FromStr for Operation {
    type Err = OperationError;

    fn from_str(text: &str) -> Result<Self, OperationError> {
        let (family, what) = text.split_once(':').ok_or(OperationError)?;
        match (family, what) {
            ("graphql", "query") => Ok(Self::Graphql(GraphqlKind::Query)),
            ("graphql", "mutation") => Ok(Self::Graphql(GraphqlKind::Mutation)),
            ("graphql", "subscription") => Ok(Self::Graphql(GraphqlKind::Subscription)),
            ("jsonrpc", name) => name.parse().map(Self::JsonRpc),
            ("xmlrpc", name) => name.parse().map(Self::XmlRpc),
            (_, _) => Err(OperationError),
        }
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (family, what) = match self {
            Self::Graphql(GraphqlKind::Query) => ("graphql", "query"),
            Self::Graphql(GraphqlKind::Mutation | GraphqlKind::Unclear) => ("graphql", "mutation"),
            Self::Graphql(GraphqlKind::Subscription) => ("graphql", "subscription"),
            Self::JsonRpc(CallName(name)) => ("jsonrpc", &**name),
            Self::XmlRpc(CallName(name)) => ("xmlrpc", &**name),
        };
        write!(f, "{family}:{what}")
    }
}

impl std::str::FromStr for CallName {
    type Err = OperationError;

    fn from_str(text: &str) -> Result<Self, OperationError> {
        let name = text.strip_suffix('*').unwrap_or(text);
        if rpc::is_name(name) { Ok(Self(text.into())) } else { Err(OperationError) }
    }
}

impl CallName {
    /// True for a procedure of this name.
    pub fn covers(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => *self.0 == *name,
        }
    }
}

impl Operation {
    /// True if this, and nothing else, is what the request asks for.
    pub fn is_asked_by(&self, message: &Message<'_>) -> bool {
        match self {
            Self::Graphql(wanted) => {
                // The worse of what it may be: a key that may change things may also send what is not understood.
                let kind = graphql::kind(message);
                let worst = if kind == GraphqlKind::Unclear { GraphqlKind::Mutation } else { kind };
                worst == *wanted
            }
            Self::JsonRpc(name) => {
                let called = rpc::json_calls(message);
                called.is_some_and(|names| names.iter().all(|called| name.covers(called)))
            }
            Self::XmlRpc(name) => rpc::xml_call(message).is_some_and(|called| name.covers(called)),
        }
    }
}

impl Message<'_> {
    /// True if the content is of this media type, and in the encoding that everyone reads alike (RFC 9110 section 8.3).
    pub(super) fn is(&self, media_type: &str) -> bool {
        let Some(text) = self.content_type else { return false };
        let (given, parameter) = match text.split_once(';') {
            Some((given, parameter)) => (given, Some(parameter)),
            None => (text, None),
        };
        let encoding_is_plain = parameter.is_none_or(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("charset")
                    && value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            })
        });
        given.trim().eq_ignore_ascii_case(media_type) && encoding_is_plain
    }

    /// Names and values of the query, decoded; `None` where a reader could see others.
    pub(super) fn parameters(&self) -> Option<Vec<(String, String)>> {
        let pairs = self.query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decoded(name)?, decoded(value)?))
            })
            .collect()
    }
}

/// True if some reader takes a parameter of this name for `wanted`, which is letters only: case-blind (Go), `wanted[x]` as
/// well (PHP, Rails), and without spaces before it and what follows a zero byte (php.net/variables.external).
pub(super) fn may_mean(name: &str, wanted: &str) -> bool {
    let stem = name.trim_start().split(['[', '\0']).next().unwrap_or_default();
    stem.trim_end().eq_ignore_ascii_case(wanted)
}

/// Text of a query, without its escapes (application/x-www-form-urlencoded).
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'+' => out.push(b' '),
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let [high, low] = digits else { return None };
                out.push(u8::try_from(digit(high)? << 4 | digit(low)?).ok()?);
                rest = after;
            }
            byte => out.push(*byte),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_meant() {
        for good in ["graphql:query", "graphql:subscription", "jsonrpc:get_*", "xmlrpc:a.b/c"] {
            assert!(good.parse::<Operation>().is_ok(), "{good}");
        }
        for bad in [
            "graphql",
            "graphql:Query",
            "graphql:unclear",
            "rpc:x",
            "jsonrpc:",
            "jsonrpc:*",
            "xmlrpc:a*b",
            "xmlrpc:<",
        ] {
            assert_eq!(bad.parse::<Operation>(), Err(OperationError), "{bad}");
        }
    }

    #[test]
    fn what_is_unclear_needs_the_right_to_change() {
        let message = Message {
            method: &Method::POST,
            query: None,
            content_type: Some("application/json"),
            body: b"{",
        };
        let asked = |text: &str| text.parse::<Operation>().unwrap().is_asked_by(&message);
        assert!(asked("graphql:mutation"));
        assert!(!asked("graphql:query") && !asked("graphql:subscription") && !asked("jsonrpc:a"));
    }

    #[test]
    fn media_types_with_an_encoding_that_everyone_reads() {
        let is = |text: &str| {
            Message { method: &Method::POST, query: None, content_type: Some(text), body: b"" }
                .is("application/json")
        };
        for good in
            ["application/json", "Application/JSON; charset=utf-8", "application/json;charset=\"UTF-8\""]
        {
            assert!(is(good), "{good}");
        }
        for bad in [
            "text/json",
            "application/json; charset=utf-16",
            "application/json; x=1",
            "application/json;",
            "application/json; charset=utf-8; charset=utf-7",
            "",
        ] {
            assert!(!is(bad), "{bad}");
        }
    }
}
