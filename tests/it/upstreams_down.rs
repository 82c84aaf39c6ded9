//! A CRM of which no address is usable: refused at once, tried by one at a time, found again soon. And one that is full.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::support::client::{Answer, Connection, post, request};
use crate::support::crm::{Crm, Seen};
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};
use crate::support::switch::{Switch, say};
use crate::upstreams::before;

/// In front of one address, with further lines of `[upstream]` and sections.
fn alone(address: impl std::fmt::Display, lines: &str, sections: &str) -> (Gateway, TestKey) {
    let key = TestKey::new(&["read", "write"], "");
    let mut plan = Plan::before(&Crm::usual()).key(&key).with(sections);
    plan.upstream = format!("url = \"http://{address}\"\n{lines}");
    plan.environment = vec![("HOOK", "hook-secret-0123456789abcdef".into())];
    (plan.start(), key)
}

fn is_down(answer: &Answer) -> bool {
    let known = answer.status == 503 && answer.text().contains("urn:sidelock:problem:upstream-down");
    if known {
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(answer.keeps_connection() && answer.text().contains("Nothing was done"));
    }
    known
}

const HOOK: &str =
    "[[webhook]]\nname = \"hook\"\npath = \"/hook\"\nsender = \"telegram\"\nsecrets = [\"env:HOOK\"]\n";
const SECRET: &str = "X-Telegram-Bot-Api-Secret-Token: hook-secret-0123456789abcdef";

#[test]
fn a_crm_that_is_down_is_not_asked_and_found_again_within_about_a_second() {
    let mut crm = Switch::saying("ok");
    let (gateway, key) = alone(crm.address, "", HOOK);
    let ask = || gateway.get("/api/x", &[&key.header()]);
    for _ in 0..3 {
        assert_eq!(ask().status, 200);
        crm.off();
        let statuses: Vec<u16> = (0..4).map(|_| ask().status).collect();
        assert_eq!(statuses, [502; 4], "four failures in a row may be chance");
        eventually("it is known to be down", || is_down(&ask()).then_some(()));
        let update =
            post(gateway.address, "/hook", &[SECRET, "Content-Type: application/json"], "{\"update_id\":1}");
        assert!([502, 503].contains(&update.status) && update.body.is_empty(), "{}", update.status);
        crm.on();
        let back = Instant::now();
        eventually("it is found again", || (ask().status == 200).then_some(()));
        assert!(back.elapsed() < Duration::from_secs(3), "{:?}", back.elapsed());
    }
    let denied = format!("sidelock_denied_total{{key=\"{}\",reason=\"upstream_down\"}}", key.id);
    assert!(gateway.metric(&denied) >= 3.0);
    let told = gateway.said.text();
    let told_of = ["the CRM cannot be reached", "no requests go to this", "can be reached again"];
    assert_eq!(told_of.map(|what| told.matches(what).count()), [3, 3, 3], "{told}");
}

#[test]
fn one_at_a_time_tries_whether_it_is_back() {
    // Takes connections, but has no TLS: nothing can be sent.
    let crm = Crm::with(|stream: TcpStream, _: &Seen| drop(stream));
    let key = TestKey::new(&["read"], "rate = \"1000000/s\"");
    let mut plan = Plan::before(&crm).key(&key);
    plan.upstream = format!("url = \"https://{}\"\nca_file = \"ca.pem\"\nmax_fails = 2", crm.address);
    let gateway = plan.file("ca.pem", crate::support::tls::CA).start();
    let started = Instant::now();
    eventually("it is known to be down", || is_down(&gateway.get("/api/x", &[&key.header()])).then_some(()));
    let mut waiting: Vec<Connection> = (0..40).map(|_| Connection::open(gateway.address)).collect();
    while crm.seen.connections() < 5 {
        for connection in &mut waiting {
            connection.send(request("GET", "/api/x", &[&key.header()], ""));
        }
        for connection in &mut waiting {
            let answer = connection.answer().unwrap();
            assert!([502, 503].contains(&answer.status), "{answer:?}");
        }
    }
    // Two that put it out, and tries after 0.5, 1 and 1 seconds.
    assert!(started.elapsed() > Duration::from_millis(2400), "{:?}", started.elapsed());
}

/// Takes requests and answers none, while it is told to, or where a request asks for it.
fn hanging() -> (Switch, Arc<AtomicBool>) {
    let hangs = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&hangs);
    let mut crm = Switch::with(move |mut stream, seen| {
        while let Some(text) = seen.read(&mut stream) {
            if !(text.contains("/slow") || told.load(Ordering::SeqCst)) {
                say(&mut stream, "ok");
            }
        }
    });
    crm.on();
    (crm, hangs)
}

