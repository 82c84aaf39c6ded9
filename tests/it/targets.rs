//! Ambiguous targets, hosts and framing: refused, and nothing reaches the CRM.

use crate::support::client::{Connection, ask};
use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan, TestKey};
use crate::support::h2::{END_HEADERS, END_STREAM, Frames, HEADERS, block};

#[test]
fn paths_with_two_readings() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    for path in [
        "/api/../admin",
        "/api/./x",
        "/api/..",
        "/api/%2e%2e/admin",
        "/api/%2E%2e%2fadmin",
        "/api/..;/admin",
        "/api/%252e%252e/x",
        "/api//x",
        "//api/x",
        "/api\\x",
        "/api/%5cx",
        "/api/x%2Fy",
        "/api/x%3Fy",
        "/api/x%23y",
        "/api/x%00",
        "/api/x%0d%0ay",
        "/api/%61",
        "/api/x%2",
        "/api/x%zz",
        "/api/%u002e",
        "/api/%c0%ae",
        "/api/%ef%bc%8e%ef%bc%8e/x",
        "/api/x;y",
        "/api/x%3by",
        "/api/x?%00",
        "/api/x?a=%",
        "api/x",
    ] {
        let answer = gateway.get(path, &[&key.header()]);
        assert_eq!(answer.status, 400, "{path}");
    }
    assert_eq!(crm.seen.count(), 0);
    for path in
        ["/api/a.b/...", "/api/%20x", "/api/caf%C3%A9", "/api/x?a=b;c&d=%2e%2e/", "/api/a:b@c!$&'()*+,="]
    {
        assert_eq!(gateway.get(path, &[&key.header()]).status, 200, "{path}");
        assert!(
            crm.seen.last().starts_with(&format!("GET {path} HTTP/1.1\r\n")),
            "what is judged is what goes on"
        );
    }
}

#[test]
fn heads_with_two_readings() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let key = key.header();
    let with = |rest: &str| format!("POST /api/x HTTP/1.1\r\nHost: crm.example\r\n{key}\r\n{rest}");
    for (what, bytes) in [
        ("no Host", format!("GET /api/x HTTP/1.1\r\n{key}\r\n\r\n")),
        ("two Hosts", format!("GET /api/x HTTP/1.1\r\nHost: a\r\nHost: a\r\n{key}\r\n\r\n")),
        ("userinfo", format!("GET /api/x HTTP/1.1\r\nHost: u@crm.example\r\n{key}\r\n\r\n")),
        ("Host with a path", format!("GET /api/x HTTP/1.1\r\nHost: crm.example/x\r\n{key}\r\n\r\n")),
        ("CL list", with("Content-Length: 5, 5\r\n\r\nhello")),
        ("CL plus", with("Content-Length: +5\r\n\r\nhello")),
        ("CL padded", with("Content-Length: 005\r\n\r\nhello")),
        ("TE identity", with("Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n")),
        ("TE twice", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        ("TE odd", with("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n")),
        ("TE vt", with("Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n")),
        (
            "TE in 1.0",
            format!(
                "POST /api/x HTTP/1.0\r\nHost: a\r\n{key}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
        ),
        ("space before colon", with("Content-Length : 5\r\n\r\nhello")),
        ("obs-fold", with("X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n")),
        ("NUL", with("X-A: b\0c\r\nContent-Length: 0\r\n\r\n")),
        ("bare CR", with("X-A: b\rc\r\nContent-Length: 0\r\n\r\n")),
        (
            "GET with a body",
            format!("GET /api/x HTTP/1.1\r\nHost: a\r\n{key}\r\nContent-Length: 5\r\n\r\nhello"),
        ),
    ] {
        let mut connection = Connection::open(gateway.address);
        connection.send(&bytes);
        let answer = connection.answer();
        assert!(
            answer.as_ref().is_none_or(|it| (400..=501).contains(&it.status) && it.status != 403),
            "{what}: {answer:?}"
        );
        assert!(connection.is_closed(), "{what}");
    }
    assert_eq!(crm.seen.count(), 0, "{:?}", crm.seen.requests());
}

#[test]
fn methods_and_expectations() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let ask = |line: &str, more: &str| {
        ask(gateway.address, format!("{line} HTTP/1.1\r\nHost: a\r\n{}\r\n{more}\r\n", key.header()))
    };
    assert_eq!(ask("TRACE /api/x", "").status, 405);
    assert_eq!(ask("CONNECT a:1", "").status, 405);
    assert_eq!(ask("BREW /api/x", "").status, 403);
    assert_eq!(ask("GET *", "").status, 400);
    assert_eq!(ask("GET /api/x", "Expect: 200-maybe\r\n").status, 417);
    let long = ask(&format!("GET /api/{}", "a".repeat(8200)), "");
    assert_eq!(long.status, 414);
    assert_eq!(crm.seen.count(), 0);
}

