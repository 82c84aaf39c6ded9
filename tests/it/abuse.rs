//! Floods of connections: each bound bites, whoever is honest is served meanwhile, and the admin listener answers.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::support::client::{Connection, get, request};
use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan, TestKey};
use crate::support::h2::{END_HEADERS, Frames, HEADERS, SETTINGS, block, talk};
use crate::support::tls::{self, CRM};
use crate::support::{PATIENCE, eventually, h2};
use crate::upgrade::{ACCEPT, ASK, echoing};
use crate::wire_h2;

/// All of 127.0.0.0/8 is this machine.
pub fn local(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// A connection from an address of this machine.
pub fn open_from(from: IpAddr, to: SocketAddr) -> Connection {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Connection::over(stream)
}

/// The status that a request from there gets; `None` if the connection was closed instead.
pub fn status_from(from: IpAddr, to: SocketAddr, key: &TestKey) -> Option<u16> {
    let mut connection = open_from(from, to);
    connection.send(request("GET", "/api/x", &[&key.header()], ""));
    connection.answer().map(|answer| answer.status)
}

fn shed(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric(&format!("sidelock_connections_shed_total{{reason=\"{reason}\"}}"))
}

/// The gateway's memory, in MiB.
pub fn resident(gateway: &Gateway) -> f64 {
    gateway.metric("process_resident_memory_bytes") / f64::from(1 << 20)
}

#[test]
fn many_addresses_share_what_one_alone_may_not_take() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let limits = "[limits]\nconnections = 10\nconnections_per_address = 4\n";
    let gateway = Plan::before(&crm).key(&key).with(limits).start();
    let hold = |last: u8| {
        let mut connection = open_from(local(last), gateway.address);
        connection.send(request("GET", "/api/x", &[&key.header()], ""));
        (connection.answer().unwrap().status, connection)
    };
    let mut held: Vec<_> = (0..4).map(|_| hold(2)).collect();
    assert!(held.iter().all(|(status, _)| *status == 200));
    assert_eq!((hold(2).0, shed(&gateway, "address")), (503, 1.0));
    assert_eq!(status_from(local(3), gateway.address, &key), Some(200), "the others are served");
    held.extend((3..9).map(hold));
    assert!(held.iter().all(|(status, _)| *status == 200));
    // A hundred at once: none is left without a word, and each leaves at once.
    let turned: Vec<u16> = (0..100).map(|at| hold(10 + at).0).collect();
    assert_eq!((turned, shed(&gateway, "all")), (vec![503; 100], 100.0));
    assert_eq!(get(gateway.admin, "/readyz", &[]).status, 200);
    assert_eq!(gateway.metric("sidelock_connections"), 10.0);
    drop(held);
    eventually("there is room again", || {
        (status_from(local(2), gateway.address, &key) == Some(200)).then_some(())
    });
}

#[test]
fn halves_of_heads_and_hoarded_connections_end_in_time() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let config = "[limits]\nconnections = 20\n[timeouts]\nrequest_head = \"2s\"\nkeep_alive = \"2s\"\ndrain_accept = \"0s\"\n";
    let gateway = Plan::before(&crm).key(&key).with(config).start();
    for begin in ["GET /api/x HTTP/1.1\r\nX-", "", &request("GET", "/api/x", &[&key.header()], "")] {
        // A client that has left may hold its place for a moment more.
        eventually("nobody is there", || (gateway.metric("sidelock_connections") == 0.0).then_some(()));
        let mut held: Vec<_> = (0..20).map(|_| Connection::open(gateway.address)).collect();
        held.iter_mut().for_each(|connection| connection.send(begin));
        eventually("they are all there", || (gateway.metric("sidelock_connections") == 20.0).then_some(()));
        let before = shed(&gateway, "all");
        assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 503);
        assert_eq!((shed(&gateway, "all"), get(gateway.admin, "/healthz", &[]).status), (before + 1.0, 200));
        eventually("they are gone", || (gateway.get("/api/x", &[&key.header()]).status == 200).then_some(()));
        assert!(held.iter_mut().all(Connection::is_closed));
    }
}

#[test]
fn handshakes_that_do_not_come_leave_room() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let config = "[[listener]]\naddress = \"127.0.0.1:0\"\ncertificate = { file = \"crm.pem\", key = \"crm.key\" }\n[limits]\nconnections = 8\n[timeouts]\ntls_handshake = \"700ms\"\ndrain_accept = \"0s\"\n";
    let plan = Plan::before(&crm).key(&key).with(config);
    let gateway = plan.file("crm.pem", CRM.0).file("crm.key", CRM.1).start();
    let mut held: Vec<_> = (0..4).map(|_| Connection::open(gateway.second())).collect();
    // The first bytes of a handshake are no handshake.
    held.iter_mut().for_each(|connection| connection.send([22, 3, 1]));
    eventually("they are there", || (gateway.metric("sidelock_connections") == 4.0).then_some(()));
    let honest = || tls::connect(gateway.second(), "crm.example", &tls::client(None, &[]));
    assert!(honest().is_err(), "only half of all may shake hands at once");
    assert_eq!(shed(&gateway, "handshakes"), 1.0);
    assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 200, "without TLS there is room");
    assert!(held.iter_mut().all(Connection::is_closed));
    let mut connection = honest().unwrap();
    connection.send(request("GET", "/api/x", &[&key.header()], ""));
    assert_eq!(connection.answer().unwrap().status, 200);
    assert_eq!(gateway.metric("sidelock_tls_handshakes_total{result=\"timeout\"}"), 4.0);
}

