//! Connections end when the key that they carry does, in both directions, within a second of the edit.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::client::{Connection, request};
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};

const SOCKET: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const ASK: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
const PART: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello";

/// A CRM that answers by path, says something, and then tells when its side is closed.
fn crm() -> (Crm, std::sync::mpsc::Receiver<String>) {
    let (closed, ends) = std::sync::mpsc::channel();
    let crm = Crm::with(move |mut stream, seen| {
        let Some(head) = seen_head(&mut stream) else { return };
        seen.note(&head);
        let answer = match () {
            () if head.contains("/socket") => SOCKET,
            () if head.contains("/events") => EVENTS,
            () if head.contains("/download") => PART,
            () => "",
        };
        drop(stream.write_all(answer.as_bytes()));
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
        let line = head.lines().next().unwrap_or_default().to_owned();
        drop(closed.send(format!("{line} {}", rest.len())));
    });
    (crm, ends)
}

fn seen_head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).ok()
}

fn open(gateway: &Gateway, key: &TestKey, method: &str, path: &str, more: &str) -> Connection {
    let mut connection = Connection::open(gateway.address);
    let header = key.header();
    let mut headers = vec![header.as_str()];
    headers.extend(more.split("\r\n").filter(|line| !line.is_empty()));
    connection.send(request(method, path, &headers, ""));
    connection
}

#[test]
fn everything_open_ends_on_both_sides() {
    let (crm, ends) = crm();
    let (stolen, other) = (TestKey::new(&["read", "write"], ""), TestKey::new(&["read"], ""));
    let gateway = Plan::before(&crm).key(&stolen).key(&other).start();
    let mut socket = open(&gateway, &stolen, "GET", "/api/socket", ASK);
    let mut events = open(&gateway, &stolen, "GET", "/api/events", "");
    let mut download = open(&gateway, &stolen, "GET", "/api/download", "");
    let mut upload = Connection::open(gateway.address);
    let head = format!(
        "POST /api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n{}\r\n\r\nhello",
        stolen.header()
    );
    upload.send(head);
    let mut neighbour = open(&gateway, &other, "GET", "/api/events?neighbour", "");
    assert_eq!(socket.answer().unwrap().status, 101);
    for stream in [&mut events, &mut download, &mut neighbour] {
        stream.until("hello");
    }
    eventually("the upload is at the CRM", || (crm.seen.count() == 5).then_some(()));

    let text = std::fs::read_to_string(gateway.keys_file()).unwrap();
    let id = format!("id = \"{}\"", stolen.id);
    let edited = Instant::now();
    std::fs::write(gateway.keys_file(), text.replace(&id, &format!("{id}\nrevoked = true"))).unwrap();
    let mut closed: Vec<String> =
        (0..4).map(|_| ends.recv_timeout(Duration::from_secs(20)).unwrap()).collect();
    for stream in [&mut socket, &mut events, &mut download, &mut upload] {
        assert!(stream.some().is_empty(), "the client's side is closed");
    }
    let took = edited.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    closed.sort_unstable();
    assert_eq!(
        closed,
        [
            "GET /api/download HTTP/1.1 0",
            "GET /api/events HTTP/1.1 0",
            "GET /api/socket HTTP/1.1 0",
            "POST /api/upload HTTP/1.1 5"
        ]
    );
    assert!(ends.try_recv().is_err(), "the neighbour's stream goes on");
    eventually("all four are recorded", || {
        (gateway.metric("sidelock_revocation_seconds_count") == 4.0).then_some(())
    });
    let ended: Vec<String> = gateway.log(4).iter().map(|line| line["end"].to_string()).collect();
    assert_eq!(ended, vec!["\"key_over\""; 4]);
    assert_eq!(gateway.metric("sidelock_in_flight"), 1.0);
}
