//! The head of a request over HTTP/2 on its way to HTTP/1.1: `1` if it has a body, a line with method and URI, then fields.

use http::Request;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, TRANSFER_ENCODING};
use sidelock::proxy::http2::as_http1;
use sidelock::request_head::fields::ListedNames;
use sidelock::request_head::judge;

use super::input::Input;

/// One head.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let has_body = input.number() == 1;
    let line = input.text();
    let (method, uri) = line.split_once(' ').unwrap_or((line, "https://a/"));
    let headers = input.headers();
    let Ok(mut request) = Request::builder().method(method).uri(uri).body(()) else { return };
    let crumbs: usize = headers.get_all(COOKIE).iter().map(|crumb| crumb.len()).sum();
    let claims_coding = headers.contains_key(TRANSFER_ENCODING);
    *request.headers_mut() = headers;
    let (mut parts, ()) = request.into_parts();
    as_http1(&mut parts, has_body);
    let cookies: Vec<_> = parts.headers.get_all(COOKIE).iter().collect();
    assert!(cookies.len() <= 1, "one field of cookies");
    assert!(cookies.iter().all(|cookie| cookie.len() >= crumbs), "and every crumb is in it");
    let Ok(head) = judge(&parts, &ListedNames::default()) else { return };
    assert!(!claims_coding, "HTTP/2 has no such field");
    let hosts: Vec<_> = parts.headers.get_all(HOST).iter().collect();
    assert_eq!(hosts.len(), 1);
    if let Some(authority) = parts.uri.authority() {
        assert!(authority.as_str().as_bytes().eq_ignore_ascii_case(hosts[0].as_bytes()), "one host");
    }
    assert_eq!(Some(head.target.path_and_query()), parts.uri.path_and_query());
    let framings = [CONTENT_LENGTH, TRANSFER_ENCODING].map(|name| parts.headers.get_all(name).iter().count());
    assert!(framings.iter().sum::<usize>() <= 1 && (!has_body || framings != [0, 0]), "{framings:?}");
}
