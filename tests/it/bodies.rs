//! Bodies: streamed both ways, bounded, never left half-done.

use std::io::{Read, Write};

use crate::support::client::{Connection, request};
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};

fn writing(crm: &Crm, sections: &str) -> (Gateway, TestKey) {
    let key = TestKey::new(&["read", "write"], "");
    (Plan::before(crm).key(&key).with(sections).start(), key)
}

#[test]
fn uploads_keep_their_framing_and_bytes() {
    let crm = Crm::usual();
    let (gateway, key) = writing(&crm, "");
    assert_eq!(gateway.post("/api/x", &[&key.header()], "hello").status, 200);
    let seen = crm.seen.last();
    assert!(
        seen.to_lowercase().contains("content-length: 5\r\n") && seen.ends_with("\r\n\r\nhello"),
        "{seen}"
    );

    let mut connection = Connection::open(gateway.address);
    connection.send(format!(
        "POST /api/x HTTP/1.1\r\nHost: a\r\n{}\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n",
        key.header()
    ));
    assert_eq!(connection.answer().unwrap().status, 200);
    let seen = crm.seen.last().to_lowercase();
    assert!(seen.contains("transfer-encoding: chunked\r\n") && !seen.contains("content-length"), "{seen}");
    assert!(seen.ends_with("\r\n0\r\nx-sum: 1\r\n\r\n"), "{seen}");
    assert!(seen.contains("abc") && seen.contains("de") && !seen.contains("ext"), "{seen}");
    connection.send(request("GET", "/api/again", &[&key.header()], ""));
    assert_eq!(connection.answer().unwrap().status, 200, "the connection is kept");
}

#[test]
fn a_body_reaches_the_crm_while_it_is_still_being_sent() {
    let crm = Crm::with(|mut stream, _| {
        let mut first = [0; 4096];
        loop {
            let read = stream.read(&mut first).unwrap();
            if read == 0 {
                return;
            }
            if String::from_utf8_lossy(&first[..read]).contains("part one") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly").unwrap();
                return;
            }
        }
    });
    let (gateway, key) = writing(&crm, "");
    let mut connection = Connection::open(gateway.address);
    connection.send(format!(
        "POST /api/x HTTP/1.1\r\nHost: a\r\n{}\r\nContent-Length: 1000\r\n\r\npart one",
        key.header()
    ));
    assert_eq!(connection.answer().unwrap().text(), "early");
}

