//! PROXY protocol headers and socket files.

use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use crate::support::client::{Connection, request};
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};
use crate::support::tls::{self, CRM};
use crate::support::{PATIENCE, crm};

const PROXIED: &str = r#"
[[listener]]
address = "127.0.0.1:0"
proxy_protocol = true
[client_address]
trusted_proxies = ["127.0.0.1"]
"#;

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, body].concat()
}

fn forwarded(crm: &Crm) -> String {
    let seen = crm.seen.last().to_ascii_lowercase();
    seen.lines().find_map(|line| line.strip_prefix("x-forwarded-for: ")).unwrap().to_owned()
}

#[test]
fn the_client_is_whom_the_header_names() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "allow_from = [\"203.0.113.7\", \"2001:db8::7\", \"127.0.0.1\"]");
    let gateway = Plan::before(&crm).key(&key).with(PROXIED).start();
    let ask = |header: &[u8], more: &str| {
        let mut connection = Connection::open(gateway.second());
        connection.send([header, request("GET", "/api/x", &[&key.header(), more], "").as_bytes()].concat());
        connection.answer().map(|answer| answer.status)
    };
    let v4 = [203, 0, 113, 7, 127, 0, 0, 1, 1, 2, 3, 4];
    let forged = "X-Forwarded-For: 203.0.113.7";
    assert_eq!(ask(b"PROXY TCP4 203.0.113.7 127.0.0.1 4 5\r\n", "A: b"), Some(200));
    assert_eq!(forwarded(&crm), "203.0.113.7");
    assert_eq!(ask(b"PROXY TCP6 2001:db8::7 ::1 4 5\r\n", "A: b"), Some(200));
    assert_eq!(forwarded(&crm), "2001:db8::7");
    assert_eq!(ask(&v2(0x21, 0x11, &v4), "A: b"), Some(200));
    assert_eq!(
        ask(b"PROXY TCP4 203.0.113.8 127.0.0.1 4 5\r\n", forged),
        Some(403),
        "its own words do not count"
    );
    // The proxy itself, and the chain that it sends.
    assert_eq!(ask(b"PROXY UNKNOWN\r\n", forged), Some(200));
    assert_eq!(forwarded(&crm), "203.0.113.7");
    assert_eq!(ask(&v2(0x20, 0, b""), forged), Some(200));
    let count = crm.seen.count();
    for bad in [
        &b""[..],
        b"PROXY TCP4 203.0.113.7 127.0.0.1 4\r\n",
        b"PROXY TCP4 203.0.113.7 127.0.0.1 4 5\n",
        &v2(0x21, 0x11, &v4[..8]),
        &v2(0x21, 0x12, &v4),
        b"PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n",
    ] {
        assert_ne!(ask(bad, "A: b"), Some(200), "{bad:?}");
    }
    assert_eq!(crm.seen.count(), count);
}

#[test]
fn a_header_comes_in_pieces_but_in_time_and_from_the_trusted() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let times = "[timeouts]\nrequest_head = \"400ms\"\ndrain_accept = \"0s\"\n";
    let gateway = Plan::before(&crm).key(&key).with(PROXIED).with(times).start();
    let whole =
        format!("PROXY TCP4 203.0.113.7 127.0.0.1 4 5\r\n{}", request("GET", "/api/x", &[&key.header()], ""));
    let mut pieces = Connection::open(gateway.second());
    whole.as_bytes().chunks(7).for_each(|piece| pieces.stream.write_all(piece).unwrap());
    assert_eq!(pieces.answer().unwrap().status, 200);
    let started = Instant::now();
    let mut slow = Connection::open(gateway.second());
    slow.send("PROXY TCP4");
    assert!(slow.is_closed());
    assert!((350..3_000).contains(&started.elapsed().as_millis()));

    let stranger = PROXIED.replace("[\"127.0.0.1\"]", "[\"192.0.2.1\"]");
    let gateway = Plan::before(&crm).key(&key).with(&stranger).start();
    let mut connection = Connection::open(gateway.second());
    connection.send(&whole);
    assert!(connection.answer().is_none(), "cut, whatever it says");
    assert_eq!(crm.seen.count(), 1);
    eventually("it is counted", || {
        (gateway.metric("sidelock_denied_total{key=\"unknown\",reason=\"address\"}") == 1.0).then_some(())
    });
}

#[test]
fn before_tls_too() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let listener =
        PROXIED.replace("[client", "certificate = { file = \"crm.pem\", key = \"crm.key\" }\n[client");
    let gateway =
        Plan::before(&crm).key(&key).with(&listener).file("crm.pem", CRM.0).file("crm.key", CRM.1).start();
    let mut connection =
        tls::connect_after(b"PROXY TCP4 203.0.113.7 127.0.0.1 4 5\r\n", gateway.second(), "crm.example")
            .unwrap();
    connection.send(request("GET", "/api/x", &[&key.header()], ""));
    assert_eq!(connection.answer().unwrap().status, 200);
    assert_eq!(forwarded(&crm), "203.0.113.7");
}

fn knock(gateway: &Gateway, key: &TestKey) -> Option<u16> {
    let stream = UnixStream::connect(gateway.folder.path().join("door.sock")).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut connection = Connection::over(stream);
    connection.send(request("GET", "/api/x", &[&key.header()], ""));
    connection.answer().map(|answer| answer.status)
}

#[test]
fn a_socket_file_is_made_replaced_and_removed() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "allow_from = [\"127.0.0.1\"]");
    let listener = "[[listener]]\nunix = \"door.sock\"\nmode = \"0660\"\n";
    let mut gateway = Plan::before(&crm).key(&key).with(listener).start();
    let path = gateway.folder.path().join("door.sock");
    let metadata = std::fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    assert_eq!(knock(&gateway, &key), Some(200), "whoever comes by it counts as 127.0.0.1");
    assert_eq!(forwarded(&crm), "127.0.0.1");
    assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 200);
    gateway.stop();
    assert!(!path.exists());

    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a stale one");
    gateway.again();
    assert_eq!(knock(&gateway, &key), Some(200));
    gateway.stop();
    let held = UnixListener::bind(&path).unwrap();
    let failed = start_again(&gateway);
    assert!(failed.contains("cannot listen on unix:") && failed.contains("in use"), "{failed}");
    drop(held);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert!(start_again(&gateway).contains("no socket is there"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

fn start_again(gateway: &Gateway) -> String {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_sidelock"))
        .args(["run", "--config"])
        .arg(gateway.config_file())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
        }
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_crm_behind_a_socket_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crm.sock");
    let key = TestKey::new(&["read"], "");
    let seen = crm::at_path(&path, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let mut plan = Plan::before(&Crm::usual()).key(&key);
    plan.upstream = format!("url = \"unix:{}\"", path.display());
    let gateway = plan.start();
    let mut connection = Connection::open(gateway.address);
    for _ in 0..3 {
        connection.send(request("GET", "/api/x", &[&key.header()], ""));
        let answer = connection.answer().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }
    assert!(seen.last().contains("\r\nhost: crm.example\r\n"), "{}", seen.last());
    assert_eq!((seen.count(), seen.connections()), (3, 1), "connections are kept");
}
