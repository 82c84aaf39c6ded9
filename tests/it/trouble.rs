//! A CRM that is down, slow, rude or gone.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::client::{Connection, request};
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};

#[test]
fn a_crm_that_is_down_is_502_and_said_once() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let key = TestKey::new(&["read"], "");
    let mut plan = Plan::before(&Crm::usual()).key(&key);
    plan.upstream = format!("url = \"http://{free}\"");
    let gateway = plan.start();
    for _ in 0..3 {
        let answer = gateway.get("/api/x", &[&key.header()]);
        assert_eq!(answer.status, 502);
        assert!(
            answer.text().contains("upstream-unreachable")
                && !answer.text().contains(&free.port().to_string())
        );
        assert!(answer.header("retry-after").is_some() && answer.keeps_connection());
    }
    let said = || gateway.said.text().matches("cannot be reached").count();
    eventually("it is said", || (said() > 0).then_some(()));
    assert_eq!(said(), 1, "{}", gateway.said.text());
}

#[test]
fn a_silent_crm_is_504() {
    let crm = Crm::with(|mut stream, seen| {
        seen.read(&mut stream);
        // Holds the connection until the gateway lets go.
        seen.read(&mut stream);
    });
    let key = TestKey::new(&["read"], "");
    let gateway = Plan::before(&crm)
        .key(&key)
        .with("[timeouts]\nupstream_response = \"100ms\"\ndrain_accept = \"0s\"\n")
        .start();
    assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 504);
}

#[test]
fn answers_that_are_not_http_are_502_and_hurt_nobody_else() {
    for rude in [
        "",
        "rubbish\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Header: x\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ] {
        let crm = Crm::with(move |mut stream, seen| {
            let path = seen.read(&mut stream).unwrap_or_default();
            let answer =
                if path.contains("/rude") { rude } else { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" };
            drop(stream.write_all(answer.as_bytes()));
        });
        let (gateway, key) = Gateway::reading(&crm);
        let mut connection = Connection::open(gateway.address);
        for (path, status) in [("/api/rude", 502), ("/api/fine", 200)] {
            connection.send(request("GET", path, &[&key.header()], ""));
            assert_eq!(connection.answer().unwrap().status, status, "{rude:?}");
        }
    }
}

#[test]
fn an_answer_that_breaks_off_is_cut_not_ended() {
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let crm = Crm::with(move |mut stream, seen| {
            seen.read(&mut stream);
            let part = if head.starts_with('C') { "part" } else { "4\r\npart\r\n" };
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{part}").as_bytes()).unwrap();
        });
        let (gateway, key) = Gateway::reading(&crm);
        let mut connection = Connection::open(gateway.address);
        connection.send(request("GET", "/api/x", &[&key.header()], ""));
        let mut bytes = Vec::new();
        loop {
            let some = connection.some();
            if some.is_empty() {
                break;
            }
            bytes.extend(some);
        }
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("part") && !text.ends_with("0\r\n\r\n"), "{text}");
        assert_eq!(gateway.log(1)[0]["end"], "upstream_broke");
    }
}

#[test]
fn connections_to_the_crm_are_kept_and_stale_ones_noticed() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let mut connection = Connection::open(gateway.address);
    for _ in 0..20 {
        connection.send(request("GET", "/api/x", &[&key.header()], ""));
        assert_eq!(connection.answer().unwrap().status, 200);
    }
    assert_eq!(crm.seen.connections(), 1);

    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let closing = Crm::with(move |mut stream, seen| {
        seen.read(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        // Closing waits until the other side's socket has the end.
        socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::from_secs(5))).unwrap();
        drop(stream);
        count.fetch_add(1, Ordering::SeqCst);
    });
    let (gateway, key) = Gateway::reading(&closing);
    for turn in 1..=20 {
        assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 200, "turn {turn}");
        eventually("the CRM hung up", || (closed.load(Ordering::SeqCst) == turn).then_some(()));
    }
    assert_eq!(closing.seen.count(), 20, "each request went out once");
}

#[test]
fn a_request_that_may_have_been_acted_on_is_not_repeated() {
    let crm = Crm::with(|mut stream, seen| {
        // One answer, then hang up after reading the next request.
        if seen.read(&mut stream).is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            seen.read(&mut stream);
        }
    });
    let key = TestKey::new(&["read", "write"], "");
    let gateway = Plan::before(&crm).key(&key).start();
    let mut connection = Connection::open(gateway.address);
    connection.send(request("POST", "/api/one", &[&key.header()], "a"));
    assert_eq!(connection.answer().unwrap().status, 200);
    connection.send(request("POST", "/api/two", &[&key.header()], "b"));
    let answer = connection.answer().unwrap();
    assert!(answer.status == 502 || answer.status == 200, "{}", answer.status);
    let two = crm.seen.requests().iter().filter(|seen| seen.contains("/api/two")).count();
    assert_eq!(two, 1, "sent once, whatever came of it");
}

#[test]
fn sigterm_finishes_what_is_in_flight() {
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    let held = parking_lot::Mutex::new(held);
    let crm = Crm::with(move |mut stream, seen| {
        if seen.read(&mut stream).is_some() {
            held.lock().recv().unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        }
    });
    let (mut gateway, key) = Gateway::reading(&crm);
    let mut connection = Connection::open(gateway.address);
    connection.send(request("GET", "/api/slow", &[&key.header()], ""));
    eventually("the request is with the CRM", || (crm.seen.count() == 1).then_some(()));
    gateway.signal("TERM");
    eventually("it is draining", || gateway.said.text().contains("no longer ready").then_some(()));
    let_go.send(()).unwrap();
    assert_eq!(connection.answer().unwrap().text(), "ok");
    gateway.stop();
    assert!(!gateway.said.text().contains("cut"), "{}", gateway.said.text());
}
