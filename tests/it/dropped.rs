//! Whoever may not call, and is dropped before TLS and before a byte is read.

use std::process::Command;

use crate::abuse::{hears, local, open_from, status_from};
use crate::support::client::{Connection, get, request};
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};
use crate::support::tls::CRM;

const TLS: &str =
    "[[listener]]\naddress = \"127.0.0.1:0\"\ncertificate = { file = \"crm.pem\", key = \"crm.key\" }\n";
const UNKNOWN: &str = "X-API-Key: 0123456789abcdef0123456789abcdef";

fn dropped(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric(&format!("sidelock_connections_dropped_total{{reason=\"{reason}\"}}"))
}

#[test]
fn a_banned_address_meets_silence_if_that_is_wished() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let ban = "[ban]\nafter = \"3/10min\"\nexempt_loopback = false\nexempt = [\"127.0.0.9\"]\ndrop = true\n";
    let plan = Plan::before(&crm).key(&key).with(TLS).with(ban);
    let gateway = plan.file("crm.pem", CRM.0).file("crm.key", CRM.1).start();
    for from in [7, 9] {
        let mut guessing = open_from(local(from), gateway.address);
        for _ in 0..4 {
            guessing.send(request("GET", "/api/x", &[UNKNOWN], ""));
            guessing.answer().unwrap();
        }
    }
    assert_eq!(status_from(local(7), gateway.address, &key), None);
    assert_eq!(hears(&mut open_from(local(7), gateway.second())), 0, "not even a handshake");
    assert_eq!(dropped(&gateway, "banned"), 2.0);
    for other in [8, 9] {
        assert_eq!(status_from(local(other), gateway.address, &key), Some(200));
    }
    assert_eq!(gateway.log(8).len(), 8 + 2, "there is no line for what nobody heard");
    let mut lift = Command::new(env!("CARGO_BIN_EXE_sidelock"));
    lift.args(["bans", "lift", "127.0.0.7", "--config"]).arg(gateway.config_file());
    assert!(lift.output().unwrap().status.success());
    assert_eq!(status_from(local(7), gateway.address, &key), Some(200));
    // Without the wish, a ban is told.
    let config = std::fs::read_to_string(gateway.config_file()).unwrap();
    std::fs::write(gateway.config_file(), config.replace("drop = true\n", "")).unwrap();
    let mut add = Command::new(env!("CARGO_BIN_EXE_sidelock"));
    add.args(["bans", "add", "127.0.0.7", "--config"]).arg(gateway.config_file());
    assert!(add.output().unwrap().status.success());
    eventually("it is told", || (status_from(local(7), gateway.address, &key) == Some(403)).then_some(()));
}

#[test]
fn only_those_who_may_call_are_heard() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let only =
        "[client_address]\nallow_from = [\"127.0.0.2\"]\ndrop = true\ntrusted_proxies = [\"127.0.0.4\"]\n";
    let hook = "[[webhook]]\nname = \"hook\"\npath = \"/hook\"\nheader = \"x-secret\"\nsecrets = [\"env:HOOK\"]\nallow_from = [\"127.0.0.3\"]\n";
    let mut plan = Plan::before(&crm).key(&key).with(only).with(hook);
    plan.environment.push(("HOOK", "0123456789abcdef".to_owned()));
    let gateway = plan.start();
    assert_eq!(status_from(local(2), gateway.address, &key), Some(200));
    assert_eq!(status_from(local(3), gateway.address, &key), Some(403), "it may send webhooks");
    assert_eq!(status_from(local(5), gateway.address, &key), None);
    assert_eq!(dropped(&gateway, "not_allowed"), 1.0);
    // The proxy is heard, whoever stands behind it.
    let behind = |client: &str| {
        let mut connection = open_from(local(4), gateway.address);
        let forwarded = format!("X-Forwarded-For: {client}");
        connection.send(request("GET", "/api/x", &[&key.header(), &forwarded], ""));
        connection.answer().map(|answer| answer.status)
    };
    assert_eq!([behind("127.0.0.2"), behind("203.0.113.7")], [Some(200), Some(403)]);
    assert_eq!(get(gateway.admin, "/readyz", &[]).status, 200, "the admin listener has no doorkeeper");
}

#[test]
fn whom_a_proxy_header_names_is_asked_about_too() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let listener = TLS.replace("[[listener]]\n", "[[listener]]\nproxy_protocol = true\n");
    let only = "[client_address]\nallow_from = [\"203.0.113.0/24\"]\ndrop = true\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let plan = Plan::before(&crm).key(&key).with(&listener).with(only);
    let gateway = plan.file("crm.pem", CRM.0).file("crm.key", CRM.1).start();
    let mut connection = Connection::open(gateway.second());
    connection.send("PROXY TCP4 198.51.100.7 127.0.0.1 4 5\r\n");
    assert_eq!((hears(&mut connection), dropped(&gateway, "not_allowed")), (0, 1.0), "before TLS");
    let header = b"PROXY TCP4 203.0.113.7 127.0.0.1 4 5\r\n";
    let mut heard = crate::support::tls::connect_after(header, gateway.second(), "crm.example").unwrap();
    heard.send(request("GET", "/api/x", &[&key.header()], ""));
    assert_eq!(heard.answer().unwrap().status, 200);
    assert_eq!(status_from(local(5), gateway.second(), &key), None, "no proxy of ours");
}