const IMPATIENT: &str = "[timeouts]\nupstream_response = \"200ms\"\ndrain_accept = \"0s\"\n";

#[test]
fn one_that_hangs_is_out_while_there_is_another() {
    let ((hangs, told), (good, well)) = (hanging(), hanging());
    well.store(false, Ordering::SeqCst);
    let key = TestKey::new(&["read"], "");
    let mut plan = Plan::before(&Crm::usual()).key(&key).with(&IMPATIENT.replace("200ms", "2s"));
    plan.upstream = format!("urls = [{}, {}]\nmax_fails = 2\nmax_eject = \"1s\"", hangs.url(), good.url());
    let gateway = plan.start();
    let up = || gateway.metric(&format!("sidelock_upstream_up{{upstream=\"{}\"}}", hangs.address));
    let ask = |path: &str| gateway.get(path, &[&key.header()]).status;
    let statuses: Vec<u16> = (0..4).map(|_| ask("/api/x")).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 504).count(), 2, "{statuses:?}");
    assert_eq!(up(), 0.0);
    told.store(false, Ordering::SeqCst);
    eventually("it is found again", || {
        assert_ne!(ask("/api/x"), 503);
        (up() == 1.0).then_some(())
    });

    // As many as would put both out, but others are answered meanwhile.
    let slow_ones = |crm: &Switch| crm.seen.requests().iter().filter(|seen| seen.contains("/slow")).count();
    let mut slow = Vec::new();
    for turn in 1..=8 {
        let mut connection = Connection::open(gateway.address);
        connection.send(request("GET", "/api/slow", &[&key.header()], ""));
        slow.push(connection);
        eventually("it is with the CRM", || (slow_ones(&hangs) + slow_ones(&good) == turn).then_some(()));
    }
    let before = [&hangs, &good].map(|crm| crm.seen.count());
    eventually("others are answered by both", || {
        assert_eq!(ask("/api/x"), 200);
        [&hangs, &good].into_iter().zip(before).all(|(crm, before)| crm.seen.count() > before).then_some(())
    });
    for connection in &mut slow {
        assert_eq!(connection.answer().unwrap().status, 504);
    }
    let ejections = |crm: &Switch| {
        gateway.metric(&format!("sidelock_upstream_ejections_total{{upstream=\"{}\"}}", crm.address))
    };
    assert_eq!((ejections(&hangs), ejections(&good)), (1.0, 0.0));
}

#[test]
fn nobody_puts_the_only_address_out_with_requests_that_hang() {
    let (crm, hangs) = hanging();
    let (gateway, key) = alone(crm.address, "max_fails = 1", IMPATIENT);
    let ask = || gateway.get("/api/x", &[&key.header()]).status;
    assert_eq!([(); 5].map(|()| ask()), [504; 5]);
    hangs.store(false, Ordering::SeqCst);
    assert_eq!(ask(), 200);
}

#[test]
fn a_check_finds_a_crm_that_hangs() {
    let (crm, hangs) = hanging();
    let check = "[upstream.health_check]\npath = \"/\"\nevery = \"100ms\"\ntimeout = \"100ms\"";
    let (gateway, key) = alone(crm.address, check, "");
    let ask = || gateway.get("/api/x", &[&key.header()]);
    eventually("it is out", || {
        (gateway.metric(&format!("sidelock_upstream_up{{upstream=\"{}\"}}", crm.address)) == 0.0)
            .then_some(())
    });
    assert!(is_down(&ask()));
    assert!(gateway.said.text().contains("health check: no answer in time"), "{}", gateway.said.text());
    hangs.store(false, Ordering::SeqCst);
    eventually("it is found again", || (ask().status == 200).then_some(()));
}

#[test]
fn nobody_puts_the_only_address_out_with_a_request_that_breaks_it() {
    let crm = Crm::with(|mut stream, seen| {
        while let Some(text) = seen.read(&mut stream) {
            if text.contains("/breaks") || !say(&mut stream, "ok") {
                return;
            }
        }
    });
    let (gateway, key) = alone(crm.address, "max_fails = 1", "");
    for _ in 0..10 {
        assert_eq!(gateway.get("/api/breaks", &[&key.header()]).status, 502);
    }
    assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 200);
}

