//! `Host`: exactly one, and only `name[:port]` (RFC 9112 section 3.2).

use http::{HeaderMap, Version, header};

use crate::denial::{Ambiguity, Denial};

/// Most bytes of a name (RFC 1035 section 2.3.4).
const LONGEST: usize = 255;

/// The value of the one `Host` field; empty for HTTP/1.0 without one.
///
/// # Errors
/// [`Ambiguity::Host`] if it is missing from HTTP/1.1, repeated, or not a host with an optional port.
pub fn the_one(headers: &HeaderMap, version: Version) -> Result<&str, Denial> {
    let mut values = headers.get_all(header::HOST).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => {
            value.to_str().ok().filter(|text| is_host(text)).ok_or(Denial::Ambiguous(Ambiguity::Host))
        }
        (None, _) if version == Version::HTTP_10 => Ok(""),
        (None | Some(_), _) => Err(Denial::Ambiguous(Ambiguity::Host)),
    }
}

/// True for `reg-name`, an IPv4 address or a bracketed IPv6 address, with an optional port.
pub fn is_host(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        return address.parse::<std::net::Ipv6Addr>().is_ok() && (port.is_empty() || is_port_part(port));
    }
    // One pass over a short text, without questions but the last one: no label is empty, but the last may be.
    let (mut before, mut odd, mut end) = (DOT, 0, text.len());
    for (at, byte) in text.bytes().enumerate() {
        let kind = KINDS.get(usize::from(byte)).copied().unwrap_or(ODD);
        if kind == COLON {
            end = at;
            break;
        }
        odd |= (kind & before) | (kind & ODD);
        before = kind;
    }
    let port = text.get(end..).unwrap_or_default();
    odd == 0 && (1..=LONGEST).contains(&end) && (port.is_empty() || is_port_part(port))
}

/// Kinds of bytes: of two neighbours only letters may be alike, for they are nothing.
const LETTER: u8 = 0;
const DOT: u8 = 1;
const COLON: u8 = 2;
const ODD: u8 = 4;

/// Of each byte its kind: a look-up is quicker than questions.
static KINDS: [u8; 256] = kinds();

#[expect(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "evaluated by the compiler"
)]
const fn kinds() -> [u8; 256] {
    let mut kinds = [ODD; 256];
    let mut byte = 0;
    while byte < kinds.len() {
        kinds[byte] = match byte as u8 {
            b'.' => DOT,
            b':' => COLON,
            b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => LETTER,
            _ => ODD,
        };
        byte += 1;
    }
    kinds
}

fn is_port_part(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|digits| {
        (1..=5).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && digits.parse::<u16>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in [
            "crm.example",
            "crm.example:8080",
            "127.0.0.1:1",
            "[::1]",
            "[2001:db8::1]:443",
            "my_crm",
            "crm.example.",
            "crm.example.:1",
        ] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "", "a b", "a,b", "a/b", "u@a", "a:", "a:99999", "a:1:2", "[::1", "[::1]x", "[zz]", "::1", "a\t",
            "a:+1", "a?b", "a#b", "a\\b", "a%41", "..", ".a", "a..b", ".", ":80",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
