//! The request target: one spelling for every path, or refused.
//!
//! RFC 3986 section 6.2.2 lists the spellings that mean the same; every one but the canonical is refused, and so is what
//! a backend might decode, fold or split once more.

use http::uri::PathAndQuery;
use http::{Method, Uri};

use crate::denial::{Ambiguity, Denial};

/// Longest path and query together, in bytes.
pub const MOST_BYTES: usize = 8192;

/// A path and query that reads one way only, in origin form.
#[derive(Clone, Debug)]
pub struct Target {
    path_and_query: PathAndQuery,
}

impl Target {
    /// Judges `uri` as the target of `method` sent to `host`.
    ///
    /// # Errors
    /// [`Denial::TargetTooLong`], or [`Denial::Ambiguous`] with the first thing found.
    pub fn judge(uri: &Uri, method: &Method, host: &str) -> Result<Self, Denial> {
        if let Some(authority) = uri.authority() {
            let same = !host.is_empty() && authority.as_str().eq_ignore_ascii_case(host);
            let scheme_ok = matches!(uri.scheme_str(), Some("http" | "https"));
            if !same || !scheme_ok {
                return Err(Denial::Ambiguous(Ambiguity::ForeignAuthority));
            }
        }
        let Some(path_and_query) = uri.path_and_query() else {
            return Err(Denial::Ambiguous(Ambiguity::TargetForm));
        };
        if path_and_query.as_str().len() > MOST_BYTES {
            return Err(Denial::TargetTooLong);
        }
        if path_and_query.as_str() == "*" {
            let asterisk_form = *method == Method::OPTIONS && uri.authority().is_none();
            return if asterisk_form {
                Ok(Self { path_and_query: path_and_query.clone() })
            } else {
                Err(Denial::Ambiguous(Ambiguity::TargetForm))
            };
        }
        judge_path(path_and_query.path()).map_err(Denial::Ambiguous)?;
        judge_query(path_and_query.query().unwrap_or_default()).map_err(Denial::Ambiguous)?;
        Ok(Self { path_and_query: path_and_query.clone() })
    }

    /// The path as it was sent and as it goes on.
    pub fn path(&self) -> &str {
        self.path_and_query.path()
    }

    /// The query as it was sent, without `?`.
    pub fn query(&self) -> Option<&str> {
        self.path_and_query.query()
    }

    /// Path and query as sent.
    pub const fn path_and_query(&self) -> &PathAndQuery {
        &self.path_and_query
    }
}

/// Bytes of a path that need a closer look; all others may stand anywhere in it.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler; a byte is a position in the table")]
const SPECIAL: [bool; 256] = {
    let mut special = [true; 256];
    let plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~!$&'()*+,=:@[]?";
    let mut at = 0;
    while at < plain.len() {
        special[plain[at] as usize] = false;
        at += 1;
    }
    special
};

/// Refuses whatever is not canonical.
///
/// # Errors
/// The first [`Ambiguity`] found.
pub fn judge_path(path: &str) -> Result<(), Ambiguity> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(Ambiguity::TargetForm);
    }
    let (mut has_escape, mut before) = (false, 0_u8);
    for &byte in bytes {
        if !SPECIAL.get(usize::from(byte)).is_some_and(|special| *special) {
            before = byte;
            continue;
        }
        match byte {
            b'/' if before == b'/' => return Err(Ambiguity::DoubleSlash),
            b'.' if before == b'/' => refuse_dot_segment(path)?,
            b'%' => has_escape = true,
            // `/a;x/b` is `/a/b` to a servlet container, and another path to everyone else.
            b';' => return Err(Ambiguity::PathParameter),
            b'\\' => return Err(Ambiguity::Backslash),
            b'/' | b'.' => {}
            _ => return Err(Ambiguity::BadTargetByte),
        }
        before = byte;
    }
    if has_escape { judge_escapes(bytes) } else { Ok(()) }
}

/// A segment of one or two dots, alone or before a `;` parameter (`/..;/` is `..` to a servlet container).
fn refuse_dot_segment(path: &str) -> Result<(), Ambiguity> {
    let dotted = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    if path.split('/').any(dotted) { Err(Ambiguity::DotSegment) } else { Ok(()) }
}

/// Every escape decodes to a byte that has no other spelling and that no parser treats specially.
fn judge_escapes(bytes: &[u8]) -> Result<(), Ambiguity> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            decoded.push(*first);
            rest = tail;
            continue;
        }
        let [high, low, after @ ..] = tail else {
            return Err(Ambiguity::BadEscape);
        };
        let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
            return Err(Ambiguity::BadEscape);
        };
        let byte = high << 4 | low;
        judge_escaped(byte, after)?;
        decoded.push(byte);
        rest = after;
    }
    let text = std::str::from_utf8(&decoded).map_err(|_| Ambiguity::BadUnicode)?;
    if text.split('/').any(|segment| matches!(segment.trim(), "." | "..")) {
        return Err(Ambiguity::DotSegment);
    }
    if text.chars().any(folds_to_delimiter) { Err(Ambiguity::BadUnicode) } else { Ok(()) }
}

fn judge_escaped(byte: u8, after: &[u8]) -> Result<(), Ambiguity> {
    match byte {
        b'.' => Err(Ambiguity::DotSegment),
        b'\\' => Err(Ambiguity::Backslash),
        b'/' | b'?' | b'#' => Err(Ambiguity::EncodedDelimiter),
        b';' => Err(Ambiguity::PathParameter),
        b'%' if matches!(after, [a, b, ..] if hex(*a).is_some() && hex(*b).is_some()) => {
            Err(Ambiguity::EncodedDelimiter)
        }
        b'%' if matches!(after, [b'u' | b'U' | b'%', ..]) => Err(Ambiguity::EncodedDelimiter),
        0..=0x1f | 0x7f => Err(Ambiguity::EncodedControl),
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => Err(Ambiguity::EncodedUnreserved),
        _ => Ok(()),
    }
}

