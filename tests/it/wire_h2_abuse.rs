//! HTTP/2 from clients who mean no good: every flood ends, and takes nothing along.

use std::time::{Duration, Instant};

use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::TestKey;
use crate::support::h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RESET, ask, block, talk,
};
use crate::wire_h2::{asking, endless, silent, start};

#[test]
fn no_more_than_a_hundred_requests_at_once() {
    let (crm, key) = (silent(), TestKey::new(&["read"], ""));
    let gateway = start(&crm, &key, "");
    let mut frames = Frames::open(gateway.second());
    let fields = asking(&key);
    for stream in 0..101 {
        frames.send(HEADERS, END_STREAM | END_HEADERS, stream * 2 + 1, &fields);
    }
    let refused = frames.until(|frame| frame.kind == RESET).unwrap();
    assert_eq!((refused.stream, &*refused.payload), (201, &[0, 0, 0, 7][..]), "REFUSED_STREAM");
    eventually("the others are under way", || (crm.seen.count() == 100).then_some(()));
    assert_eq!(gateway.metric("sidelock_in_flight"), 100.0);
    drop(frames);
    eventually("all end with their connection", || {
        (gateway.metric("sidelock_in_flight") == 0.0).then_some(())
    });
}

/// Rapid reset (CVE-2023-44487): asked for and taken back, without end.
#[test]
fn a_flood_of_resets_ends_the_connection() {
    let flood = |patient: bool| {
        let (crm, key) = (silent(), TestKey::new(&["read"], "rate = \"100000/s\""));
        let gateway = start(&crm, &key, "");
        let (mut frames, fields) = (Frames::open(gateway.second()), asking(&key));
        let cut = (0..1_000_u32).position(|at| {
            let (stream, before) = (at * 2 + 1, crm.seen.count());
            let sent = frames.send(HEADERS, END_STREAM | END_HEADERS, stream, &fields);
            if patient && sent {
                let is_over = || crm.seen.count() > before || gateway.metric("sidelock_connections") == 0.0;
                // Not for ever: a request that was answered without the CRM is one of the flood too.
                let deadline = Instant::now() + Duration::from_secs(1);
                while !is_over() && Instant::now() < deadline {
                    std::thread::park_timeout(Duration::from_millis(2));
                }
            }
            !(sent && frames.send(RESET, 0, stream, &[0, 0, 0, 8]))
        });
        assert!(cut.is_some() || std::iter::from_fn(|| frames.next()).count() < 20_000, "it ended");
        eventually("nothing is left", || (gateway.metric("sidelock_connections") == 0.0).then_some(()));
        assert_eq!(gateway.get("/api/x", &[]).status, 401, "the gateway lives");
        (cut, crm.seen.count())
    };
    let (_, at_once) = flood(false);
    assert!(at_once < 300, "{at_once}");
    let (cut, one_by_one) = flood(true);
    // Each that was taken back counts, whether or not it had reached the CRM.
    assert!(cut.is_some_and(|cut| (200..210).contains(&cut)), "{cut:?}");
    assert!(one_by_one < 210, "{one_by_one}");
}

/// `MadeYouReset` (CVE-2025-8671): the client makes the server take back what was asked for.
#[test]
fn a_flood_of_provoked_resets_ends_the_connection() {
    let (crm, key) = (silent(), TestKey::new(&["read"], "rate = \"100000/s\""));
    let gateway = start(&crm, &key, "");
    let mut frames = Frames::open(gateway.second());
    let fields = asking(&key);
    const WINDOW_UPDATE: u8 = 8;
    let cut = (0..5_000).position(|at| {
        let stream = at * 2 + 1;
        !(frames.send(HEADERS, END_STREAM | END_HEADERS, stream, &fields)
            && frames.send(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]))
    });
    assert!(cut.is_some() || std::iter::from_fn(|| frames.next()).count() < 20_000, "it ended");
    assert!(crm.seen.count() < 500, "{}", crm.seen.count());
    eventually("nothing is left", || (gateway.metric("sidelock_connections") == 0.0).then_some(()));
}

#[test]
fn a_flood_of_continuations_ends_the_connection() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let gateway = start(&crm, &key, "");
    let mut frames = Frames::open(gateway.second());
    frames.send(HEADERS, END_STREAM, 1, &block(&[(":method", "GET")]));
    let piece = block(&[("x-piece", &"a".repeat(1000))]);
    let cut = (0..50_000).position(|_| !frames.send(CONTINUATION, 0, 1, &piece));
    assert!(cut.is_some(), "50 MB of one head were taken");
    assert_eq!(crm.seen.count(), 0);
}

#[test]
fn idle_connections_and_dripped_heads_end() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let times = "[timeouts]\nrequest_head = \"400ms\"\nkeep_alive = \"700ms\"\ndrain_accept = \"0s\"\n";
    let gateway = start(&crm, &key, times);
    let started = Instant::now();
    let mut frames = Frames::open(gateway.second());
    frames.send(HEADERS, END_STREAM, 1, &block(&[(":method", "GET")]));
    assert!(frames.until(|_| false).is_none(), "a head without end is cut");
    assert!((350..5_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    let started = Instant::now();
    let fields = asking(&key);
    let mut kept = Frames::open(gateway.second());
    kept.send(HEADERS, END_STREAM | END_HEADERS, 1, &fields);
    assert!(kept.until(|frame| frame.kind == GOAWAY).is_some(), "told first");
    assert!((600..5_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    eventually("both are gone", || (gateway.metric("sidelock_connections") == 0.0).then_some(()));
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    let (crm, key) = (endless(), TestKey::new(&["read"], ""));
    let times = "[timeouts]\nclient_write_idle = \"500ms\"\ndrain_accept = \"0s\"\n";
    let gateway = start(&crm, &key, times);
    let mut frames = Frames::open(gateway.second());
    let fields = asking(&key);
    frames.send(HEADERS, END_STREAM | END_HEADERS, 1, &fields);
    let started = Instant::now();
    // Its first window, and no word of more.
    let mut bytes = 0;
    while let Some(frame) = frames.next() {
        bytes += if frame.kind == DATA { frame.payload.len() } else { 0 };
    }
    assert_eq!(bytes, 65_535);
    assert!((450..4_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    eventually("it is gone", || (gateway.metric("sidelock_in_flight") == 0.0).then_some(()));
}

#[test]
fn requests_of_all_connections_are_bounded_together() {
    let (crm, key) = (silent(), TestKey::new(&["read"], ""));
    let gateway = start(&crm, &key, "[limits]\nconnections = 5\n");
    let mut frames = Frames::open(gateway.second());
    for stream in 0..5 {
        frames.send(HEADERS, END_STREAM | END_HEADERS, stream * 2 + 1, &asking(&key));
    }
    eventually("five are under way", || (crm.seen.count() == 5).then_some(()));
    let address = gateway.second();
    let one_more = move || {
        let request = http::Request::get("http://crm.example/api/x").body(()).unwrap();
        talk(address, |sender| async move { ask(&sender, request, None).await.unwrap() })
    };
    let answer = one_more();
    assert_eq!((answer.status, &answer.headers["retry-after"]), (503, &"1".parse().unwrap()));
    drop(frames);
    eventually("there is room again", || (one_more().status == 401).then_some(()));
}
