//! Connections that the CRM closes while they wait, or at the very moment at which they are used again.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::client::{Connection, request};
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Plan, TestKey};
use crate::support::switch::say;

/// How a CRM lets go of a connection.
#[derive(Clone, Copy, Debug)]
enum Farewell {
    /// With an end, as it should be.
    End,
    /// Only its sending side.
    HalfEnd,
    /// With a reset.
    Reset,
}

impl Farewell {
    fn say(self, stream: TcpStream) -> Option<TcpStream> {
        let linger = |time| socket2::SockRef::from(&stream).set_linger(Some(time)).unwrap();
        match self {
            Self::End => linger(Duration::from_secs(5)),
            Self::Reset => linger(Duration::ZERO),
            Self::HalfEnd => {
                stream.shutdown(Shutdown::Write).unwrap();
                return Some(stream);
            }
        }
        None
    }
}

/// Answers once, and then lets go; counts farewells.
fn once_and_gone(farewell: Farewell) -> (Crm, Arc<AtomicUsize>) {
    let gone = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&gone);
    let crm = Crm::with(move |mut stream, seen| {
        seen.read(&mut stream);
        say(&mut stream, "ok");
        let left = farewell.say(stream);
        count.fetch_add(1, Ordering::SeqCst);
        if let Some(mut left) = left {
            // What comes now would be lost: the other side must not send it.
            seen.read(&mut left);
        }
    });
    (crm, gone)
}

/// Connections to `address` of which neither end has been heard of.
fn established(address: SocketAddr) -> usize {
    const ESTABLISHED: &str = "01";
    let known = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", address.port());
    let is_one = |line: &&str| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next().is_some_and(|there| there.ends_with(&port)) && fields.next() == Some(ESTABLISHED)
    };
    known.lines().filter(is_one).count()
}

#[test]
fn a_connection_that_was_closed_while_it_waited_costs_no_request() {
    for farewell in [Farewell::End, Farewell::HalfEnd, Farewell::Reset] {
        let (crm, gone) = once_and_gone(farewell);
        let key = TestKey::new(&["write"], "");
        let gateway = Plan::before(&crm).key(&key).start();
        let mut connection = Connection::open(gateway.address);
        for turn in 1..=30 {
            connection.send(request("POST", "/api/x", &[&key.header()], &format!("body {turn}.")));
            let answer = connection.answer().unwrap();
            assert_eq!(answer.status, 200, "{farewell:?}, turn {turn}: {}", answer.text());
            eventually("the CRM let go", || (gone.load(Ordering::SeqCst) == turn).then_some(()));
            // Said is not heard: on a busy machine a packet can wait within it.
            eventually("that has arrived", || (established(crm.address) == 0).then_some(()));
        }
        let seen = crm.seen.requests();
        assert_eq!(seen.len(), 30, "{farewell:?}");
        for turn in 1..=30 {
            let body = format!("body {turn}.");
            assert_eq!(seen.iter().filter(|seen| seen.ends_with(&body)).count(), 1, "{farewell:?} {body}");
        }
    }
}

#[test]
fn a_connection_that_is_closed_as_it_is_used_repeats_nothing() {
    for farewell in [Farewell::End, Farewell::HalfEnd, Farewell::Reset] {
        let (crm, _) = once_and_gone(farewell);
        let key = TestKey::new(&["write"], "");
        let gateway = Plan::before(&crm).key(&key).start();
        let mut connection = Connection::open(gateway.address);
        let mut answered = 0;
        for turn in 0..200 {
            // At once after the answer: the end is on its way, or here, or half looked at.
            connection.send(request("POST", "/api/x", &[&key.header()], &format!("body {turn}.")));
            let status = connection.answer().unwrap().status;
            assert!(status == 200 || status == 502, "{farewell:?} {status}");
            answered += usize::from(status == 200);
        }
        let seen = crm.seen.requests();
        for turn in 0..200 {
            let body = format!("body {turn}.");
            assert!(seen.iter().filter(|seen| seen.ends_with(&body)).count() <= 1, "{farewell:?} {body}");
        }
        assert!(answered >= 100, "{farewell:?}: {answered} of 200");
        // A CRM that lets go like this is not down.
        assert_eq!(gateway.metric(&format!("sidelock_upstream_up{{upstream=\"{}\"}}", crm.address)), 1.0);
    }
}
