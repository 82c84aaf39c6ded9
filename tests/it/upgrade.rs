//! `WebSocket`s: only a well-formed handshake, only with a key, only with the CRM's right answer.

use std::io::{Read, Write};

use crate::support::client::{Connection, request};
use crate::support::crm::Crm;
use crate::support::gateway::Gateway;

pub const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
pub const ASK: [&str; 4] = [
    "Connection: keep-alive, Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/// Answers the handshake with `answer`, then says back what it hears.
pub fn echoing(answer: &'static str) -> Crm {
    Crm::with(move |mut stream, seen| {
        if seen.read(&mut stream).is_none() {
            return;
        }
        stream.write_all(answer.as_bytes()).unwrap();
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            stream.write_all(&bytes[..read]).unwrap();
        }
    })
}

#[test]
fn a_tunnel_opens_passes_bytes_and_is_recorded() {
    let crm = echoing(ACCEPT);
    let (mut gateway, key) = Gateway::reading(&crm);
    let header = key.header();
    let mut connection = Connection::open(gateway.address);
    connection.send(request("GET", "/api/socket", &[&ASK[..], &[&header]].concat(), ""));
    let answer = connection.answer().unwrap();
    assert_eq!(answer.status, 101, "{}", answer.head);
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let seen = crm.seen.last().to_lowercase();
    assert!(seen.contains("upgrade: websocket\r\n") && seen.contains("connection: upgrade\r\n"), "{seen}");
    assert!(!seen.contains(&key.text.to_lowercase()) && seen.contains("x-sidelock-key-id"));
    connection.send("ping");
    assert_eq!(connection.some(), b"ping");
    assert_eq!(gateway.metric("sidelock_in_flight"), 1.0);
    gateway.stop();
    let line = &gateway.log(1)[0];
    assert_eq!(
        (&line["status"], &line["bytes_in"], &line["bytes_out"], &line["end"]),
        (&101.into(), &4.into(), &4.into(), &"drained".into())
    );
}

#[test]
fn bad_handshakes_are_refused() {
    let crm = echoing(ACCEPT);
    let (gateway, key) = Gateway::reading(&crm);
    let header = key.header();
    let status = |headers: &[&str]| gateway.get("/api/socket", headers).status;
    assert_eq!(status(&ASK), 401, "no key");
    for (at, worse) in [(2, "Sec-WebSocket-Version: 8"), (3, "Sec-WebSocket-Key: short"), (3, "Accept: */*")]
    {
        let mut headers = ASK;
        headers[at] = worse;
        assert_eq!(status(&[&headers[..], &[&header]].concat()), 400, "{worse}");
    }
    assert_eq!(status(&[&ASK[..], &[&header, "Content-Length: 3"]].concat()), 400);
    assert_eq!(crm.seen.count(), 0);
}

#[test]
fn only_websocket_and_only_when_asked() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let other =
        gateway.get("/api/x", &[&key.header(), "Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AA"]);
    assert_eq!(other.status, 200, "another protocol is passed over");
    assert!(!crm.seen.last().to_lowercase().contains("upgrade"));

    let lying = echoing(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
    );
    let (gateway, key) = Gateway::reading(&lying);
    let header = key.header();
    assert_eq!(
        gateway.get("/api/x", &[&ASK[..], &[&header]].concat()).status,
        502,
        "a wrong accept opens nothing"
    );
}
