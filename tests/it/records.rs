//! The access log's files under a running gateway: rotated, moved away, sampled; and read back.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use sidelock::records::reading::{Query, Tally, read};

use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};

fn state(gateway: &Gateway) -> PathBuf {
    gateway.folder.path().join("state")
}

fn paths(log: &Path) -> (Vec<String>, Tally) {
    let mut found = Vec::new();
    let tally = read(log, &Query::default(), &mut |it| {
        found.push(it.record.path.into_owned());
        ControlFlow::Continue(())
    });
    (found, tally.unwrap())
}

#[test]
fn a_log_that_is_rotated_under_load_loses_no_line() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "");
    let gateway = Plan::before(&crm).key(&key).with("[access_log]\nrotate_size = \"4KiB\"\n").start();
    let log = state(&gateway).join("access.ndjson");
    let mut sent = 0;
    for _ in 0..3 {
        for _ in 0..30 {
            assert_eq!(gateway.get(&format!("/api/{sent}"), &[&key.header()]).status, 200);
            sent += 1;
        }
        let found = eventually("every line is there", || Some(paths(&log).0).filter(|it| it.len() == sent));
        assert!(found.iter().enumerate().all(|(at, path)| *path == format!("/api/{at}")), "in order");
    }
    let names = std::fs::read_dir(state(&gateway)).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.filter(|name| name.to_string_lossy().starts_with("access-2")).count() >= 2);
    let (_, tally) = paths(&log);
    assert_eq!((tally.broken, tally.overlong), (0, 0));
}

#[test]
fn an_external_logrotate_works_too() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    gateway.get("/api/before", &[&key.header()]);
    gateway.log(1);
    let log = state(&gateway).join("access.ndjson");
    std::fs::rename(&log, state(&gateway).join("access.ndjson.1")).unwrap();
    gateway.signal("HUP");
    eventually("a new file is there", || log.exists().then_some(()));
    gateway.get("/api/after", &[&key.header()]);
    eventually("both are read", || (paths(&log).0 == ["/api/before", "/api/after"]).then_some(()));
}

#[test]
fn a_sample_drops_no_refusal() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "");
    let mut gateway = Plan::before(&crm)
        .key(&key)
        .with("[limits]\nper_key = \"100000/min\"\nper_address_failures = \"100000/min\"\n[access_log]\nsample = \"1/10\"\n")
        .start();
    for _ in 0..100 {
        assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 200);
        assert_eq!(gateway.get("/api/x", &[]).status, 401);
    }
    gateway.stop();
    let (mut successes, mut stood_for, mut refusals) = (0, 0, 0);
    let tally = read(&state(&gateway).join("access.ndjson"), &Query::default(), &mut |it| {
        match it.record.reason {
            Some("missing") => refusals += it.record.weight(),
            _ => {
                successes += 1;
                stood_for += it.record.weight();
            }
        }
        ControlFlow::Continue(())
    });
    assert_eq!((tally.unwrap().broken, refusals), (0, 100));
    assert!((1..40).contains(&successes) && stood_for == successes * 10, "{successes}");
}