const PROXIED: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = true\n[client_address]\ntrusted_proxies = [\"127.0.0.1\"]\n";

#[test]
fn half_a_proxy_header_holds_a_place_only_so_long() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let config = "[limits]\nconnections = 6\n[timeouts]\nrequest_head = \"600ms\"\ndrain_accept = \"0s\"\n";
    let gateway = Plan::before(&crm).key(&key).with(PROXIED).with(config).start();
    let mut held: Vec<_> = (0..6).map(|_| Connection::open(gateway.second())).collect();
    held.iter_mut().for_each(|connection| connection.send("PROXY TCP4 203.0"));
    eventually("they are there", || (gateway.metric("sidelock_connections") == 6.0).then_some(()));
    assert_eq!(get(gateway.second(), "/api/x", &[]).status, 503);
    assert_eq!(get(gateway.admin, "/readyz", &[]).status, 200);
    assert!(held.iter_mut().all(Connection::is_closed));
    assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 200);
}

#[test]
fn an_address_is_one_in_every_form_and_a_v6_network_too() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let limits = "[limits]\nconnections_per_address = 2\n";
    let gateway = Plan::before(&crm).key(&key).with(PROXIED).with(limits).start();
    let hold = |client: &str| {
        let mut connection = Connection::open(gateway.second());
        connection.send(format!("PROXY {client} 4 5\r\n{}", request("GET", "/api/x", &[&key.header()], "")));
        (connection.answer().unwrap().status, connection)
    };
    let (one, other) = (hold("TCP6 2001:db8::1 ::1"), hold("TCP6 2001:db8::ffff:1 ::1"));
    let (plain, mapped) = (hold("TCP4 203.0.113.7 127.0.0.1"), hold("TCP6 ::ffff:203.0.113.7 ::1"));
    assert_eq!([one.0, other.0, plain.0, mapped.0], [200; 4]);
    for full in ["TCP6 2001:db8::2 ::1", "TCP4 203.0.113.7 127.0.0.1", "TCP6 ::ffff:203.0.113.7 ::1"] {
        assert_eq!(hold(full).0, 503, "{full}");
    }
    for next in ["TCP6 2001:db8:0:1::1 ::1", "TCP4 203.0.113.8 127.0.0.1"] {
        assert_eq!(hold(next).0, 200, "{next}");
    }
}

#[test]
fn a_tunnel_keeps_its_place() {
    for limit in ["connections = 2", "connections_per_address = 2"] {
        let crm = echoing(ACCEPT);
        let key = TestKey::new(&["read"], "");
        let gateway = Plan::before(&crm).key(&key).with(&format!("[limits]\n{limit}\n")).start();
        let open = || {
            let mut connection = Connection::open(gateway.address);
            let header = key.header();
            connection.send(request("GET", "/api/socket", &[&ASK[..], &[&header]].concat(), ""));
            (connection.answer().unwrap().status, connection)
        };
        let tunnels = [open(), open()];
        assert_eq!(tunnels.each_ref().map(|(status, _)| *status), [101, 101]);
        assert_eq!((open().0, gateway.metric("sidelock_connections")), (503, 2.0), "{limit}");
        drop(tunnels);
        eventually("there is room again", || (open().0 == 101).then_some(()));
    }
}

#[test]
fn the_admin_listener_has_a_room_of_its_own() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let enter = || {
        let mut connection = Connection::open(gateway.admin);
        connection.send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        connection.answer().filter(|answer| answer.status == 200).map(|answer| (connection, answer.text()))
    };
    // Who asked whether the gateway is ready may not have left yet.
    let (mut open, told): (Vec<_>, Vec<_>) = (0..64).map(|_| eventually("there is room", enter)).unzip();
    let refused = |text: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("sidelock_connections_shed_total{reason=\"admin\"} "));
        line.map_or(0, |count| count.parse::<u32>().unwrap())
    };
    let before = refused(told.last().unwrap());
    let mut late = Connection::open(gateway.admin);
    let answer = late.answer().unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 200);
    open[7].send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(refused(&open[7].answer().unwrap().text()), before + 1);
    drop(open);
    eventually("there is room again", || (shed(&gateway, "admin") >= 1.0).then_some(()));
}