/// hyper reads such a message as RFC 9112 section 6.3 says, chunked, before anything here sees it, and closes after it:
/// one canonical message may go on, never two readings.
#[test]
fn both_framings_become_one_or_none() {
    let crm = Crm::usual();
    let key = TestKey::new(&["write"], "");
    let gateway = Plan::before(&crm).key(&key).start();
    let mut connection = Connection::open(gateway.address);
    let smuggled = "0\r\n\r\nGET /api/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    connection.send(format!(
        "POST /api/x HTTP/1.1\r\nHost: a\r\n{}\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n{smuggled}",
        key.header()
    ));
    while connection.answer().is_some() {}
    for seen in crm.seen.requests() {
        assert!(!seen.contains("smuggled") && !seen.to_lowercase().contains("content-length"), "{seen}");
    }
}

#[test]
fn equal_lengths_become_one() {
    let crm = Crm::usual();
    let key = TestKey::new(&["write"], "");
    let gateway = Plan::before(&crm).key(&key).start();
    let head =
        |lengths: &str| format!("POST /api/x HTTP/1.1\r\nHost: a\r\n{}\r\n{lengths}\r\nhello", key.header());
    ask(gateway.address, head("Content-Length: 5\r\nContent-Length: 5\r\n"));
    assert!(
        crm.seen.requests().iter().all(|seen| seen.to_lowercase().matches("content-length").count() == 1)
    );
    let count = crm.seen.count();
    assert_eq!(ask(gateway.address, head("Content-Length: 5\r\nContent-Length: 6\r\n")).status, 400);
    assert_eq!(crm.seen.count(), count);
}

/// The HTTP library drops a fragment before anything here sees the target. What stands before it is what is judged, what goes on,
/// and what is logged, in both versions.
#[test]
fn what_stands_before_a_number_sign_is_all_there_is() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nh2c = true\n";
    let gateway = Plan::before(&crm).key(&key).with(listener).start();
    let cases = [
        ("/api/x#y", "/api/x", 200),
        ("/api/x#/../../admin", "/api/x", 200),
        ("/api/x?a#b?c", "/api/x?a", 200),
        ("/api/x?#/admin", "/api/x?", 200),
        ("/api/#x#y", "/api/", 200),
        ("/admin#/api/x", "", 403),
        ("/#/api/x", "", 403),
        ("/api/../x#", "", 400),
    ];
    let mut seen = Vec::new();
    for (target, before, status) in cases {
        let mut plain = Connection::open(gateway.address);
        plain.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", key.header()));
        assert_eq!(plain.answer().unwrap().status, status, "{target}");
        let head = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", target)];
        let mut frames = Frames::open(gateway.second());
        frames.send(
            HEADERS,
            END_STREAM | END_HEADERS,
            1,
            &block(&[&head[..], &[("x-api-key", &key.text)]].concat()),
        );
        let answer = frames.until(|frame| frame.kind == HEADERS).unwrap();
        assert_eq!(answer.payload[0] == 0x88, status == 200, "{target}");
        if status == 200 {
            seen.extend([format!("GET {before} HTTP/1.1"), format!("GET {before} HTTP/1.1")]);
        }
    }
    let lines: Vec<String> =
        crm.seen.requests().iter().map(|it| it.lines().next().unwrap().to_owned()).collect();
    assert_eq!(lines, seen);
    let log = gateway.log(2 * cases.len());
    let logged = log.iter().filter(|line| line["status"] == 200).map(|line| line["path"].as_str().unwrap());
    assert!(logged.zip(&seen).all(|(path, line)| line.split(['?', ' ']).nth(1) == Some(path)), "{log:?}");
}
