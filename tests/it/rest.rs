//! Connections that rest between requests.

use std::io::{Read, Write};

use crate::support::client::{Connection, request};
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};

fn idle(gateway: &Gateway, count: f64) {
    eventually("connections rest", || (gateway.metric("sidelock_idle_connections") == count).then_some(()));
}

#[test]
fn a_connection_that_rests_serves_on() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let mut connection = Connection::open(gateway.address);
    idle(&gateway, 1.0);
    for _ in 0..2 {
        connection.send(request("GET", "/api/x", &[&key.header()], ""));
        assert_eq!(connection.answer().unwrap().status, 200);
        idle(&gateway, 1.0);
    }
    // A head in pieces: each is kept.
    let head = request("GET", "/api/pieces", &[&key.header()], "");
    let (first, rest) = head.split_at(7);
    connection.send(first);
    idle(&gateway, 0.0);
    connection.send(rest);
    assert_eq!(connection.answer().unwrap().status, 200);
    assert!(crm.seen.last().starts_with("GET /api/pieces HTTP/1.1\r\n"));
    idle(&gateway, 1.0);
    drop(connection);
    idle(&gateway, 0.0);
}

#[test]
fn several_requests_at_once_wake_it_too() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let mut connection = Connection::open(gateway.address);
    idle(&gateway, 1.0);
    // More than is read at once by a connection that rests.
    let one = request("GET", "/api/x", &[&key.header(), &format!("X-Long: {}", "l".repeat(1500))], "");
    connection.send(one.repeat(4));
    for _ in 0..4 {
        assert_eq!(connection.answer().unwrap().status, 200);
    }
    assert_eq!(crm.seen.count(), 4);
}

/// Answers as soon as a head is there, whatever its body.
fn hasty() -> Crm {
    Crm::with(|mut stream, seen| {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        let mut answered = false;
        while let Ok(read @ 1..) = stream.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..read]);
            if !answered && bytes.windows(4).any(|window| window == b"\r\n\r\n") {
                answered = true;
                seen.note(&String::from_utf8_lossy(&bytes));
                let end = if bytes.starts_with(b"GET") { "Connection: close\r\n" } else { "" };
                drop(write!(stream, "HTTP/1.1 200 OK\r\n{end}Content-Length: 2\r\n\r\nok"));
            }
        }
    })
}

#[test]
fn a_body_that_is_still_to_come_is_no_rest() {
    let crm = hasty();
    let key = TestKey::new(&["read", "write"], "");
    let gateway = Plan::before(&crm).key(&key).start();
    let hidden = request("GET", "/api/hidden", &[&key.header()], "");
    let mut early = Connection::open(gateway.address);
    let length = 4 + hidden.len();
    let head =
        format!("POST /api/x HTTP/1.1\r\nHost: a\r\n{}\r\nContent-Length: {length}\r\n\r\n", key.header());
    early.send(head + "half");
    assert_eq!(early.answer().unwrap().status, 200);
    // One that came later rests sooner than the first may.
    let mut later = Connection::open(gateway.address);
    later.send(request("GET", "/api/x", &[&key.header()], ""));
    assert_eq!(later.answer().unwrap().status, 200);
    idle(&gateway, 1.0);
    // What comes now is a body, whatever it looks like.
    early.send(&hidden);
    early.send(request("GET", "/api/last", &[&key.header(), "Connection: close"], ""));
    assert!(
        early.answer().is_none_or(|answer| !answer.keeps_connection()),
        "one answer to the last one, or none"
    );
    assert!(crm.seen.requests().iter().all(|seen| !seen.starts_with("GET /api/hidden")));
}

/// What hyper read beyond a message is not forgotten when the connection rests, and nothing turns round and round over it.
#[test]
fn bytes_that_came_too_early_stop_nobody() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read", "write"], "");
    let gateway = Plan::before(&crm).key(&key).start();
    let get = request("GET", "/api/x", &[&key.header()], "");
    let post = request("POST", "/api/x", &[&key.header()], "hi");
    let stranger = "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".to_owned();
    let begun = [
        (stranger + "\r\n", "", 401),
        (post.clone() + "\r\n", "", 200),
        (post + &get[..5], &get[5..], 200),
        (get.clone() + &get[..5], &get[5..], 200),
    ];
    let mut open = Vec::new();
    for (bytes, rest, status) in &begun {
        // Many, so that each thread has some.
        for _ in 0..4 {
            let mut connection = Connection::open(gateway.address);
            connection.send(bytes);
            assert_eq!(connection.answer().unwrap().status, *status);
            open.push((connection, *rest));
        }
    }
    // One that came later rests, so the others would by now.
    let mut later = Connection::open(gateway.address);
    later.send(&get);
    assert_eq!(later.answer().unwrap().status, 200);
    idle(&gateway, 1.0);
    for _ in 0..8 {
        assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 200);
    }
    for (mut connection, rest) in open {
        connection.send(if rest.is_empty() { &get } else { rest });
        assert_eq!(connection.answer().unwrap().status, 200);
    }
}
