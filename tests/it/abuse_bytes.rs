//! Clients that drip, and clients that do not read: in time, memory and number they meet a bound, and nobody else waits for them.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::abuse::resident;
use crate::support::client::{Connection, get, request};
use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan, TestKey};
use crate::support::h2::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, SETTINGS};
use crate::support::tls::{self, CRM};
use crate::support::{PATIENCE, eventually};
use crate::upgrade::{ACCEPT, ASK};
use crate::wire_h2;

/// Answers each request with `head` and then bytes without end; one for `/api/small` with two.
fn endless(head: &'static str) -> Crm {
    Crm::with(move |mut stream, seen| {
        let Some(asked) = seen.read(&mut stream) else { return };
        if asked.starts_with("GET /api/small ") {
            let small = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            return drop(stream.write_all(small));
        }
        drop(stream.write_all(head.as_bytes()));
        let line = format!("{:x}\r\ndata: {}\r\n\r\n", 4104, "x".repeat(4096));
        while stream.write_all(line.as_bytes()).is_ok() {}
    })
}

const PLAIN: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn answers_event_streams_and_tunnels_that_nobody_reads_end() {
    const MANY: usize = 60;
    for (head, asking) in [(PLAIN, &[][..]), (EVENTS, &[][..]), (ACCEPT, &ASK[..])] {
        let (crm, key) = (endless(head), TestKey::new(&["read"], "rate = \"1000/s\""));
        let times = "[timeouts]\nclient_write_idle = \"2s\"\ndrain_accept = \"0s\"\n";
        let gateway = Plan::before(&crm).key(&key).with(times).start();
        assert_eq!(gateway.get("/api/small", &[&key.header()]).status, 200);
        let before = resident(&gateway);
        let held: Vec<_> = (0..MANY)
            .map(|_| {
                let mut connection = Connection::open(gateway.address);
                let header = key.header();
                connection.send(request("GET", "/api/x", &[asking, &[&header]].concat(), ""));
                connection
            })
            .collect();
        eventually("all are under way", || (crm.seen.count() == MANY + 1).then_some(()));
        let mut most = 0.0_f64;
        eventually("all are cut", || {
            most = most.max(resident(&gateway) - before);
            assert_eq!(gateway.get("/api/small", &[&key.header()]).status, 200, "others are served");
            (gateway.metric("sidelock_in_flight") == 0.0).then_some(())
        });
        // Measured: 0.15 MiB each.
        assert!(most < 25.0, "{most} MiB for {MANY}");
        eventually("their places are free", || (gateway.metric("sidelock_connections") == 0.0).then_some(()));
        drop(held);
    }
}

#[test]
fn uploads_that_the_crm_does_not_read_end() {
    const MANY: usize = 40;
    let crm = Crm::with(|mut stream, seen| {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_exact(&mut byte).is_err() {
                return;
            }
            head.push(byte[0]);
        }
        seen.note("");
        std::thread::park_timeout(PATIENCE);
    });
    let key = TestKey::new(&["write"], "");
    let times = "[timeouts]\nupstream_response = \"2s\"\ndrain_accept = \"0s\"\n";
    let gateway = Plan::before(&crm).key(&key).with(times).start();
    let before = resident(&gateway);
    let head =
        format!("POST /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 90000000\r\n{}\r\n\r\n", key.header());
    let uploads: Vec<_> = (0..MANY)
        .map(|_| {
            let mut connection = Connection::open(gateway.address);
            connection.send(&head);
            let mut writer = connection.stream.try_clone().unwrap();
            let writing = std::thread::spawn(move || while writer.write_all(&[b'x'; 4096]).is_ok() {});
            (connection, writing)
        })
        .collect();
    eventually("all are under way", || (crm.seen.count() == MANY).then_some(()));
    let mut most = 0.0_f64;
    eventually("all are cut", || {
        most = most.max(resident(&gateway) - before);
        assert_eq!(get(gateway.admin, "/readyz", &[]).status, 200);
        (gateway.metric("sidelock_in_flight") == 0.0).then_some(())
    });
    // Measured: 0.3 MiB each.
    assert!(most < 22.0, "{most} MiB for {MANY}");
    for (connection, writing) in uploads {
        drop(connection);
        writing.join().unwrap();
    }
}

