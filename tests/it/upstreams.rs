//! Several addresses of one CRM: who gets a request, and who gets it when one of them does not.

use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::support::client::{Connection, post, request};
use crate::support::crm::{Crm, at_path};
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};
use crate::support::switch::{Swallower, Switch, say};

/// In front of these addresses, with further lines of `[upstream]`, and a key that may all.
pub fn before(urls: &[String], lines: &str) -> (Gateway, TestKey) {
    let key = TestKey::new(&["read", "write"], "");
    let mut plan = Plan::before(&Crm::usual()).key(&key);
    plan.upstream = format!("urls = [{}]\n{lines}", urls.join(", "));
    (plan.start(), key)
}

fn up(gateway: &Gateway, switch: &Switch) -> f64 {
    gateway.metric(&format!("sidelock_upstream_up{{upstream=\"{}\"}}", switch.address))
}

fn counted(gateway: &Gateway, what: &str, switch: &Switch) -> f64 {
    gateway.metric(&format!("sidelock_upstream_{what}_total{{upstream=\"{}\"}}", switch.address))
}

#[test]
fn they_take_turns_and_the_least_busy_one_comes_first() {
    let (let_go, held) = channel::<()>();
    let held = parking_lot::Mutex::new(held);
    let mut slow = Switch::with(move |mut stream, seen| {
        while let Some(text) = seen.read(&mut stream) {
            if text.contains("/slow") {
                held.lock().recv().unwrap();
            }
            say(&mut stream, "slow");
        }
    });
    slow.on();
    let quick = Switch::saying("quick");
    let (gateway, key) = before(&[slow.url(), quick.url()], "");
    let ask = |path: &str| gateway.get(path, &[&key.header()]).text();
    let mut said: Vec<String> = (0..4).map(|_| ask("/api/x")).collect();
    said.sort_unstable();
    assert_eq!(said, ["quick", "quick", "slow", "slow"]);
    eventually("neither is busy", || (gateway.metric("sidelock_in_flight") == 0.0).then_some(()));

    // One of these two hangs, and it is at the slow one.
    let mut hanging: Vec<Connection> = (0..2)
        .map(|_| {
            let mut connection = Connection::open(gateway.address);
            connection.send(request("GET", "/api/slow", &[&key.header()], ""));
            connection
        })
        .collect();
    eventually("both are with the CRM", || (slow.seen.count() + quick.seen.count() == 6).then_some(()));
    eventually("the quick one is done", || (gateway.metric("sidelock_in_flight") == 1.0).then_some(()));
    for _ in 0..10 {
        assert_eq!(ask("/api/x"), "quick");
        eventually("and again", || (gateway.metric("sidelock_in_flight") == 1.0).then_some(()));
    }
    let_go.send(()).unwrap();
    for connection in &mut hanging {
        assert_eq!(connection.answer().unwrap().status, 200);
    }
}

#[test]
fn one_that_takes_no_connections_costs_nobody_a_request() {
    let mut gone = Switch::off_saying("back");
    let good = Switch::saying("good");
    let (gateway, key) = before(&[gone.url(), good.url()], "max_eject = \"1s\"");
    for turn in 0..20 {
        let answer = gateway.post("/api/x", &[&key.header()], &format!("body {turn}."));
        assert_eq!((answer.status, answer.text().as_str()), (200, "good"));
    }
    let seen = good.seen.requests();
    assert_eq!(seen.len(), 20);
    for turn in 0..20 {
        let body = format!("body {turn}.");
        assert_eq!(seen.iter().filter(|request| request.ends_with(&body)).count(), 1, "{body}");
    }
    assert_eq!((up(&gateway, &gone), up(&gateway, &good)), (0.0, 1.0));
    assert_eq!(counted(&gateway, "ejections", &gone), 1.0);
    assert!((5.0..20.0).contains(&counted(&gateway, "retries", &gone)), "{}", gateway.metrics());
    assert_eq!(counted(&gateway, "retries", &good), 0.0);

    gone.on();
    eventually("it is asked again", || {
        (gateway.get("/api/x", &[&key.header()]).text() == "back").then_some(())
    });
    eventually("it is in again", || (up(&gateway, &gone) == 1.0).then_some(()));
    let told = gateway.said.text();
    let times = |what: &str| told.matches(what).count();
    let told_of = ["the CRM cannot be reached", "no requests go to this", "can be reached again"];
    assert_eq!(told_of.map(times), [1, 1, 1], "{told}");
}

#[test]
fn one_that_swallows_connections_leaves_time_for_the_other() {
    let (swallower, good) = (Swallower::new(), Switch::saying("good"));
    let urls = [format!("\"http://{}\"", swallower.address), good.url()];
    let key = TestKey::new(&["read"], "");
    let mut plan = Plan::before(&Crm::usual()).key(&key);
    plan.upstream = format!("urls = [{}]", urls.join(", "));
    let gateway = plan.with("[timeouts]\nupstream_connect = \"400ms\"\ndrain_accept = \"0s\"\n").start();
    for _ in 0..12 {
        assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 200);
    }
    assert_eq!(good.seen.count(), 12);
    let series = format!("sidelock_upstream_up{{upstream=\"{}\"}}", swallower.address);
    assert_eq!(gateway.metric(&series), 0.0);
}

