//! Upgrades: the sockets live on, nothing is lost, and what fails to start changes nothing.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use ring::hmac;

use crate::support::client::{self, Connection, request};
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey, is_gone};

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What is said while the process is there that was replaced last.
const STILL_ENDING: &str = "the previous process is still ending: try again";

/// Upgrades by command, as soon as the one before is over; the new process's id.
pub fn upgraded(gateway: &Gateway) -> u32 {
    let old = gateway.pid().unwrap();
    let output = eventually("the upgrade is not put off", || {
        let output = gateway.command(&["upgrade"]);
        (!said(&output).contains(STILL_ENDING)).then_some(output)
    });
    assert!(output.status.success(), "{}", said(&output));
    let new = gateway.pid().unwrap();
    assert_ne!(old, new);
    assert!(said(&output).contains(&format!("process {new} runs")), "{}", said(&output));
    new
}

#[test]
fn an_upgrade_by_command_and_by_signal_keeps_the_sockets() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    assert_eq!(gateway.status_of(&key), Some(200));
    let first = gateway.pid().unwrap();
    let second = upgraded(&gateway);
    eventually("the old process ends", || is_gone(first).then_some(()));
    let end = "the process that was replaced has ended";
    eventually("the new one knows", || gateway.said.text().contains(end).then_some(()));
    assert_eq!(gateway.status_of(&key), Some(200));
    assert_eq!(client::get(gateway.admin, "/readyz", &[]).status, 200);
    gateway.signal_process(second, "USR2");
    let third = eventually("another takes over", || gateway.pid().filter(|pid| *pid != second));
    eventually("the one before ends", || is_gone(second).then_some(()));
    assert_eq!(gateway.status_of(&key), Some(200));
    assert!(!is_gone(third));
    assert_eq!(gateway.log(3).len(), 3, "each wrote its line");
}

#[test]
fn nothing_is_lost_under_load_and_readiness_has_no_gap() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "rate = \"100000/s burst 100000\"");
    let gateway = Plan::before(&crm).key(&key).start();
    let (over, lost, served) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let (over, lost, served) = (Arc::new(over), Arc::new(lost), Arc::new(served));
    let mut threads = Vec::new();
    for (address, path, status) in
        [(gateway.address, "/api/x", 200), (gateway.address, "/api/y", 200), (gateway.admin, "/readyz", 200)]
    {
        let (over, lost, served) = (Arc::clone(&over), Arc::clone(&lost), Arc::clone(&served));
        let header = key.header();
        threads.push(std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let answer = client::try_get(address, path, &[&header]);
                match answer.map(|answer| answer.status) {
                    Some(got) if got == status => served.fetch_add(1, Ordering::Relaxed),
                    other => {
                        eprintln!("{path}: {other:?}");
                        lost.fetch_add(1, Ordering::Relaxed)
                    }
                };
            }
        }));
    }
    threads.push(std::thread::spawn(keep_asking(&gateway, &key, &over, &lost, &served)));
    for _ in 0..3 {
        upgraded(&gateway);
        let before = served.load(Ordering::Relaxed);
        eventually("requests go on", || (served.load(Ordering::Relaxed) > before + 200).then_some(()));
    }
    over.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(lost.load(Ordering::Relaxed), 0, "of {}", served.load(Ordering::Relaxed));
}

