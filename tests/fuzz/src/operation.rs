//! A request whose body says what it asks for: a line with method, query and content type, then the body.

use http::Method;
use sidelock::policy::graphql::{self, GraphqlKind};
use sidelock::policy::operation::Message;
use sidelock::policy::rpc;

/// One request.
pub fn run(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, body) = data.split_at(end);
    let body = body.strip_prefix(b"\n").unwrap_or_default();
    let mut words = std::str::from_utf8(line).unwrap_or_default().splitn(3, ' ');
    let method = if words.next() == Some("GET") { Method::GET } else { Method::POST };
    let (query, content_type) = (words.next().filter(|query| *query != "-"), words.next());
    let message = Message { method: &method, query, content_type, body };
    let kind = graphql::kind(&message);
    if matches!(kind, GraphqlKind::Query | GraphqlKind::Subscription) {
        if content_type == Some("application/graphql") && method == Method::POST {
            only_reads(std::str::from_utf8(body).expect("what is understood is UTF-8"));
        }
        // What comes twice is understood by nobody; the line end ends a comment.
        let twice = [body, b"\n", body].concat();
        let again = Message { body: &twice, ..message };
        assert!(body.is_empty() || graphql::kind(&again) == GraphqlKind::Unclear, "two requests in one");
    }
    for name in rpc::json_calls(&message).unwrap_or_default() {
        assert!(rpc::is_name(&name));
    }
    assert!(rpc::xml_call(&message).is_none_or(rpc::is_name));
}

/// The first word of a document that reads is not one that changes.
fn only_reads(document: &str) {
    let mut rest = document;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', ',']);
        match rest.strip_prefix('#') {
            Some(comment) => rest = comment.trim_start_matches(|it| it != '\n' && it != '\r'),
            None => break,
        }
    }
    let reads = ["{", "query", "subscription", "fragment"].iter().any(|word| rest.starts_with(word));
    assert!(reads, "{rest}");
}
