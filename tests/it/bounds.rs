//! Ceilings: heads, time, connections.

use std::time::Instant;

use crate::support::client::{Connection, get, request};
use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan, TestKey};

#[test]
fn heads_are_bounded_in_size_and_number() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let long = format!("X-Long: {}", "a".repeat(17 * 1024));
    assert_eq!(gateway.get("/api/x", &[&key.header(), &long]).status, 431);
    let many: Vec<String> = (0..110).map(|number| format!("X-{number}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(gateway.get("/api/x", &many).status, 431);
    assert_eq!(crm.seen.count(), 0);
    crate::support::eventually("both are counted", || {
        (gateway.metric("sidelock_denied_total{key=\"unknown\",reason=\"ambiguous\"}") == 2.0).then_some(())
    });
}

#[test]
fn a_slow_head_meets_a_deadline_and_an_idle_connection_another() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "");
    let gateway = Plan::before(&crm)
        .key(&key)
        .with("[timeouts]\nrequest_head = \"300ms\"\nkeep_alive = \"900ms\"\ndrain_accept = \"0s\"\n")
        .start();
    let started = Instant::now();
    let mut slow = Connection::open(gateway.address);
    slow.send("GET /api/x HT");
    assert!(slow.is_closed());
    assert!((250..850).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());

    let mut kept = Connection::open(gateway.address);
    kept.send(request("GET", "/api/x", &[&key.header()], ""));
    assert_eq!(kept.answer().unwrap().status, 200);
    let idle = Instant::now();
    assert!(kept.is_closed());
    assert!(idle.elapsed().as_millis() >= 800, "{:?}", idle.elapsed());

    let mut half = Connection::open(gateway.address);
    half.send(request("GET", "/api/x", &[&key.header()], ""));
    assert_eq!(half.answer().unwrap().status, 200);
    half.send("GET /api/half");
    let started = Instant::now();
    assert!(half.is_closed());
    assert!(
        started.elapsed().as_millis() < 850,
        "a kept connection's next head has the same deadline: {:?}",
        started.elapsed()
    );
}

#[test]
fn connections_are_counted_in_all_and_per_address() {
    for (limit, reason) in [("connections = 3", "all"), ("connections_per_address = 3", "address")] {
        let crm = Crm::usual();
        let key = TestKey::new(&["read"], "");
        let gateway = Plan::before(&crm).key(&key).with(&format!("[limits]\n{limit}\n")).start();
        let mut open: Vec<Connection> = (0..3).map(|_| Connection::open(gateway.address)).collect();
        for connection in &mut open {
            connection.send(request("GET", "/api/x", &[&key.header()], ""));
            assert_eq!(connection.answer().unwrap().status, 200);
        }
        let shed = get(gateway.address, "/api/x", &[&key.header()]);
        assert_eq!(shed.status, 503, "{limit}");
        assert!(shed.header("retry-after").is_some());
        assert_eq!(get(gateway.admin, "/healthz", &[]).status, 200, "the admin listener answers");
        drop(open);
        crate::support::eventually("there is room again", || {
            (get(gateway.address, "/api/x", &[&key.header()]).status == 200).then_some(())
        });
        let series = format!("sidelock_connections_shed_total{{reason=\"{reason}\"}}");
        assert!(gateway.metric(&series) >= 1.0);
    }
}

#[test]
fn strangers_make_no_series() {
    let crm = Crm::usual();
    let (gateway, _) = Gateway::reading(&crm);
    let lines = gateway.metrics().lines().count();
    let mut connection = Connection::open(gateway.address);
    for number in 0..300 {
        connection.send(request(
            "GET",
            &format!("/p{number}"),
            &[&format!("X-API-Key: stranger-key-number-{number:05}")],
            "",
        ));
        connection.answer().unwrap();
    }
    let grown = gateway.metrics().lines().count() - lines;
    assert!(grown < 40, "{grown} new lines for 300 strangers");
}