#[test]
fn no_more_connections_than_descriptors() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "");
    let mut plan = Plan::before(&crm).key(&key);
    plan.descriptors = Some(400);
    let gateway = plan.start();
    // Half is kept for all else, and a third of the rest for the CRM.
    assert!(
        gateway.said.text().contains("connections = 10000: 134 of clients at once, 33 to the CRM"),
        "{}",
        gateway.said.text()
    );
    let open: Vec<_> = (0..160).map(|_| Connection::open(gateway.address)).collect();
    eventually("as many as fit", || (shed(&gateway, "all") == 26.0).then_some(()));
    assert_eq!(gateway.metric("sidelock_connections"), 134.0);
    assert!(gateway.metric("process_open_fds") < 300.0);
    drop(open);
    eventually("there is room again", || (gateway.status_of(&key) == Some(200)).then_some(()));
    assert!(!gateway.said.text().contains("connections cannot be accepted"));
}

/// One field that HPACK's table remembers, and then a byte for each time it is meant.
#[test]
fn a_header_bomb_over_http_2_is_refused() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let gateway = wire_h2::start(&crm, &key, "");
    let before = resident(&gateway);
    let mut frames = Frames::open(gateway.second());
    let mut bomb = wire_h2::asking(&key);
    bomb.extend([0x40, 1, b'x', 0x7f, 0x80 + 0x21, 0x1e]);
    bomb.extend([b'a'; 4_000]);
    bomb.extend([0x80 + 62; 8_000]);
    for stream in 0..50 {
        frames.send(HEADERS, END_HEADERS | h2::END_STREAM, stream * 2 + 1, &bomb);
        // What the table remembers already is a bomb of its own.
        bomb = [wire_h2::asking(&key), vec![0x80 + 62; 8_000]].concat();
    }
    assert!(std::iter::from_fn(|| frames.next()).take(50).count() > 0, "it is told");
    let crumbs = |count: usize| {
        let request = http::Request::get("http://crm.example/api/x").header("x-api-key", &key.text);
        let request =
            (0..count).fold(request, |request, _| request.header("cookie", "a=b")).body(()).unwrap();
        talk(gateway.second(), |sender| async move { h2::ask(&sender, request, None).await.unwrap().status })
    };
    assert_eq!((crm.seen.count(), crumbs(300), crumbs(1_000)), (0, 200, 431));
    assert_eq!(crm.seen.count(), 1);
    let grown = resident(&gateway) - before;
    assert!(grown < 20.0, "{grown} MiB for 50 heads of 32 MB");
    let plain = block(&[(":method", "GET")]);
    assert!(Frames::open(gateway.second()).send(HEADERS, END_HEADERS, 1, &plain), "the gateway lives");
}

/// Each is to be answered, and the answers are not read.
#[test]
fn floods_of_pings_and_settings_end() {
    const PING: u8 = 6;
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let times = "[timeouts]\nclient_write_idle = \"1s\"\nkeep_alive = \"1h\"\nrequest_head = \"1h\"\ndrain_accept = \"0s\"\n";
    let gateway = wire_h2::start(&crm, &key, times);
    let before = resident(&gateway);
    for (kind, payload) in [(PING, &[7; 8][..]), (SETTINGS, &[0, 4, 0, 0, 255, 255])] {
        let mut frames = Frames::open(gateway.second());
        frames.0.set_write_timeout(Some(PATIENCE)).unwrap();
        let sent = (0..3_000_000).take_while(|_| frames.send(kind, 0, 0, payload)).count();
        assert!(sent < 3_000_000, "{kind}: all were taken");
        eventually("it is cut", || (gateway.metric("sidelock_connections") == 0.0).then_some(()));
    }
    let grown = resident(&gateway) - before;
    assert!(grown < 20.0, "{grown} MiB");
}

#[test]
fn a_pipelined_flood_is_worked_off_one_by_one() {
    const COUNT: usize = 4_000;
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], "rate = \"100000/s\""));
    let gateway = Plan::before(&crm).key(&key).start();
    let before = resident(&gateway);
    let mut connection = Connection::open(gateway.address);
    let mut writer = connection.stream.try_clone().unwrap();
    let flood = request("GET", "/api/x", &[&key.header()], "").repeat(COUNT);
    let writing = std::thread::spawn(move || writer.write_all(flood.as_bytes()));
    eventually("they are coming", || (crm.seen.count() > 50).then_some(()));
    assert!(gateway.metric("sidelock_in_flight") <= 1.0, "one at a time");
    assert_eq!(gateway.status_of(&key), Some(200), "others are served meanwhile");
    for at in 0..COUNT {
        assert_eq!(connection.answer().map(|answer| answer.status), Some(200), "{at}");
    }
    writing.join().unwrap().unwrap();
    let grown = resident(&gateway) - before;
    assert!(grown < 20.0, "{grown} MiB");
    assert_eq!(crm.seen.count(), COUNT + 1);
}

/// The first bytes of what a connection says; none if it was closed.
pub fn hears(connection: &mut Connection) -> usize {
    let mut bytes = [0; 64];
    connection.stream.read(&mut bytes).unwrap_or(0)
}
