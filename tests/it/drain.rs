//! The end of a process: kept connections hear that an answer is the last, what is under way ends, the rest is cut and counted.

use std::io::Write;
use std::sync::mpsc;

use parking_lot::Mutex;

use crate::support::client::{Connection, get, request};
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};

/// A CRM that answers `/api/slow` when it is told, with its sender.
fn slow() -> (Crm, mpsc::Sender<()>) {
    let (tell, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    let crm = Crm::with(move |mut stream, seen| {
        while let Some(request) = seen.read(&mut stream) {
            if request.contains("/api/slow") && told.lock().recv().is_err() {
                return;
            }
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        }
    });
    (crm, tell)
}

fn gateway(crm: &Crm, timeouts: &str) -> (Gateway, TestKey) {
    let key = TestKey::new(&["read"], "");
    (Plan::before(crm).key(&key).with(&format!("[timeouts]\n{timeouts}\n")).start(), key)
}

fn draining(gateway: &Gateway) {
    eventually("it accepts no more", || std::net::TcpStream::connect(gateway.address).is_err().then_some(()));
}

#[test]
fn kept_and_fresh_connections_get_one_more_answer_that_says_it_is_the_last() {
    let (crm, tell) = slow();
    let (gateway, key) = gateway(&crm, "drain_accept = \"0s\"");
    let header = key.header();
    let (mut kept, mut fresh, mut busy) = (
        Connection::open(gateway.address),
        Connection::open(gateway.address),
        Connection::open(gateway.address),
    );
    kept.send(request("GET", "/api/x", &[&header], ""));
    assert!(kept.answer().unwrap().keeps_connection());
    busy.send(request("GET", "/api/slow", &[&header], ""));
    eventually("the CRM has it", || (crm.seen.count() == 2).then_some(()));
    eventually("the fresh one was accepted", || {
        (gateway.metric("sidelock_connections") == 3.0).then_some(())
    });
    gateway.signal("TERM");
    draining(&gateway);
    assert_eq!(get(gateway.admin, "/readyz", &[]).status, 503);
    for connection in [&mut kept, &mut fresh] {
        connection.send(request("GET", "/api/x", &[&header], ""));
        let last = connection.answer().expect("a request that was on its way is answered");
        assert_eq!((last.status, last.keeps_connection()), (200, false));
        assert!(connection.is_closed());
    }
    tell.send(()).unwrap();
    let last = busy.answer().unwrap();
    assert_eq!((last.status, last.keeps_connection()), (200, false));
}

#[test]
fn what_does_not_end_in_time_is_cut_and_counted() {
    let (crm, _tell) = slow();
    let (mut gateway, key) = gateway(&crm, "drain_accept = \"0s\"\ndrain = \"1s\"");
    let mut busy = [Connection::open(gateway.address), Connection::open(gateway.address)];
    for connection in &mut busy {
        connection.send(request("GET", "/api/slow", &[&key.header()], ""));
    }
    eventually("the CRM has both", || (crm.seen.count() == 2).then_some(()));
    gateway.stop();
    assert!(gateway.said.text().contains("requests were cut cut=2"), "{}", gateway.said.text());
    assert!(busy.iter_mut().all(|connection| connection.answer().is_none()));
}