#[test]
fn expect_continue_is_answered_only_to_the_admitted() {
    let crm = Crm::usual();
    let (gateway, key) = writing(&crm, "");
    let head = |key: &str| {
        format!(
            "POST /api/x HTTP/1.1\r\nHost: a\r\n{key}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
    };
    let mut admitted = Connection::open(gateway.address);
    admitted.send(head(&key.header()));
    assert_eq!(admitted.answer().unwrap().status, 100);
    admitted.send("hello");
    assert_eq!(admitted.answer().unwrap().status, 200);
    assert!(!crm.seen.last().to_lowercase().contains("expect"));

    let mut stranger = Connection::open(gateway.address);
    stranger.send(head("Accept: */*"));
    assert_eq!(stranger.answer().unwrap().status, 401, "no 100 first");
}

/// The CRM is not asked for a 100, and may send one all the same; or decide before it has seen the body.
#[test]
fn what_the_crm_says_before_the_body_came() {
    for (early, late, statuses) in [
        ("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", &[100, 200][..]),
        ("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", "", &[100, 413]),
    ] {
        let crm = Crm::with(move |mut stream, seen| {
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap();
            seen.note("asked");
            stream.write_all(early.as_bytes()).unwrap();
            if !late.is_empty() && (head[..read].ends_with(b"hello") || stream.read(&mut head).is_ok()) {
                stream.write_all(late.as_bytes()).unwrap();
            }
            while matches!(stream.read(&mut head), Ok(1..)) {}
        });
        let times = "[timeouts]\ndrain_accept = \"0s\"\nrequest_body_idle = \"300ms\"\n";
        let (gateway, key) = writing(&crm, times);
        let mut connection = Connection::open(gateway.address);
        let lines = format!("{}\r\nExpect: 100-continue\r\nContent-Length: 5", key.header());
        connection.send(format!("POST /api/x HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n"));
        let mut got = vec![connection.answer().unwrap().status];
        if late.is_empty() {
            // It keeps its body to itself, and the connection is not used again.
            got.extend(connection.answer().map(|answer| answer.status));
            got.dedup();
            assert!(connection.is_closed());
        } else {
            connection.send("hello");
            got.push(connection.answer().unwrap().status);
        }
        // Whether it is told to go on before the refusal depends on who is faster.
        assert!(got == statuses || got == statuses[1..], "{got:?}");
        assert_eq!(crm.seen.count(), 1);
    }
}

#[test]
fn sizes_are_bounded_declared_or_not() {
    let crm = Crm::usual();
    let (gateway, key) = writing(&crm, "[limits]\nbody = \"1KiB\"\n");
    let big = "x".repeat(1025);
    assert_eq!(gateway.post("/api/x", &[&key.header()], &big[..1024]).status, 200);
    let count = crm.seen.count();
    assert_eq!(gateway.post("/api/x", &[&key.header()], &big).status, 413);
    assert_eq!(crm.seen.count(), count, "a declared one is refused before the CRM hears of it");
    let mut connection = Connection::open(gateway.address);
    connection.send(format!("POST /api/x HTTP/1.1\r\nHost: a\r\n{}\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n{big}\r\n0\r\n\r\n", key.header()));
    assert_eq!(connection.answer().unwrap().status, 413);
    assert!(connection.is_closed());
}

#[test]
fn broken_chunks_and_bad_trailers_are_the_clients_fault() {
    let crm = Crm::usual();
    let (gateway, key) = writing(&crm, "");
    for body in [
        "3\r\nabc\r\nzz\r\n",
        "3\r\nabcdef\r\n",
        "3\r\nabc\r\n0\r\nAuthorization: Bearer x\r\n\r\n",
        "3\r\nabc\r\n0\r\nX-Sidelock-Key-Id: x\r\n\r\n",
    ] {
        let mut connection = Connection::open(gateway.address);
        connection.send(format!(
            "POST /api/x HTTP/1.1\r\nHost: a\r\n{}\r\nTransfer-Encoding: chunked\r\n\r\n{body}",
            key.header()
        ));
        let answer = connection.answer().unwrap();
        assert_eq!(answer.status, 400, "{body:?}: {}", answer.text());
        assert!(connection.is_closed());
    }
}

#[test]
fn a_client_that_leaves_mid_upload_is_logged_as_gone() {
    let crm = Crm::usual();
    let (gateway, key) = writing(&crm, "");
    let mut connection = Connection::open(gateway.address);
    connection.send(format!(
        "POST /api/x HTTP/1.1\r\nHost: a\r\n{}\r\nContent-Length: 1000\r\n\r\nhalf",
        key.header()
    ));
    eventually("the upload is under way", || (gateway.metric("sidelock_in_flight") == 1.0).then_some(()));
    drop(connection);
    let line = &gateway.log(1)[0];
    assert!(line["end"] == "client_gone" || line["reason"] == "body_broken", "{line}");
    eventually("nothing is in flight", || (gateway.metric("sidelock_in_flight") == 0.0).then_some(()));
}

#[test]
fn large_answers_stream_and_are_counted() {
    const SIZE: usize = 8 * 1024 * 1024;
    let crm = Crm::with(|mut stream, seen| {
        while seen.read(&mut stream).is_some() {
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes())
                .unwrap();
            if stream.write_all(&vec![b'x'; SIZE]).is_err() {
                return;
            }
        }
    });
    let (gateway, key) = writing(&crm, "");
    assert_eq!(gateway.get("/api/x", &[&key.header()]).body.len(), SIZE);
    assert_eq!(gateway.log(1)[0]["bytes_out"], SIZE);
}