#[test]
fn a_tunnel_within_tls_that_nobody_reads_ends() {
    let (crm, key) = (endless(ACCEPT), TestKey::new(&["read"], ""));
    let config = "[[listener]]\naddress = \"127.0.0.1:0\"\ncertificate = { file = \"crm.pem\", key = \"crm.key\" }\n[timeouts]\nclient_write_idle = \"1s\"\ndrain_accept = \"0s\"\n";
    let plan = Plan::before(&crm).key(&key).with(config);
    let gateway = plan.file("crm.pem", CRM.0).file("crm.key", CRM.1).start();
    let mut connection = tls::connect(gateway.second(), "crm.example", &tls::client(None, &[])).unwrap();
    let header = key.header();
    connection.send(request("GET", "/api/x", &[&ASK[..], &[&header]].concat(), ""));
    eventually("it is open", || (crm.seen.count() == 1).then_some(()));
    eventually("it is cut", || (gateway.metric("sidelock_connections") == 0.0).then_some(()));
    assert_eq!(gateway.metric("sidelock_in_flight"), 0.0);
    assert_eq!(gateway.log(1)[0]["status"], 101);
}

/// The client makes room for a byte now and then, which is progress, and none.
#[test]
fn a_byte_now_and_then_is_no_reading() {
    let crm = Crm::with(|mut stream, seen| {
        if seen.read(&mut stream).is_some() {
            drop(stream.write_all(PLAIN.as_bytes()));
            while stream.write_all(b"4\r\nword\r\n").is_ok() {}
        }
    });
    let key = TestKey::new(&["read"], "");
    let times = "[timeouts]\nclient_write_idle = \"1s\"\ndrain_accept = \"0s\"\n";
    let gateway = wire_h2::start(&crm, &key, times);
    let mut frames = Frames::open(gateway.second());
    frames.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]);
    frames.send(HEADERS, END_STREAM | END_HEADERS, 1, &wire_h2::asking(&key));
    let mut writer = frames.0.try_clone().unwrap();
    let started = Instant::now();
    let dripping = std::thread::spawn(move || {
        const WINDOW_UPDATE: [u8; 13] = [0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, 1];
        let until = Instant::now() + Duration::from_secs(8);
        while Instant::now() < until && writer.write_all(&WINDOW_UPDATE).is_ok() {
            std::thread::park_timeout(Duration::from_millis(50));
        }
    });
    let read: usize =
        std::iter::from_fn(|| frames.next()).filter(|it| it.kind == DATA).map(|it| it.payload.len()).sum();
    let lasted = started.elapsed();
    dripping.join().unwrap();
    assert!(read > 4, "{read} bytes: it did read");
    assert!((900..6_000).contains(&lasted.as_millis()), "{lasted:?}");
}

fn chunked(key: &TestKey) -> String {
    format!("POST /api/x HTTP/1.1\r\nHost: a\r\n{}\r\nTransfer-Encoding: chunked\r\n\r\n", key.header())
}

/// What a client gets that sends `head` and then `piece` again and again, and how many bytes of these it could send.
fn flood(gateway: &Gateway, head: &str, piece: &str, most: usize) -> (Option<u16>, usize) {
    let mut connection = Connection::open(gateway.address);
    connection.send(head);
    let block = piece.repeat(16_384 / piece.len());
    let mut writer = connection.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        let times = most.div_ceil(block.len());
        (0..times).take_while(|_| writer.write_all(block.as_bytes()).is_ok()).count() * block.len()
    });
    let answer = connection.answer().map(|answer| answer.status);
    drop(connection);
    (answer, writing.join().unwrap())
}

