//! Requests that are refused before their body was read.

use std::io::Write;

use crate::support::client::{Connection, request};
use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan, TestKey};

fn head(key: &str, length: usize, more: &str) -> String {
    format!("POST /api/x HTTP/1.1\r\nHost: crm.example\r\n{key}\r\nContent-Length: {length}\r\n{more}\r\n")
}

/// A gateway, a key that it knows, and one that it does not.
fn gateway(crm: &Crm) -> (Gateway, TestKey, String) {
    let key = TestKey::new(&["read", "write"], "");
    let gateway = Plan::before(crm).key(&key).with("[limits]\nper_address_failures = \"1000/s\"\n").start();
    (gateway, key, TestKey::new(&["read"], "").header())
}

/// Many clients send a head and its body apart, and an answer can be faster than a body.
#[test]
fn a_connection_that_is_not_said_to_end_goes_on() {
    let crm = Crm::usual();
    let (gateway, key, unknown) = gateway(&crm);
    let mut kept = 0;
    for _ in 0..40 {
        let mut connection = Connection::open(gateway.address);
        connection.send(head(&unknown, 5, ""));
        connection.send("hello");
        let answer = connection.answer().unwrap();
        assert_eq!(answer.status, 401);
        if answer.keeps_connection() {
            connection.send(request("GET", "/api/next", &[&key.header()], ""));
            assert_eq!(connection.answer().expect("it goes on").status, 200);
            kept += 1;
        }
    }
    assert!(kept > 20, "{kept} of 40");
    assert_eq!(crm.seen.count(), kept, "the bodies are no requests");
}

#[test]
fn a_body_that_does_not_come_or_is_large_ends_the_connection_and_that_is_said() {
    let crm = Crm::usual();
    let (gateway, _, unknown) = gateway(&crm);
    for head in [
        head(&unknown, 5, ""),
        head(&unknown, 5, "Expect: 100-continue\r\n"),
        head(&unknown, 10_000_000, ""),
        head(&unknown, 5, "").replace("Content-Length: 5", "Transfer-Encoding: chunked"),
    ] {
        let mut connection = Connection::open(gateway.address);
        connection.send(&head);
        let answer = connection.answer().unwrap();
        assert_eq!((answer.status, answer.keeps_connection()), (401, false), "{head}");
        connection.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(connection.is_closed());
    }
    assert_eq!(crm.seen.count(), 0);
}

/// A socket that is closed with bytes unread in it is reset, and many a client that cannot write reads no answer.
#[test]
fn who_sends_on_is_not_cut_off_at_once() {
    let crm = Crm::usual();
    let (gateway, _, unknown) = gateway(&crm);
    let mut connection = Connection::open(gateway.address);
    connection.send(head(&unknown, 10_000_000, ""));
    assert_eq!(connection.answer().unwrap().status, 401);
    for _ in 0..10 {
        connection.stream.write_all(&[b'x'; 20_000]).expect("it may send on");
    }
    let endless = (0..100_000).take_while(|_| connection.stream.write_all(&[b'x'; 100_000]).is_ok()).count();
    assert!(endless < 1_000, "{endless} times 100 kB: not for ever");
}

/// The CRM breaks, and the upload is still to come.
#[test]
fn a_refusal_after_the_verdict_says_so_too() {
    // It hangs up whoever comes.
    let crm = Crm::with(|stream, _| drop(stream));
    let key = TestKey::new(&["write"], "");
    let gateway = Plan::before(&crm).key(&key).start();
    let mut connection = Connection::open(gateway.address);
    connection.send(head(&key.header(), 1_000_000, ""));
    let answer = connection.answer().unwrap();
    assert_eq!((answer.status / 100, answer.keeps_connection()), (5, false));
}

/// Nothing was sent yet, and the body is small: clients need not connect anew for each try.
#[test]
fn a_crm_that_is_down_costs_no_connections_of_clients() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let key = TestKey::new(&["write"], "");
    let mut plan = Plan::before(&Crm::usual()).key(&key);
    plan.upstream = format!("url = \"http://{free}\"");
    let gateway = plan.start();
    let mut connection = Connection::open(gateway.address);
    for _ in 0..3 {
        connection.send(head(&key.header(), 5, "") + "hello");
        let answer = connection.answer().expect("it goes on");
        assert_eq!((answer.status / 100, answer.keeps_connection()), (5, true), "{}", answer.head);
    }
}
