//! Upgrades: the sockets live on, nothing is lost, and what fails to start changes nothing.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::client::{self, Connection, request};
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey, is_gone};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Upgrades by command; the new process's id.
fn upgraded(gateway: &Gateway) -> u32 {
    let old = gateway.pid().unwrap();
    let output = gateway.command(&["upgrade"]);
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
    let (gateway, key) = Gateway::reading(&crm);
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