#[test]
fn endless_chunks_extensions_trailers_and_heads_are_cut() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read", "write"], "");
    let config = "[limits]\nbody = \"20KiB\"\n";
    let gateway = Plan::before(&crm).key(&key).with(config).start();
    let before = resident(&gateway);
    let (chunk, extension) = (chunked(&key), chunked(&key) + "1;");
    let trailers = chunked(&key) + "1\r\nx\r\n0\r\n";
    // The kernel alone may take some ten MB that nobody reads.
    const MOST: usize = 64 << 20;
    for (what, head, piece, status) in [
        ("tiny chunks", &*chunk, "1\r\nx\r\n", Some(413)),
        ("an extension", &extension, "x", Some(400)),
        ("extensions", &chunk, "1;a=b\r\nx\r\n", Some(400)),
        ("trailers", &trailers, "X-T: 1\r\n", Some(400)),
        ("a trailer", &trailers, "x", Some(400)),
        ("a size", &chunk, "f", Some(400)),
        ("fields", "GET /api/x HTTP/1.1\r\nHost: a\r\n", "X-T: 1\r\n", Some(431)),
        ("a field", "GET /api/x HTTP/1.1\r\nHost: a\r\nX-T: ", "x", Some(431)),
        ("a target", "GET /", "x", Some(431)),
    ] {
        let (answer, sent) = flood(&gateway, head, piece, MOST);
        assert!(answer.is_none() || answer == status, "{what}: {answer:?}");
        assert!(sent < MOST, "{what}: all of it was taken");
    }
    eventually("nothing is left", || (gateway.metric("sidelock_connections") == 0.0).then_some(()));
    let forwarded = crm.seen.requests().iter().map(String::len).max().unwrap_or(0);
    assert!(forwarded < 200_000, "{forwarded} bytes of one request went on");
    let grown = resident(&gateway) - before;
    assert!(grown < 20.0, "{grown} MiB");
    assert_eq!(gateway.status_of(&key), Some(200));
}

/// What is not body does not count as progress of one, and a byte now and then hardly does.
#[test]
fn bodies_and_extensions_that_drip_end_in_time() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read", "write"], "");
    let times = "[timeouts]\nrequest_body_idle = \"500ms\"\ndrain_accept = \"0s\"\n";
    let gateway = Plan::before(&crm).key(&key).with(times).start();
    let mut held = Vec::new();
    for start in ["", "1\r\nx\r\n", "1\r\nx\r\n0\r\nX-T: "] {
        let mut connection = Connection::open(gateway.address);
        connection.send(chunked(&key) + start);
        held.push((start, connection, Instant::now()));
    }
    let mut dripping = Vec::new();
    // An extension; a size, which may begin with as many zeros as it likes; a body, by the byte.
    for (start, piece) in [("1;", "x"), ("0", "00"), ("1\r\nx\r\n", "1\r\nx\r\n")] {
        let mut connection = Connection::open(gateway.address);
        connection.send(chunked(&key) + start);
        let mut writer = connection.stream.try_clone().unwrap();
        held.push((start, connection, Instant::now()));
        dripping.push(std::thread::spawn(move || {
            let until = Instant::now() + Duration::from_secs(5);
            while Instant::now() < until && writer.write_all(piece.as_bytes()).is_ok() {
                std::thread::park_timeout(Duration::from_millis(50));
            }
        }));
    }
    assert_eq!(gateway.status_of(&key), Some(200), "others are served");
    assert_eq!(get(gateway.admin, "/readyz", &[]).status, 200);
    for (start, connection, since) in &mut held {
        let answer = connection.answer();
        assert!(answer.is_none_or(|answer| answer.status == 408), "{start:?}");
        let lasted = since.elapsed();
        assert!((400..4_000).contains(&lasted.as_millis()), "{start:?}: {lasted:?}");
    }
    drop(held);
    dripping.into_iter().for_each(|thread| thread.join().unwrap());
}
