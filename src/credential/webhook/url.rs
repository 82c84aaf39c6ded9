//! The URL as senders sign it. It is the configured public one with the raw target: never `Host`, which the caller chooses.

use super::form::escaped;
use super::template::UrlForm;

/// Spellings under which `url` may have been signed.
pub(super) fn spellings(url: &str, form: UrlForm) -> Vec<String> {
    match form {
        UrlForm::AsCalled => vec![url.to_owned()],
        UrlForm::HubSpot => distinct(hubspot(url), url.to_owned()),
        UrlForm::Twilio => twilio(url).unwrap_or_else(|| vec![url.to_owned()]),
    }
}

fn distinct(first: String, second: String) -> Vec<String> {
    if first == second { vec![first] } else { vec![first, second] }
}

/// Exactly these escapes are decoded before signing (developers.hubspot.com/docs/guides/apps/authentication/validating-requests).
fn hubspot(url: &str) -> String {
    const DECODED: &[u8] = b":/?@!$'()*,;";
    let mut out = String::with_capacity(url.len());
    let mut rest = url;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        match escaped(after.as_bytes()) {
            Some((byte, _)) if DECODED.contains(&byte) => {
                out.push(char::from(byte));
                rest = after.get(2..).unwrap_or_default();
            }
            Some(_) | None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out + rest
}

/// With its port and without: Twilio's products differ (twilio.com/docs/usage/security).
fn twilio(url: &str) -> Option<Vec<String>> {
    let (scheme, after) = url.split_once("://")?;
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (authority, rest) = after.split_at_checked(end)?;
    let host_at = authority.rfind('@').map_or(0, |at| at + 1);
    let host = authority.get(host_at..)?;
    // The colons of an IPv6 address stand within brackets.
    let port_at = host.rfind(':').filter(|at| host.rfind(']').is_none_or(|bracket| bracket < *at));
    let (without, with) = match port_at {
        Some(at) => (authority.get(..host_at + at)?.to_owned(), authority.to_owned()),
        None => {
            let port = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
            (authority.to_owned(), format!("{authority}:{port}"))
        }
    };
    Some(vec![format!("{scheme}://{without}{rest}"), format!("{scheme}://{with}{rest}")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_senders_spell_them() {
        assert_eq!(
            spellings("https://a/b?q=%3A%2f%40%20%25%zz%", UrlForm::HubSpot),
            ["https://a/b?q=:/@%20%25%zz%", "https://a/b?q=%3A%2f%40%20%25%zz%"]
        );
        assert_eq!(spellings("https://a/b", UrlForm::HubSpot), ["https://a/b"]);
        let twilio = |url| spellings(url, UrlForm::Twilio);
        assert_eq!(twilio("https://a/b?c:1"), ["https://a/b?c:1", "https://a:443/b?c:1"]);
        assert_eq!(twilio("http://u:p@a:8080?x"), ["http://u:p@a?x", "http://u:p@a:8080?x"]);
        assert_eq!(twilio("https://[::1]/"), ["https://[::1]/", "https://[::1]:443/"]);
        assert_eq!(twilio("https://[::1]:1/"), ["https://[::1]/", "https://[::1]:1/"]);
    }
}
