//! Marked secrets in every accepted position, and a search of everything that comes out.

use crate::support::crm::Crm;
use crate::support::gateway::{Plan, TestKey};

#[test]
fn no_secret_comes_out_anywhere() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "");
    let (hook, crm_token) = ("MARKED-hook-secret-0123456789abcdef", "MARKED-crm-token-0123456789");
    let mut plan = Plan::before(&crm).key(&key).with(
        "[[webhook]]\nname = \"h\"\npath = \"/h\"\nheader = \"x-hook\"\nsecrets = [\"env:HOOK\"]\n[[webhook]]\nname = \"q\"\npath = \"/q\"\nquery = \"token\"\nsecrets = [\"env:HOOK\"]\n[[route]]\npath = \"/open/**\"\naccess = \"public\"\n",
    );
    plan.environment = vec![("HOOK", hook.to_owned()), ("CRM", crm_token.to_owned())];
    plan.upstream.push_str("\ncredential = { header = \"x-crm\", secret = \"env:CRM\" }");
    let mut gateway = plan.start();
    let bearer = format!("Authorization: Bearer {}", key.text);
    let mut out = String::new();
    let mut ask = |path: &str, headers: &[&str]| {
        for method_body in [None, Some("{}")] {
            let answer = match method_body {
                None => gateway.get(path, headers),
                Some(body) => gateway.post(path, headers, body),
            };
            out.push_str(&answer.head);
            out.push_str(&answer.text());
        }
    };
    let (own, hook_header) = (key.header(), format!("X-Hook: {hook}"));
    for headers in [&[own.as_str()][..], &[&bearer], &[&own, &bearer], &[&own, "Accept: \u{7f}"]] {
        for path in ["/api/x", "/open/x", "/h", "/q", "/api/../x", "/nowhere"] {
            ask(path, headers);
        }
    }
    ask(&format!("/api/{}", key.text), &[&own]);
    ask(&format!("/api/{}", key.text), &[]);
    ask(&format!("/api/x?k={}", key.text), &[&own]);
    ask("/h", &[&hook_header]);
    ask("/h", &[&hook_header, &hook_header]);
    ask(&format!("/q?token={hook}"), &[]);
    ask(&format!("/q?token={hook}&token={hook}"), &[]);
    out.push_str(&gateway.metrics());
    gateway.stop();
    out.push_str(&gateway.said.text());
    for file in ["access.ndjson", "last-reload.json"] {
        out.push_str(
            &std::fs::read_to_string(gateway.folder.path().join("state").join(file)).unwrap_or_default(),
        );
    }
    assert!(
        out.contains("sidelock_requests_total") && out.contains("\"path\""),
        "the search has something to search"
    );
    for secret in [key.text.as_str(), hook, crm_token] {
        assert!(!out.contains(secret), "a secret came out");
    }
    let upstream = crm.seen.requests().concat();
    assert!(upstream.contains(crm_token), "the CRM gets its own");
    for secret in [key.text.as_str(), hook] {
        assert!(!upstream.contains(secret), "a secret went on to the CRM");
    }
}