#[test]
fn what_may_have_been_acted_on_goes_nowhere_else() {
    let reads_and_leaves = |mut stream, seen: &crate::support::crm::Seen| {
        seen.read(&mut stream);
    };
    let mut rude = Switch::with(reads_and_leaves);
    rude.on();
    let good = Switch::saying("good");
    let key = TestKey::new(&["write"], "");
    let mut plan = Plan::before(&Crm::usual()).key(&key).with(
        "[[webhook]]\nname = \"hook\"\npath = \"/hook\"\nsender = \"telegram\"\nsecrets = [\"env:HOOK\"]\n",
    );
    plan.upstream = format!("urls = [{}, {}]", rude.url(), good.url());
    plan.environment = vec![("HOOK", "hook-secret-0123456789abcdef".into())];
    let gateway = plan.start();
    let secret = "X-Telegram-Bot-Api-Secret-Token: hook-secret-0123456789abcdef";
    let mut statuses = Vec::new();
    for turn in 0..16 {
        let body = format!("{{\"update_id\":{turn}1}}");
        let answer = if turn % 4 < 2 {
            gateway.post("/api/x", &[&key.header()], &body)
        } else {
            post(gateway.address, "/hook", &[secret, "Content-Type: application/json"], &body)
        };
        let [there, elsewhere] =
            [&rude, &good].map(|it| it.seen.requests().iter().filter(|seen| seen.ends_with(&body)).count());
        let wanted = if answer.status == 200 { (0, 1) } else { (1, 0) };
        assert_eq!((there, elsewhere), wanted, "turn {turn}: {}", answer.status);
        statuses.push(answer.status);
    }
    assert!(statuses.contains(&200) && statuses.contains(&502), "{statuses:?}");
    // Broken answers put it out, for there is another; only its tries are left.
    assert_eq!(up(&gateway, &rude), 0.0, "{statuses:?}");
    assert!(rude.seen.count() < 9, "{statuses:?}");
}

#[test]
fn errors_of_the_application_are_its_own() {
    let failing = Crm::answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let good = Switch::saying("good");
    let (gateway, key) = before(&[format!("\"http://{}\"", failing.address), good.url()], "max_fails = 1");
    for _ in 0..20 {
        gateway.get("/api/x", &[&key.header()]);
    }
    assert_eq!((failing.seen.count(), good.seen.count()), (10, 10));
}

#[test]
fn a_socket_file_and_an_address_go_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crm.sock");
    let seen = at_path(&path, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let good = Switch::saying("good");
    let (gateway, key) = before(&[format!("\"unix:{}\"", path.display()), good.url()], "");
    for _ in 0..4 {
        assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 200);
    }
    assert_eq!((seen.count(), good.seen.count()), (2, 2));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(up(&gateway, &good), 1.0);
}

#[test]
fn a_name_with_several_addresses_is_tried_in_order() {
    // On most machines this name is ::1 first, where nobody listens.
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "");
    let mut plan = Plan::before(&crm).key(&key);
    plan.upstream = format!("url = \"http://localhost:{}\"", crm.address.port());
    let gateway = plan.start();
    assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 200);
    let series = format!("sidelock_upstream_up{{upstream=\"localhost:{}\"}}", crm.address.port());
    assert_eq!(gateway.metric(&series), 1.0);
}

#[test]
fn a_list_that_changes_takes_nothing_from_what_is_under_way() {
    let (let_go, held) = channel::<()>();
    let held = parking_lot::Mutex::new(held);
    let mut old = Switch::with(move |mut stream, seen| {
        while seen.read(&mut stream).is_some() {
            held.lock().recv().unwrap();
            say(&mut stream, "old");
        }
    });
    old.on();
    let new = Switch::saying("new");
    let (gateway, key) = before(&[old.url()], "");
    let mut connection = Connection::open(gateway.address);
    connection.send(request("GET", "/api/slow", &[&key.header()], ""));
    eventually("it is with the old one", || (old.seen.count() == 1).then_some(()));

    let text = std::fs::read_to_string(gateway.config_file()).unwrap();
    std::fs::write(gateway.config_file(), text.replace(&old.url(), &new.url())).unwrap();
    eventually("the new list is in force", || {
        (gateway.metric("sidelock_reloads_total{result=\"accepted\"}") == 1.0).then_some(())
    });
    assert_eq!(gateway.get("/api/x", &[&key.header()]).text(), "new");
    let metrics = gateway.metrics();
    assert!(metrics.contains(&new.address.to_string()) && !metrics.contains(&old.address.to_string()));
    let_go.send(()).unwrap();
    assert_eq!(connection.answer().unwrap().text(), "old");
    assert_eq!(gateway.metric("sidelock_upstream_connections{state=\"active\"}"), 0.0);
}

#[test]
fn the_time_for_connecting_is_for_all_addresses_together() {
    let swallowers = [(); 3].map(|()| Swallower::new());
    let urls = swallowers.each_ref().map(|it| format!("\"http://{}\"", it.address)).join(", ");
    let key = TestKey::new(&["read"], "");
    let mut plan = Plan::before(&Crm::usual()).key(&key);
    plan.upstream = format!("urls = [{urls}]");
    let gateway = plan.with("[timeouts]\nupstream_connect = \"300ms\"\ndrain_accept = \"0s\"\n").start();
    let started = Instant::now();
    assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 504);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn nobody_listens_at_a_port_that_is_only_bound() {
    // What other tests stand on: a switch that is off refuses.
    let mut switch = Switch::saying("on");
    switch.off();
    assert!(std::net::TcpStream::connect(switch.address).is_err());
    drop(TcpListener::bind(switch.address).unwrap());
}
