//! The request head, judged before anyone asks who sent it.
//!
//! What is judged here is byte for byte what is forwarded: whatever two parsers could read differently is refused.
//! [`target`] looks at the path, [`host`] at `Host`, [`fields`] at every header once.

pub mod fields;
pub mod host;
pub mod own_fields;
pub mod target;

use http::request::Parts;
use http::{HeaderMap, Method, Version, header};

use crate::denial::{Ambiguity, Denial};
use fields::{Facts, ListedNames};
use target::Target;

/// A head that reads one way only.
#[derive(Debug)]
pub struct Head {
    /// The path and query that are judged and forwarded.
    pub target: Target,
    /// What the fields say about framing, and which of them must not go on.
    pub facts: Facts,
}

/// Judges method, target, Host, framing and field names.
///
/// # Errors
/// [`Denial::Ambiguous`], [`Denial::MethodNotAllowed`], [`Denial::ExpectationUnknown`] or [`Denial::TargetTooLong`].
pub fn judge(parts: &Parts, listed: &ListedNames) -> Result<Head, Denial> {
    method(&parts.method)?;
    let host = host::the_one(&parts.headers, parts.version)?;
    let target = Target::judge(&parts.uri, &parts.method, host)?;
    let facts = fields::judge(&parts.headers, listed)?;
    framing(parts, &facts)?;
    Ok(Head { target, facts })
}

fn method(method: &Method) -> Result<(), Denial> {
    match *method {
        Method::GET
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::HEAD
        | Method::OPTIONS => Ok(()),
        Method::CONNECT | Method::TRACE => Err(Denial::MethodNotAllowed),
        // To Django and werkzeug `get` is `GET`; to rules that name methods it is another one.
        ref other if other.as_str().bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') => Ok(()),
        _ => Err(Denial::Ambiguous(Ambiguity::Method)),
    }
}

fn framing(parts: &Parts, facts: &Facts) -> Result<(), Denial> {
    let headers = &parts.headers;
    match (facts.has_content_length, facts.has_transfer_encoding) {
        (true, true) => return Err(Denial::Ambiguous(Ambiguity::Framing)),
        (true, false) => canonical_length(headers)?,
        (false, true) => plain_chunked(headers, parts.version)?,
        (false, false) => {}
    }
    if facts.has_expect
        && headers
            .get_all(header::EXPECT)
            .iter()
            .any(|it| !it.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(Denial::ExpectationUnknown);
    }
    let has_body = facts.has_transfer_encoding || (facts.has_content_length && !is_zero_length(headers));
    if has_body && (facts.wants_upgrade || matches!(parts.method, Method::GET | Method::HEAD)) {
        return Err(Denial::Ambiguous(Ambiguity::UnexpectedBody));
    }
    Ok(())
}

fn is_zero_length(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_LENGTH).is_some_and(|value| value == "0")
}

/// One `Content-Length`, digits only, without padding; RFC 9112 section 6.3 lets us refuse the rest.
fn canonical_length(headers: &HeaderMap) -> Result<(), Denial> {
    const MOST_DIGITS: usize = 15;
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Denial::Ambiguous(Ambiguity::Framing));
    };
    match value.as_bytes() {
        b"0" => Ok(()),
        [b'1'..=b'9', rest @ ..] if rest.len() < MOST_DIGITS && rest.iter().all(u8::is_ascii_digit) => Ok(()),
        _ => Err(Denial::Ambiguous(Ambiguity::Framing)),
    }
}

/// One `Transfer-Encoding` field that says `chunked` and nothing else, in HTTP/1.1.
fn plain_chunked(headers: &HeaderMap, version: Version) -> Result<(), Denial> {
    let mut values = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (values.next(), values.next(), version) {
        (Some(value), None, Version::HTTP_11) if value.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Denial::Ambiguous(Ambiguity::Framing)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(build: http::request::Builder) -> Result<Head, Denial> {
        let (parts, ()) = build.body(()).unwrap().into_parts();
        judge(&parts, &ListedNames::default())
    }

    fn get(path: &str) -> http::request::Builder {
        http::Request::get(path).header("host", "crm.example")
    }

    #[test]
    fn framing_has_one_reading() {
        let post = || http::Request::post("/x").header("host", "crm.example");
        assert!(head(post().header("content-length", "12")).is_ok());
        assert!(head(post().header("transfer-encoding", "Chunked")).is_ok());
        for (name, value) in [
            ("content-length", "012"),
            ("content-length", "+1"),
            ("content-length", "1, 1"),
            ("content-length", ""),
            ("content-length", "1234567890123456"),
            ("transfer-encoding", "identity, chunked"),
            ("transfer-encoding", "xchunked"),
        ] {
            let refused = head(post().header(name, value)).unwrap_err();
            assert_eq!(refused, Denial::Ambiguous(Ambiguity::Framing), "{name}: {value}");
        }
        assert!(head(post().header("content-length", "1").header("content-length", "1")).is_err());
        assert!(head(post().header("content-length", "1").header("transfer-encoding", "chunked")).is_err());
    }

    #[test]
    fn methods_have_one_spelling() {
        for method in ["get", "Get", "GEt", "G_T", "GET1", "GET~", "gET"] {
            let refused = head(get("/x").method(method)).unwrap_err();
            assert_eq!(refused, Denial::Ambiguous(Ambiguity::Method), "{method}");
        }
        assert!(head(get("/x").method("VERSION-CONTROL")).is_ok());
    }

    #[test]
    fn bodies_only_where_they_belong() {
        assert!(head(get("/x").header("content-length", "0")).is_ok());
        assert_eq!(
            head(get("/x").header("content-length", "5")).unwrap_err(),
            Denial::Ambiguous(Ambiguity::UnexpectedBody)
        );
        assert_eq!(head(get("/x").header("expect", "200-ok")).unwrap_err(), Denial::ExpectationUnknown);
    }
}