/// Over one connection for as long as its answers do not say that they are the last.
fn keep_asking(
    gateway: &Gateway,
    key: &TestKey,
    over: &Arc<AtomicBool>,
    lost: &Arc<AtomicUsize>,
    served: &Arc<AtomicUsize>,
) -> impl FnOnce() + Send + 'static {
    let (over, lost, served) = (Arc::clone(over), Arc::clone(lost), Arc::clone(served));
    let (address, header) = (gateway.address, key.header());
    move || {
        let mut connection = Connection::open(address);
        while !over.load(Ordering::Relaxed) {
            connection.send(request("GET", "/api/kept", &[&header], ""));
            let answer = connection.answer();
            if !answer.as_ref().is_some_and(|answer| answer.keeps_connection()) {
                connection = Connection::open(address);
            }
            let counter = if answer.is_some_and(|answer| answer.status == 200) { &served } else { &lost };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn what_waits_in_the_backlog_is_served_by_the_new_process() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let mut early = Connection::open(gateway.address);
    upgraded(&gateway);
    early.send(request("GET", "/api/x", &[&key.header()], ""));
    assert_eq!(early.answer().map(|answer| answer.status), Some(200), "connected before, asked after");
}

#[test]
fn bad_files_change_nothing() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let pid = gateway.pid().unwrap();
    let good = std::fs::read_to_string(gateway.config_file()).unwrap();
    std::fs::write(gateway.config_file(), good.replace("[upstream]", "[upstrean]")).unwrap();
    assert_eq!(gateway.command(&["upgrade"]).status.code(), Some(2));
    gateway.signal("USR2");
    eventually("it tells", || gateway.said.text().contains("no upgrade: this process goes on").then_some(()));
    assert_eq!((gateway.pid(), gateway.status_of(&key)), (Some(pid), Some(200)));
    // A port that somebody else has.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen = [\"127.0.0.1:0\", \"{}\"]", taken.local_addr().unwrap());
    std::fs::write(gateway.config_file(), good.replace("listen = [\"127.0.0.1:0\"]", &listen)).unwrap();
    let output = gateway.command(&["upgrade"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("cannot listen on 127.0.0.1"), "{}", said(&output));
    assert_eq!((gateway.pid(), gateway.status_of(&key)), (Some(pid), Some(200)));
    std::fs::write(gateway.config_file(), good).unwrap();
    upgraded(&gateway);
    assert_eq!(gateway.status_of(&key), Some(200));
}

#[test]
fn what_was_delivered_is_a_duplicate_and_what_is_under_way_waits() {
    let (let_go, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    let crm = Crm::with(move |mut stream, seen| {
        while let Some(request) = seen.read(&mut stream) {
            if request.ends_with("slow") {
                told.lock().recv().unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        }
    });
    let webhook =
        "[[webhook]]\nname = \"hook\"\npath = \"/hook\"\nsender = \"github\"\nsecrets = [\"env:HOOK\"]\n";
    let mut plan = Plan::before(&crm).with(webhook);
    let secret = "hook-secret-hook-secret-hook-secret";
    plan.environment = vec![("HOOK", secret.to_owned())];
    let gateway = plan.start();
    let post = |body: &str| {
        let sign = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body.as_bytes());
        let hex: String = sign.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut connection = Connection::open(gateway.address);
        let line = format!("X-Hub-Signature-256: sha256={hex}");
        connection.send(request("POST", "/hook", &[&line], body));
        connection
    };
    let status = |mut connection: Connection| connection.answer().map(|answer| answer.status);
    assert_eq!(status(post("once")), Some(200));
    let mut slow = post("slow");
    eventually("it is under way", || (crm.seen.count() == 2).then_some(()));
    upgraded(&gateway);
    assert_eq!((status(post("once")), crm.seen.count()), (Some(200), 2), "a duplicate goes nowhere");
    assert_eq!(status(post("slow")), Some(503), "the old process is at it");
    let third = gateway.command(&["upgrade"]);
    assert_eq!(third.status.code(), Some(1), "a third would not know");
    assert!(said(&third).contains(STILL_ENDING), "{}", said(&third));
    assert_eq!(status(post("slow")), Some(503), "the old process is still at it");
    let_go.send(()).unwrap();
    assert_eq!(slow.answer().map(|answer| answer.status), Some(200));
    eventually("the new process knows", || (status(post("slow")) == Some(200)).then_some(()));
    upgraded(&gateway);
    assert_eq!((status(post("slow")), crm.seen.count()), (Some(200), 2), "the third knows");
}

#[test]
fn bans_the_pass_and_last_uses_go_over() {
    let crm = Crm::usual();
    let (mut gateway, key) = Gateway::reading(&crm);
    assert_eq!(gateway.status_of(&key), Some(200));
    assert!(gateway.command(&["bans", "add", "192.0.2.1", "--for", "1h"]).status.success());
    let pass = std::fs::read(gateway.folder.path().join("state/admin.json")).unwrap();
    upgraded(&gateway);
    assert_eq!(std::fs::read(gateway.folder.path().join("state/admin.json")).unwrap(), pass);
    let bans = gateway.command(&["bans", "list"]);
    assert!(String::from_utf8_lossy(&bans.stdout).contains("192.0.2.1"), "{}", said(&bans));
    let used = format!("sidelock_key_last_used_timestamp_seconds{{key=\"{}\"}}", key.id);
    assert!(gateway.metric(&used) > 1e9);
    gateway.stop();
    let kept = std::fs::read_to_string(gateway.folder.path().join("state/last-used.ndjson")).unwrap();
    assert!(kept.contains(&key.id), "{kept}");
}

#[test]
fn listeners_come_and_go_with_the_files_and_socket_files_stay() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "");
    let unix = "[[listener]]\nunix = \"door.sock\"\n";
    let other = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
    let mut gateway = Plan::before(&crm).key(&key).with(unix).with(other).start();
    let file = gateway.folder.path().join("door.sock");
    let over_file = || {
        let mut connection = Connection::over(UnixStream::connect(&file).unwrap());
        connection.send(request("GET", "/api/x", &[&key.header()], ""));
        connection.answer().map(|answer| answer.status)
    };
    let leaving: std::net::SocketAddr = gateway.listeners()[2].parse().unwrap();
    let text = std::fs::read_to_string(gateway.config_file()).unwrap();
    std::fs::write(gateway.config_file(), text.replace(other, "")).unwrap();
    let old = gateway.pid().unwrap();
    upgraded(&gateway);
    eventually("the old process ends", || is_gone(old).then_some(()));
    assert_eq!((over_file(), gateway.status_of(&key)), (Some(200), Some(200)));
    assert!(std::net::TcpStream::connect(leaving).is_err(), "nobody listens there any more");
    std::fs::write(gateway.config_file(), text).unwrap();
    upgraded(&gateway);
    assert_eq!(over_file(), Some(200));
    let coming = gateway.listeners().last().unwrap().parse().unwrap();
    assert_eq!(client::get(coming, "/api/x", &[&key.header()]).status, 200);
    gateway.stop();
    assert!(!file.exists(), "the last one removes it");
}

#[test]
fn a_tunnel_lives_on_in_the_old_process_until_its_limit() {
    let crm = crate::upgrade::echoing(crate::upgrade::ACCEPT);
    let key = TestKey::new(&["read"], "");
    let gateway =
        Plan::before(&crm).key(&key).with("[timeouts]\ndrain_accept = \"0s\"\ndrain = \"2s\"\n").start();
    let header = key.header();
    let mut tunnel = Connection::open(gateway.address);
    tunnel.send(request("GET", "/api/socket", &[&crate::upgrade::ASK[..], &[&header]].concat(), ""));
    assert_eq!(tunnel.answer().map(|answer| answer.status), Some(101));
    let old = gateway.pid().unwrap();
    upgraded(&gateway);
    tunnel.send("ping");
    assert_eq!(tunnel.some(), b"ping");
    assert!(tunnel.is_closed());
    eventually("the old process ends", || is_gone(old).then_some(()));
    assert_eq!(gateway.log(1)[0]["end"], "drained");
    assert!(!gateway.said.text().contains("were cut"), "{}", gateway.said.text());
}