/// Characters that Unicode compatibility folding (NFKC) turns into, or into text with, `.` `/` `\` `%` `;` `?` `#`, and
/// C1 controls.
fn folds_to_delimiter(character: char) -> bool {
    matches!(character,
        '\u{80}'..='\u{9f}'                 // C1 controls
        | '\u{a8}'..='\u{a8}'               // diaeresis folds with a space
        | '\u{bc}'..='\u{be}'               // vulgar fractions hold a fraction slash
        | '\u{37e}'                         // Greek question mark is ;
        | '\u{1fef}'
        | '\u{2024}'..='\u{2026}'           // dot leaders
        | '\u{2044}' | '\u{2047}'..='\u{2049}'
        | '\u{2100}' | '\u{2101}' | '\u{2105}' | '\u{2106}'
        | '\u{2150}'..='\u{215f}' | '\u{2189}' // fractions
        | '\u{2215}' | '\u{2216}' | '\u{29f5}' | '\u{29f8}' | '\u{29f9}'
        | '\u{2488}'..='\u{249b}'           // digits with a full stop
        | '\u{fe10}'..='\u{fe19}' | '\u{fe30}' | '\u{fe52}' | '\u{fe54}' | '\u{fe56}'
        | '\u{fe5f}' | '\u{fe68}' | '\u{fe6a}'
        | '\u{ff01}'..='\u{ff5e}'           // fullwidth ASCII
        | '\u{ff61}'
        | '\u{1f100}')
}

/// Queries decide nothing, but control characters and cut escapes in them are still read in two ways by some.
fn judge_query(query: &str) -> Result<(), Ambiguity> {
    let bytes = query.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'%' => match bytes.get(at + 1..at + 3) {
                Some([b'0', b'0' | b'a' | b'A' | b'd' | b'D']) => return Err(Ambiguity::EncodedControl),
                Some([high, low]) if hex(*high).is_some() && hex(*low).is_some() => {}
                _ => return Err(Ambiguity::BadEscape),
            },
            0x21..=0x7e => {}
            _ => return Err(Ambiguity::BadTargetByte),
        }
    }
    Ok(())
}

const fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_pass() {
        for path in [
            "/",
            "/api/v1",
            "/a/",
            "/a.b/c..d/...",
            "/.well-known/x",
            "/a%20b",
            "/%C3%A9",
            "/a:b@c",
            "/x%3Ay",
        ] {
            assert_eq!(judge_path(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for (path, why) in [
            ("", Ambiguity::TargetForm),
            ("a", Ambiguity::TargetForm),
            ("/a/../b", Ambiguity::DotSegment),
            ("/..", Ambiguity::DotSegment),
            ("/a/.", Ambiguity::DotSegment),
            ("/a/..;x/b", Ambiguity::DotSegment),
            ("/a;b", Ambiguity::PathParameter),
            ("/a%3Bb", Ambiguity::PathParameter),
            ("/a/..%3bx/b", Ambiguity::PathParameter),
            ("/a/..%20/b", Ambiguity::DotSegment),
            ("/a/.;/b", Ambiguity::DotSegment),
            ("/a/%2e%2e/b", Ambiguity::DotSegment),
            ("/a/%2E./b", Ambiguity::DotSegment),
            ("/a/%252e%252e/b", Ambiguity::EncodedDelimiter),
            ("//a", Ambiguity::DoubleSlash),
            ("/a//b", Ambiguity::DoubleSlash),
            ("/a\\b", Ambiguity::Backslash),
            ("/a%5cb", Ambiguity::Backslash),
            ("/a%2fb", Ambiguity::EncodedDelimiter),
            ("/a%3Fb", Ambiguity::EncodedDelimiter),
            ("/a%23b", Ambiguity::EncodedDelimiter),
            ("/a%00", Ambiguity::EncodedControl),
            ("/a%0d%0a", Ambiguity::EncodedControl),
            ("/%61dmin", Ambiguity::EncodedUnreserved),
            ("/a%2", Ambiguity::BadEscape),
            ("/a%zz", Ambiguity::BadEscape),
            ("/a%u002e", Ambiguity::BadEscape),
            ("/a%c0%af", Ambiguity::BadUnicode),
            ("/a%ff", Ambiguity::BadUnicode),
            ("/%EF%BC%8E%EF%BC%8E/", Ambiguity::BadUnicode),
            ("/%E2%80%A4%E2%80%A4/", Ambiguity::BadUnicode),
            ("/a|b", Ambiguity::BadTargetByte),
            ("/é", Ambiguity::BadTargetByte),
        ] {
            assert_eq!(judge_path(path), Err(why), "{path}");
        }
    }

    #[test]
    fn absolute_form_only_for_the_same_host() {
        let judged = |uri: &str, host: &str| Target::judge(&uri.parse().unwrap(), &Method::GET, host);
        assert_eq!(judged("http://crm.example/a?b", "CRM.example").unwrap().path_and_query(), "/a?b");
        assert!(judged("http://other/a", "crm.example").is_err());
        assert!(judged("http://u@crm.example/a", "crm.example").is_err());
        assert!(judged("http://crm.example:80/a", "crm.example").is_err());
        assert!(judged("*", "crm.example").is_err());
        assert!(Target::judge(&"*".parse().unwrap(), &Method::OPTIONS, "x").is_ok());
        let long = format!("/{}", "a".repeat(MOST_BYTES));
        assert_eq!(judged(&long, "x").unwrap_err(), Denial::TargetTooLong);
    }
}