#[test]
fn a_crm_that_is_full_is_waited_for_and_not_for_long() {
    let (let_go, held) = channel::<()>();
    let held = parking_lot::Mutex::new(held);
    let mut crm = Switch::with(move |mut stream, seen| {
        while let Some(text) = seen.read(&mut stream) {
            if text.contains("/slow") {
                held.lock().recv().unwrap();
            }
            say(&mut stream, "ok");
        }
    });
    crm.on();
    let (gateway, key) = alone(crm.address, "max_connections = 1", "");
    let ask = |path: &str| {
        let mut connection = Connection::open(gateway.address);
        connection.send(request("GET", path, &[&key.header()], ""));
        connection
    };
    let mut slow = ask("/api/slow");
    eventually("it is with the CRM", || (crm.seen.count() == 1).then_some(()));
    let refused = ask("/api/x").answer().unwrap();
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert!(refused.text().contains("upstream-full") && refused.keeps_connection());
    assert_eq!(crm.seen.count(), 1, "nothing of it was sent");

    let mut next = ask("/api/next");
    eventually("it is under way", || (gateway.metric("sidelock_in_flight") == 2.0).then_some(()));
    let_go.send(()).unwrap();
    assert_eq!(slow.answer().unwrap().status, 200);
    assert_eq!(next.answer().unwrap().status, 200);
    assert_eq!(gateway.metric("sidelock_upstream_connections{state=\"active\"}"), 0.0);
}

/// Answers checks as it is told, and all else well.
fn checked() -> (Switch, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&well);
    let mut crm = Switch::with(move |mut stream, seen| {
        use std::io::Write;
        while let Some(text) = seen.read(&mut stream) {
            let ill = text.contains("/health") && !told.load(Ordering::SeqCst);
            let answer = "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n";
            let there =
                if ill { stream.write_all(answer.as_bytes()).is_ok() } else { say(&mut stream, "ok") };
            if !there {
                return;
            }
        }
    });
    crm.on();
    (crm, well)
}

const CHECK: &str =
    "host = \"crm.internal\"\n[upstream.health_check]\npath = \"/health?deep=1\"\nevery = \"100ms\"";

fn checks(crm: &Switch) -> usize {
    crm.seen.requests().iter().filter(|seen| seen.contains("GET /health")).count()
}

#[test]
fn checks_take_an_address_out_and_back_in() {
    let ((one, is_well), (other, _)) = (checked(), checked());
    let (gateway, key) = before(&[one.url(), other.url()], CHECK);
    let up = || gateway.metric(&format!("sidelock_upstream_up{{upstream=\"{}\"}}", one.address));
    eventually("both are looked at", || (checks(&one) > 1 && checks(&other) > 1).then_some(()));
    let check = one.seen.requests().into_iter().find(|seen| seen.contains("/health")).unwrap().to_lowercase();
    assert!(check.starts_with("get /health?deep=1 http/1.1\r\nhost: crm.internal\r\n"), "{check}");
    assert!(!check.contains("authorization") && !check.contains("x-sidelock"), "{check}");

    is_well.store(false, Ordering::SeqCst);
    eventually("it is out", || (up() == 0.0).then_some(()));
    let asked = |crm: &Switch| crm.seen.count() - checks(crm);
    let before = asked(&one);
    for _ in 0..10 {
        assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 200);
    }
    assert_eq!(asked(&one), before, "no request goes where checks fail");
    is_well.store(true, Ordering::SeqCst);
    eventually("it is in", || (up() == 1.0).then_some(()));
    eventually("it is asked", || {
        gateway.get("/api/x", &[&key.header()]);
        (asked(&one) > before).then_some(())
    });
    assert!(gateway.said.text().contains("health check: it answered 500"), "{}", gateway.said.text());
}

#[test]
fn checks_find_what_no_request_did_and_end_with_their_list() {
    let (mut crm, _) = checked();
    let (gateway, key) = alone(crm.address, CHECK, "");
    eventually("it is looked at", || (checks(&crm) > 0).then_some(()));
    crm.off();
    eventually("it is out", || {
        (gateway.metric(&format!("sidelock_upstream_up{{upstream=\"{}\"}}", crm.address)) == 0.0)
            .then_some(())
    });
    assert!(is_down(&gateway.get("/api/x", &[&key.header()])), "the first request");
    crm.on();
    eventually("it is found again", || (gateway.get("/api/x", &[&key.header()]).status == 200).then_some(()));

    let (new, _) = checked();
    let text = std::fs::read_to_string(gateway.config_file()).unwrap();
    std::fs::write(gateway.config_file(), text.replace(&crm.address.to_string(), &new.address.to_string()))
        .unwrap();
    eventually("the new one is looked at", || (checks(&new) > 0).then_some(()));
    // One may have been on its way.
    let before = checks(&crm) + 1;
    eventually("and again and again", || (checks(&new) > 5).then_some(()));
    assert!(checks(&crm) <= before);
}
