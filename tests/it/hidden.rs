//! Fields that a pack names are not in what a key sees, on the paths that the pack names, and on no others.

use std::io::Write;
use std::net::TcpStream;

use crate::support::client::Connection;
use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan, TestKey};

const PACK: &str = r#"
name = "own"
version = "1"
[scopes.all]
allow = ["ANY /api/**"]
[[blank]]
replies_to = ["GET,POST,DELETE /api/me/**"]
fields = ["access_token", "/data/*/pin"]
"#;

/// Behind a gateway that hides fields of `/api/me/**`.
fn behind(crm: &Crm, sections: &str) -> (Gateway, TestKey) {
    let key = TestKey::new(&["all"], "");
    let mut plan = Plan::before(crm).file("own.toml", PACK).key(&key).with(sections);
    plan.upstream.push_str("\ncrm_file = \"own.toml\"");
    (plan.start(), key)
}

/// A CRM that answers with what stands behind `?` in the path of its own table.
fn crm<const N: usize>(replies: [(&'static str, String); N]) -> Crm {
    Crm::with(move |mut stream: TcpStream, seen| {
        while let Some(request) = seen.read(&mut stream) {
            let path = request.split([' ', '?']).nth(1).unwrap_or_default();
            let Some((_, reply)) = replies.iter().find(|(known, _)| path.ends_with(known)) else { return };
            if stream.write_all(reply.as_bytes()).is_err() || reply.ends_with("cut") {
                return;
            }
        }
    })
}

/// A 200 with JSON.
fn json(body: &str) -> String {
    whole("200 OK", "Content-Type: application/json\r\nETag: \"1\"\r\n", body)
}

fn whole(status: &str, lines: &str, body: &str) -> String {
    reply(status, &format!("{lines}Content-Length: {}\r\n", body.len()), body)
}

fn reply(status: &str, lines: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{lines}\r\n{body}")
}

#[test]
fn what_is_hidden_is_not_shown_and_the_rest_is() {
    const CHUNKS: &str = "10\r\n[{\"access_token\"\r\n9\r\n:{\"x\":\"SE\r\n9\r\nCRET\"}},1\r\n1\r\n]\r\n0\r\nDigest: x\r\n\r\n";
    let problem = "{\"access_token\":\"SECRET\",\"title\":\"x\"}";
    let chunked =
        "Content-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\nTrailer: Digest\r\n";
    let crm = crm([
        ("/plain", json("{ \"a\" : 1.0, \"access\\u005ftoken\":\"SECRET\",\"data\":[{\"pin\":7}] }")),
        ("/chunked", reply("200 OK", chunked, CHUNKS)),
        ("/clean", json("{\"token\":\"other\"}")),
        ("/error", whole("422 Unprocessable", "Content-Type: application/problem+json\r\n", problem)),
    ]);
    let (gateway, key) = behind(&crm, "");
    let get = |path: &str| gateway.get(path, &[&key.header()]);
    let plain = get("/api/me/plain");
    let shown = "{ \"a\" : 1.0, \"access\\u005ftoken\":\"\",\"data\":[{\"pin\":null}] }";
    assert_eq!((plain.status, &*plain.text()), (200, shown));
    assert_eq!(plain.header("content-length"), Some(&*shown.len().to_string()));
    assert!(plain.header("etag").is_none() && plain.keeps_connection());
    assert_eq!(get("/api/me/chunked").text(), "[{\"access_token\":null},1]");
    assert_eq!(get("/API/ME/plain").status, 403, "no scope covers that spelling");
    assert_eq!(get("/api/me/clean").text(), "{\"token\":\"other\"}");
    let error = get("/api/me/error");
    assert_eq!((error.status, &*error.text()), (422, "{\"access_token\":\"\",\"title\":\"x\"}"));
    assert!(crm.seen.connections() <= 2, "connections are used again");
    // On another path nothing is held and nothing changes.
    let other = get("/api/other/plain");
    assert!(other.text().contains("SECRET") && other.header("etag").is_some());
}

/// Replies that cannot be read, and what the log says of each when at most `limit` is held.
fn refused(limit: &str, expected: &[(&str, &str)]) {
    const JSON: &str = "Content-Type: application/json\r\n";
    let with = |more: &str| format!("{JSON}{more}\r\n");
    let crm = crm([
        ("/twice", json("{\"access_token\":1,\"access\\u005ftoken\":\"SECRET\"}")),
        ("/broken", json("{\"access_token\":\"SECRET\"]]")),
        ("/after", json("{} {\"access_token\":\"SECRET\"")),
        ("/gzip", whole("200 OK", &with("Content-Encoding: gzip"), "SECRET")),
        ("/page", whole("200 OK", "Content-Type: text/html\r\n", "SECRET")),
        ("/events", reply("200 OK", "Content-Type: text/event-stream\r\n", "data: SECRET\n\ncut")),
        ("/part", whole("206 Partial", &with("Content-Range: bytes 0-7/9"), "\"SECRET\"")),
        ("/short", reply("200 OK", &with("Content-Length: 99"), "[\"SECRET\"] cut")),
        ("/chunks", reply("200 OK", &with("Transfer-Encoding: chunked"), "f\r\n[\"SECRET\",\"1234\r\n")),
        ("/no-kind", whole("200 OK", "", "\"SECRET\"")),
    ]);
    let (gateway, key) = behind(&crm, &format!("[limits]\nheld_reply = \"{limit}\"\n"));
    for (path, _) in expected {
        let answer = gateway.get(&format!("/api/me/{path}"), &[&key.header()]);
        assert_eq!(answer.status, 502, "{path}");
        assert!(answer.text().contains("reply-unreadable"), "{path}: {}", answer.text());
        assert!(!(answer.head + &String::from_utf8_lossy(&answer.body)).contains("SECRET"), "{path}");
    }
    let logged = gateway.log(expected.len());
    let logged: Vec<_> = logged.iter().map(|line| line["detail"].as_str().unwrap()).collect();
    assert_eq!(logged, expected.iter().map(|(_, detail)| *detail).collect::<Vec<_>>());
    let denied = format!("sidelock_denied_total{{key=\"{}\",reason=\"reply_unreadable\"}}", key.id);
    assert_eq!(gateway.metric(&denied) as usize, expected.len());
}

#[test]
fn what_cannot_be_read_is_not_shown() {
    refused(
        "1KiB",
        &[
            ("gzip", "content_encoding"),
            ("page", "content_type"),
            ("events", "content_type"),
            ("part", "partial"),
            ("no-kind", "content_type"),
            ("twice", "repeated_name"),
            ("broken", "not_json"),
            ("after", "not_json"),
            ("short", "broken"),
        ],
    );
}

#[test]
fn what_is_too_large_is_not_shown() {
    refused("9", &[("twice", "too_large"), ("chunks", "too_large"), ("short", "too_large")]);
}

#[test]
fn a_refusal_by_the_crm_keeps_its_status_and_not_its_page() {
    let crm = crm([("/gone", whole("404 Not Found", "Content-Type: text/html\r\n", "SECRET"))]);
    let (gateway, key) = behind(&crm, "");
    let gone = gateway.get("/api/me/gone", &[&key.header()]);
    assert_eq!((gone.status, gone.body.len(), gone.header("content-type")), (404, 0, None));
}

#[test]
fn the_crm_is_asked_for_what_can_be_read() {
    let crm = Crm::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: \"7\"\r\nContent-Length: 2\r\n\r\n{}",
    );
    let (gateway, key) = behind(&crm, "");
    let own = key.header();
    let headers = [
        &*own,
        "Accept-Encoding: gzip, br",
        "Range: bytes=0-7",
        "If-Range: \"7\"",
        "If-None-Match: \"7\"",
        "If-Match: \"7\"",
        "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
    ];
    assert_eq!(gateway.get("/api/me", &headers).status, 200);
    let seen = crm.seen.last().to_ascii_lowercase();
    assert!(seen.contains("accept-encoding: identity\r\n"), "{seen}");
    for gone in ["gzip", "range", "if-"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    gateway.get("/api/other", &headers);
    assert!(crm.seen.last().contains("gzip, br") && crm.seen.last().contains("\"7\""));
    // A change that is guarded stays guarded.
    gateway.post("/api/me", &headers, "");
    let seen = crm.seen.last().to_ascii_lowercase();
    assert!(seen.contains("if-match: \"7\"") && !seen.contains("range"), "{seen}");
}

#[test]
fn nothing_to_show_is_shown() {
    let kind = "Content-Type: application/json\r\nETag: \"1\"\r\n";
    let crm = crm([
        ("/empty", reply("204 No Content", "ETag: \"1\"\r\n", "")),
        ("/chunk", reply("200 OK", &format!("{kind}Transfer-Encoding: chunked\r\n"), "0\r\n\r\n")),
        ("/zero", whole("200 OK", "Content-Type: text/plain\r\n", "")),
        ("/head", reply("200 OK", &format!("{kind}Content-Length: 99\r\n"), "")),
    ]);
    let (gateway, key) = behind(&crm, "");
    assert_eq!(gateway.get("/api/me/empty", &[&key.header()]).status, 204);
    for path in ["/api/me/zero", "/api/me/chunk"] {
        let nothing = gateway.get(path, &[&key.header()]);
        assert_eq!((nothing.status, nothing.body.len()), (200, 0), "{path}");
    }
    let mut client = Connection::open(gateway.address);
    client.send(format!("HEAD /api/me/head HTTP/1.1\r\nHost: crm.example\r\n{}\r\n\r\n", key.header()));
    let head = client.answer_to("HEAD").unwrap();
    // The length and the validator are those of what is not shown.
    assert_eq!((head.status, head.header("etag"), head.header("content-length")), (200, None, None));
}

#[test]
fn a_request_may_not_name_what_is_hidden() {
    let crm = Crm::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"access_token\": \"x\"",
    );
    let (gateway, key) = behind(&crm, "");
    let own = key.header();
    let json = [&*own, "Content-Type: application/json"];
    for (path, body, slug) in [
        ("/api/me", r#"{"query":"{ me { x: access_token } }"}"#, "never-allowed"),
        ("/api/me", r#"{"query":"{ me { x: \u0061ccess_token } }"}"#, "never-allowed"),
        ("/api/me?order=Access_Token%20asc", "{}", "never-allowed"),
        ("/api/me", r#"{"variables":"{\"by\":\"access_\\u0074oken\"}"}"#, "never-allowed"),
        ("/api/me?q%5Baccess_token_start%5D=a", "{}", "never-allowed"),
        ("/api/me?where=%7B%22by%22:%22%5Cu0061ccess_token%22%7D", "{}", "never-allowed"),
        ("/api/me", "access_token", "body-unread"),
    ] {
        let refused = gateway.post(path, &json, body);
        assert_eq!(refused.status, 403, "{body}");
        assert!(refused.text().contains(slug), "{body} {}", refused.text());
    }
    assert_eq!(gateway.get("/api/me?where%5Bpin%5D=7", &[&own]).status, 403);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
    let mut client = Connection::open(gateway.address);
    client.send(format!("GET /api/me HTTP/1.1\r\nHost: crm.example\r\n{own}\r\n{upgrade}\r\n\r\n"));
    assert_eq!(client.answer().unwrap().status, 403);
    assert_eq!(crm.seen.count(), 0);
    // Elsewhere the same words mean nothing.
    assert_eq!(gateway.post("/api/other?order=access_token", &json, "access_token").status, 200);
    let body = r#"{"query":"{ me { id } }"}"#;
    assert_eq!(gateway.post("/api/me", &json, body).status, 502, "its reply is broken JSON");
    assert!(crm.seen.last().ends_with(body), "the same bytes");
}

#[test]
fn people_see_what_their_login_shows_them() {
    let crm = Crm::answering("HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n{\"access_token\":\"SECRET\"");
    let (gateway, _) = behind(&crm, "[[route]]\npath = \"/api/me/page\"\naccess = \"public\"\n");
    assert!(gateway.get("/api/me/page?access_token", &[]).text().contains("SECRET"));
}