/// Neither the upload nor the answer waits for the other, though the CRM answers at once and the client reads at the end.
#[test]
fn an_early_answer_and_a_long_upload_do_not_wait_for_each_other() {
    const LONG: usize = 24 * 1024 * 1024;
    let crm = Crm::with(|mut stream, seen| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_exact(&mut byte).is_err() {
                return;
            }
            head.push(byte[0]);
        }
        seen.note(&String::from_utf8_lossy(&head));
        let mut writer = stream.try_clone().unwrap();
        let writing = std::thread::spawn(move || {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n");
            drop(writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&vec![b'x'; LONG])));
        });
        let mut rest = vec![0; LONG];
        drop(stream.read_exact(&mut rest));
        drop(writing.join());
    });
    let key = TestKey::new(&["write"], "");
    let gateway = Plan::before(&crm).key(&key).start();
    let mut connection = Connection::open(gateway.address);
    connection.stream.set_write_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let head =
        format!("POST /api/x HTTP/1.1\r\nHost: x\r\nContent-Length: {LONG}\r\n{}\r\n\r\n", key.header());
    connection.stream.write_all(head.as_bytes()).unwrap();
    connection.stream.write_all(&vec![b'y'; LONG]).expect("the upload goes on while nobody reads the answer");
    let answer = connection.answer().unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, LONG));
}

#[test]
fn trailers_of_an_answer_go_to_whoever_asks_for_them() {
    let crm = Crm::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, set-cookie\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nSet-Cookie: a=b\r\n\r\n",
    );
    let (gateway, key) = writing(&crm, "");
    for (asks, end) in [("TE: trailers", "\r\n0\r\nx-sum: 7\r\n\r\n"), ("Accept: */*", "\r\n0\r\n\r\n")] {
        let mut connection = Connection::open(gateway.address);
        let lines = format!("{}\r\n{asks}\r\nContent-Length: 1\r\nConnection: close", key.header());
        connection.send(format!("POST /api/x HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\nx"));
        let mut got = Vec::new();
        while let bytes @ [_, ..] = &connection.some()[..] {
            got.extend_from_slice(bytes);
        }
        let got = String::from_utf8_lossy(&got).to_ascii_lowercase();
        assert!(got.ends_with(&format!("\r\n2\r\nok{end}")), "{got}");
    }
}

/// The CRM answers before the body, reads no further and keeps the connection: nobody else would ever end it.
#[test]
fn an_early_answer_and_a_crm_that_reads_no_further() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = parking_lot::Mutex::new(held);
    let crm = Crm::with(move |mut stream, _| {
        let mut head = [0; 1024];
        drop(stream.read(&mut head));
        drop(stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"));
        let _until_the_end = held.lock().recv();
    });
    let (gateway, key) = writing(&crm, "[timeouts]\nupstream_body_idle = \"1s\"\ndrain_accept = \"0s\"\n");
    let mut connection = Connection::open(gateway.address);
    connection.stream.set_write_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
    connection.send(format!(
        "POST /api/x HTTP/1.1\r\nHost: a\r\n{}\r\nContent-Length: 90000000\r\n\r\n",
        key.header()
    ));
    assert_eq!(connection.answer().unwrap().status, 413);
    assert_eq!(gateway.metric("sidelock_upstream_connections{state=\"active\"}"), 1.0, "it is still in use");
    // More than all buffers on the way take.
    while connection.stream.write_all(&[0; 65536]).is_ok() {}
    drop(connection);
    eventually("both sides are let go", || {
        let active = gateway.metric("sidelock_upstream_connections{state=\"active\"}");
        (gateway.metric("sidelock_connections") == 0.0 && active == 0.0).then_some(())
    });
    drop(hold);
}
