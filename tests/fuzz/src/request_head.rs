//! A request's head: a line with method and target, then fields.

use http::Request;
use sidelock::credential::places::Places;
use sidelock::request_head::fields::ListedNames;
use sidelock::request_head::judge;

use super::input::Input;

/// One head.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let line = input.text();
    let (method, target) = line.split_once(' ').unwrap_or((line, "/"));
    let headers = input.headers();
    let Ok(mut request) = Request::builder().method(method).uri(target).body(()) else { return };
    *request.headers_mut() = headers;
    let (parts, ()) = request.into_parts();
    let places = Places::default();
    if let Ok(presented) = places.find(&parts.headers) {
        assert!(parts.headers.contains_key(presented.header));
        assert_eq!(places.present_in(&parts.headers).count(), 1, "one credential in one place");
    }
    let Ok(head) = judge(&parts, &ListedNames::from(&places)) else { return };
    let own = parts.uri.path_and_query().unwrap();
    assert_eq!(head.target.path_and_query(), own, "what is judged is what is forwarded");
    assert_eq!(parts.headers.get_all("host").iter().count(), 1);
    assert!(!(head.facts.has_content_length && head.facts.has_transfer_encoding), "one framing");
    for name in &head.facts.not_forwarded {
        assert!(parts.headers.contains_key(name) && name != "host" && name != "content-length");
    }
    judge_path(head.target.path());
}

/// However often and in whatever order a server decodes, it goes nowhere else.
fn judge_path(path: &str) {
    if path == "*" {
        return;
    }
    let mut text = path.as_bytes().to_vec();
    for _ in 0..3 {
        let lossy = String::from_utf8_lossy(&text).into_owned();
        assert!(
            lossy.starts_with('/') && !lossy.contains("//") && !lossy.contains(['\\', ';', '\0', '\r', '\n'])
        );
        assert!(!lossy.split('/').any(|segment| matches!(segment, "." | "..")), "{path:?}");
        text = decoded(&text);
    }
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}
