//! What the CRM gets, and what the client gets back.

use crate::support::client::Connection;
use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan, TestKey};

fn line<'a>(request: &'a str, name: &str) -> Vec<&'a str> {
    request
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(given, _)| given.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

#[test]
fn the_crm_is_told_who_and_never_the_key() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read", "write"], "");
    let gateway = Plan::before(&crm).key(&key).start();
    let answer = gateway.get("/api/x?q=1", &[&key.header(), "Accept: a/b"]);
    let seen = crm.seen.last();
    assert!(seen.starts_with("GET /api/x?q=1 HTTP/1.1\r\n"), "{seen}");
    assert!(!seen.contains(&key.text));
    assert_eq!(line(&seen, "x-sidelock-key-id"), [key.id.as_str()]);
    assert_eq!(line(&seen, "x-sidelock-key-title"), [format!("Test {}", key.id)]);
    assert_eq!(line(&seen, "x-sidelock-scopes"), ["read write"]);
    assert_eq!(line(&seen, "host"), ["crm.example"]);
    assert_eq!(line(&seen, "accept"), ["a/b"]);
    assert_eq!(line(&seen, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(line(&seen, "x-forwarded-host"), ["crm.example"]);
    assert_eq!(line(&seen, "forwarded"), ["for=127.0.0.1;host=\"crm.example\";proto=http"]);
    assert_eq!(line(&seen, "x-request-id"), [answer.header("x-request-id").unwrap()]);
}

#[test]
fn what_a_client_claims_to_be_is_not_passed_on() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let claims = [
        "X-Sidelock-Key-Id: admin",
        "x-sidelock-KEY-id: admin",
        "X-Sidelock-Other: admin",
        "X-Forwarded-User: admin",
        "Remote-User: admin",
        "X-Forwarded-For: 6.6.6.6",
        "X-Real-IP: 6.6.6.6",
        "Forwarded: for=6.6.6.6",
        "X-Original-URL: /admin",
        "X-HTTP-Method-Override: DELETE",
        "X-Request-Id: admin",
        "Connection: close, X-Sidelock-Key-Id, X-Sidelock-Scopes, X-API-Key, X-Forwarded-For",
        "Keep-Alive: 5",
        "Proxy-Authorization: Basic admin",
        "TE: trailers",
    ];
    let headers: Vec<&str> = claims
        .iter()
        .copied()
        .chain([key.header()].iter().map(String::as_str).map(|it| it.to_owned().leak() as &str))
        .collect();
    assert_eq!(gateway.get("/api/x", &headers).status, 200);
    let seen = crm.seen.last();
    for word in ["admin", "6.6.6.6", "DELETE", "keep-alive", "trailers"] {
        assert!(!seen.to_lowercase().contains(&word.to_lowercase()), "{word} in {seen}");
    }
    assert_eq!(line(&seen, "x-sidelock-key-id"), [key.id.as_str()]);
    assert_eq!(line(&seen, "x-sidelock-scopes"), ["read"]);
}

#[test]
fn names_that_cgi_folds_together_are_refused() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    for name in ["X_Sidelock_Key_Id: admin", "X_Forwarded_For: 6.6.6.6", "Remote_User: admin", "a.b: c"] {
        assert_eq!(gateway.get("/api/x", &[&key.header(), name]).status, 400, "{name}");
    }
    assert_eq!(crm.seen.count(), 0);
}

#[test]
fn hop_by_hop_fields_end_here_in_both_directions() {
    let crm = Crm::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\nX-Request-Id: theirs\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nok",
    );
    let (gateway, key) = Gateway::reading(&crm);
    let answer = gateway.get("/api/x", &[&key.header(), "Connection: X-Foo", "X-Foo: 1"]);
    assert!(!crm.seen.last().contains("x-foo"));
    for name in ["x-inner", "keep-alive", "connection"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_ne!(answer.header("x-request-id"), Some("theirs"));
    assert_eq!(answer.head.matches("set-cookie").count(), 2);
}

#[test]
fn our_own_credential_for_the_crm_replaces_the_clients() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "");
    let mut plan = Plan::before(&crm).key(&key);
    plan.upstream.push_str("\ncredential = { header = \"Authorization\", prefix = \"Bearer \", secret = \"env:CRM_TOKEN\" }\nhost = \"internal.example\"");
    plan.environment.push(("CRM_TOKEN", "the-crm-token".to_owned()));
    plan.sections.push_str("[[route]]\npath = \"/login/**\"\naccess = \"public\"\n");
    let gateway = plan.start();
    let bearer = format!("Authorization: Bearer {}", key.text);
    assert_eq!(gateway.get("/api/x", &[&bearer]).status, 200);
    assert_eq!(line(&crm.seen.last(), "authorization"), ["Bearer the-crm-token"]);
    assert_eq!(line(&crm.seen.last(), "host"), ["internal.example"]);
    gateway.get("/login/", &[]);
    assert!(!crm.seen.last().contains("the-crm-token"), "strangers do not act with our rights");
}

#[test]
fn bodyless_answers_keep_their_framing() {
    for (answer, method, status) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", "GET", 204),
        ("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", "GET", 304),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", "HEAD", 200),
    ] {
        let crm = Crm::answering(answer);
        let (gateway, key) = Gateway::reading(&crm);
        let mut connection = Connection::open(gateway.address);
        for _ in 0..2 {
            connection.send(
                crate::support::client::request(method, "/api/x", &[&key.header()], "")
                    .replace("Content-Length: 0\r\n", ""),
            );
            let answer = connection.answer_to(method).unwrap();
            assert_eq!(answer.status, status);
            if method == "HEAD" {
                assert_eq!(answer.header("content-length"), Some("1234"));
            }
        }
        assert_eq!(crm.seen.connections(), 1, "{method} {status} keeps the CRM's connection");
    }
}

#[test]
fn interim_answers_are_swallowed_and_the_final_one_delivered() {
    let crm = Crm::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let (gateway, key) = Gateway::reading(&crm);
    assert_eq!(gateway.get("/api/x", &[&key.header()]).text(), "ok");
}

#[test]
fn http_1_0_and_absolute_targets() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let old = crate::support::client::ask(
        gateway.address,
        format!("GET /api/x HTTP/1.0\r\n{}\r\n\r\n", key.header()),
    );
    assert_eq!(old.status, 200);
    let seen = crm.seen.last();
    assert!(seen.starts_with("GET /api/x HTTP/1.1\r\n"));
    assert_eq!(line(&seen, "host"), [crm.address.to_string()]);
    assert_eq!(gateway.get("http://crm.example/api/y", &[&key.header()]).status, 200);
    assert!(crm.seen.last().starts_with("GET /api/y HTTP/1.1\r\n"));
    assert_eq!(gateway.get("http://other.example/api/y", &[&key.header()]).status, 400);
}

#[test]
fn method_overrides_in_the_query_do_not_pass() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    gateway.get("/api/x?a=1&_method=DELETE&b=2", &[&key.header()]);
    assert!(crm.seen.last().starts_with("GET /api/x?a=1&b=2 HTTP/1.1\r\n"));
}
