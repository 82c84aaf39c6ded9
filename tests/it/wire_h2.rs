//! HTTP/2 from clients: what they get, and what the CRM sees of it.

use std::io::Write;
use std::time::Instant;

use http::Request;

use crate::support::client::Connection;
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, SCOPES, TestKey};
use crate::support::h2::{
    DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RESET, ask, block, talk, whole,
};
use crate::support::tls::{self, CRM};

const H2C: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\nh2c = true\n";

pub fn start(crm: &Crm, key: &TestKey, more: &str) -> Gateway {
    Plan::before(crm).key(key).with(H2C).with(more).start()
}

fn get(key: &TestKey, target: &str) -> http::request::Builder {
    Request::get(format!("http://crm.example{target}")).header("x-api-key", &key.text)
}

/// Answers every request with a stream that goes on until the client of the CRM is gone.
pub fn endless() -> Crm {
    Crm::with(|mut stream, seen| {
        if seen.read(&mut stream).is_some() {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
            while stream.write_all(chunk.as_bytes()).is_ok() {}
        }
    })
}

/// The head of a request, for raw frames.
pub fn asking(key: &TestKey) -> Vec<u8> {
    let usual = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/api/x")];
    block(&[&usual[..], &[("x-api-key", &key.text)]].concat())
}

/// Reads requests and answers none.
pub fn silent() -> Crm {
    Crm::with(|mut stream, seen| while seen.read(&mut stream).is_some() {})
}

#[test]
fn the_crm_sees_what_it_would_of_http_1() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read", "write"], ""));
    let gateway = start(&crm, &key, "");
    talk(gateway.second(), |sender| async move {
        let request =
            get(&key, "/api/x?a=b").header("cookie", "a=1").header("cookie", "b=2").body(()).unwrap();
        let answer = ask(&sender, request, None).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, "ok"));
        assert!(answer.headers.contains_key("x-request-id"));
        let post = || Request::post("http://crm.example/api/x").header("x-api-key", &key.text);
        assert_eq!(ask(&sender, post().body(()).unwrap(), Some("streamed")).await.unwrap().status, 200);
        let sized = post().header("content-length", "5").body(()).unwrap();
        assert_eq!(ask(&sender, sized, Some("sized")).await.unwrap().status, 200);
        let both = [(); 20].map(|()| ask(&sender, get(&key, "/api/y").body(()).unwrap(), None));
        for answer in both {
            assert_eq!(answer.await.unwrap().status, 200);
        }
    });
    let seen = crm.seen.requests();
    let first = seen[0].to_ascii_lowercase();
    for line in [
        "get /api/x?a=b http/1.1\r\n",
        "\r\nhost: crm.example\r\n",
        "\r\ncookie: a=1; b=2\r\n",
        "\r\nx-forwarded-host: crm.example\r\n",
        "\r\nx-forwarded-proto: http\r\n",
    ] {
        assert!(first.contains(line), "{line}: {first}");
    }
    assert!(
        seen[1].ends_with("\r\n\r\n8\r\nstreamed\r\n0\r\n\r\n") && seen[1].contains("chunked"),
        "{}",
        seen[1]
    );
    assert!(seen[2].ends_with("\r\n\r\nsized") && !seen[2].contains("chunked"), "{}", seen[2]);
    assert_eq!(seen.len(), 23);
    assert_eq!(gateway.log(23)[0]["end"], "complete");
    // HTTP/1.1 is spoken on the same listener, also by whoever begins in pieces.
    let mut connection = Connection::open(gateway.second());
    connection.send("P");
    connection.send("OST /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(connection.answer().unwrap().status, 401);
}

#[test]
fn it_is_chosen_by_alpn_and_only_where_it_is_offered() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    for (more, wanted) in [("", &b"h2"[..]), ("http2 = false\n", b"http/1.1")] {
        let listener = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\ncertificate = {{ file = \"crm.pem\", key = \"crm.key\" }}\n{more}"
        );
        let gateway = Plan::before(&crm)
            .key(&key)
            .with(&listener)
            .file("crm.pem", CRM.0)
            .file("crm.key", CRM.1)
            .start();
        let connection =
            tls::connect(gateway.second(), "crm.example", &tls::client(None, &["h2", "http/1.1"])).unwrap();
        assert_eq!(connection.stream.conn.alpn_protocol(), Some(wanted));
        if wanted == b"h2" {
            let mut plain = Connection::open(gateway.address);
            plain.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            let refused = plain.answer().is_none_or(|answer| answer.status >= 400);
            assert!(refused, "not on a listener without h2c");
        }
    }
}

#[test]
fn what_http_1_would_misread_is_refused() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read", "write"], ""));
    let gateway = start(&crm, &key, "");
    talk(gateway.second(), |sender| async move {
        let key_only = |uri: &str| Request::get(uri.to_owned()).header("x-api-key", &key.text);
        for (request, status) in [
            (get(&key, "/api/x").header("host", "other.example"), 400),
            (get(&key, "/api/x").header("host", "crm.example").header("host", "crm.example"), 400),
            (key_only("http://user@crm.example/api/x"), 400),
            (key_only("ftp://crm.example/api/x"), 400),
            (get(&key, "/api/../x"), 400),
            (get(&key, "/api/%2e%2e/x"), 400),
            (get(&key, "/api//x"), 400),
            (get(&key, "/api/x").header("x_sidelock_key_id", "a"), 400),
            (get(&key, "/api/x").header("content-length", "0").header("expect", "x"), 417),
            (get(&key, "/api/x").header("authorization", "Bearer 0123456789abcdef"), 400),
            (Request::get("http://crm.example/api/x"), 401),
            (get(&key, "/other"), 403),
            (get(&key, "/api/x").method("TRACE"), 405),
            (get(&key, "/api/x").method("get"), 400),
            (Request::connect("crm.example:443").header("x-api-key", &key.text), 405),
        ] {
            let request = request.body(()).unwrap();
            let told = format!("{request:?}");
            let answer = ask(&sender, request, None).await.unwrap();
            assert_eq!(answer.status, status, "{told}");
            assert!(!answer.headers.contains_key("connection"), "{told}");
        }
        let with_body = get(&key, "/api/x").body(()).unwrap();
        assert_eq!(ask(&sender, with_body, Some("body")).await.unwrap().status, 400, "a body on GET");
        let many = (0..110).fold(get(&key, "/api/x"), |request, at| request.header(format!("x-{at}"), "1"));
        assert_eq!(ask(&sender, many.body(()).unwrap(), None).await.unwrap().status, 431);
        let long = get(&key, "/api/x").header("x-long", "a".repeat(17 * 1024)).body(()).unwrap();
        assert_eq!(ask(&sender, long, None).await.unwrap().status, 431);
        let crumbs =
            (0..90).fold(get(&key, "/api/x"), |request, at| request.header("cookie", format!("{at}=1")));
        assert_eq!(
            ask(&sender, crumbs.body(()).unwrap(), None).await.unwrap().status,
            200,
            "one field in the end"
        );
    });
    assert_eq!(crm.seen.count(), 1);
}

/// Fields and pseudo-fields that have no place in HTTP/2: the stream is reset, or the connection ended, and the CRM hears
/// nothing.
#[test]
fn malformed_requests_go_nowhere() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read", "write"], ""));
    let gateway = start(&crm, &key, "");
    let usual = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "crm.example"),
        (":path", "/api/x"),
        ("x-api-key", &key.text),
    ];
    let with = |more: &[(&'static str, &'static str)]| block(&[&usual[..], more].concat());
    let swapped = |at: usize, value: (&'static str, &'static str)| {
        let mut fields = usual.to_vec();
        fields[at] = value;
        block(&fields)
    };
    for (at, fields) in [
        with(&[("connection", "x-api-key")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("te", "gzip")]),
        with(&[("upgrade", "websocket")]),
        with(&[("keep-alive", "1")]),
        with(&[("proxy-connection", "close")]),
        with(&[("X-Upper", "a")]),
        with(&[("x-a", "b\r\nx-sidelock-key-id: c")]),
        with(&[("x a", "b")]),
        with(&[(":path", "/api/y")]),
        with(&[("content-length", "5")]),
        swapped(3, (":path", "")),
        swapped(3, (":path", "/api/x\r\nHost: a")),
        swapped(3, (":path", "api/x")),
        swapped(2, (":authority", "a b")),
        swapped(0, (":method", "GET /admin HTTP/1.1\r\nA:")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut frames = Frames::open(gateway.second());
        assert!(frames.send(HEADERS, END_STREAM | END_HEADERS, 1, &fields));
        let end = frames.until(|frame| [RESET, HEADERS, GOAWAY].contains(&frame.kind)).unwrap();
        // A 400, which has an index of its own, is as good as a reset.
        assert!(end.kind != HEADERS || end.payload.first() == Some(&0x8c), "{at}: {end:?}");
    }
    let mut frames = Frames::open(gateway.second());
    assert!(frames.send(HEADERS, END_STREAM | END_HEADERS, 99, &with(&[("te", "trailers")])));
    let answer = frames.until(|frame| frame.stream == 99 && frame.kind == HEADERS).unwrap();
    assert_eq!(answer.payload[0], 0x88, "200: this one is fine");
    assert_eq!(crm.seen.count(), 1);
}

/// Lengths that are said twice, oddly, or not kept, and trailers that belong in a head.
#[test]
fn a_body_that_is_not_as_it_is_said_is_no_request() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read", "write"], ""));
    let gateway = start(&crm, &key, "");
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/api/x"),
        ("x-api-key", &*key.text),
    ];
    type Fields<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Fields<'_>, &str, Fields<'_>); 12] = [
        (&[("content-length", "5")], "abc", &[]),
        (&[("content-length", "2")], "abcde", &[]),
        (&[("content-length", "0")], "abcde", &[]),
        (&[("content-length", "5"), ("content-length", "5")], "hello", &[]),
        (&[("content-length", "5"), ("content-length", "6")], "hello", &[]),
        (&[("content-length", "5, 5")], "hello", &[]),
        (&[("content-length", "05")], "hello", &[]),
        (&[("content-length", "+5")], "hello", &[]),
        (&[("content-length", "")], "hello", &[]),
        (&[("trailer", "x")], "hello", &[("content-length", "5")]),
        (&[("trailer", "x")], "hello", &[("transfer-encoding", "chunked")]),
        (&[("trailer", "x-api-key")], "hello", &[("x-api-key", "x")]),
    ];
    for (fields, body, trailers) in cases {
        let mut frames = Frames::open(gateway.second());
        let all: Vec<(&str, &str)> = usual.iter().chain(fields).copied().collect();
        assert!(frames.send(HEADERS, END_HEADERS, 1, &block(&all)));
        frames.send(DATA, if trailers.is_empty() { END_STREAM } else { 0 }, 1, body.as_bytes());
        if !trailers.is_empty() {
            frames.send(HEADERS, END_STREAM | END_HEADERS, 1, &block(trailers));
        }
        let end = frames.until(|frame| [RESET, HEADERS, GOAWAY].contains(&frame.kind)).unwrap();
        assert!(
            end.kind != HEADERS || end.payload.first() == Some(&0x8c),
            "{fields:?} {trailers:?}: {end:?}"
        );
    }
    let whole = |seen: &String| seen.ends_with("\r\n0\r\n\r\n") || seen.ends_with("\r\n\r\nhello");
    assert!(!crm.seen.requests().iter().any(whole), "{:?}", crm.seen.requests());
}

#[test]
fn trailers_of_an_answer_pass() {
    let key = TestKey::new(&["read"], "");
    let crm = Crm::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 0\r\n\r\n",
    );
    let gateway = start(&crm, &key, "");
    let answer = talk(gateway.second(), |sender| async move {
        ask(&sender, get(&key, "/api/x").body(()).unwrap(), None).await.unwrap()
    });
    assert_eq!((answer.status, &*answer.body), (200, "ok"));
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
}

#[test]
fn a_revoked_key_takes_its_streams_along() {
    let (crm, key, other) = (endless(), TestKey::new(&["read"], ""), TestKey::new(&["read"], ""));
    let gateway = Plan::before(&crm).key(&key).key(&other).with(H2C).start();
    let keys = gateway.keys_file();
    let block = format!("{}revoked = true\n{}", key.block, other.block);
    let took = talk(gateway.second(), |mut sender| async move {
        let request = get(&key, "/api/x").body(()).unwrap();
        let (answer, _) = sender.send_request(request, true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        std::fs::write(keys, block).unwrap();
        let started = Instant::now();
        assert!(whole(answer).await.is_err(), "cut, not ended");
        started.elapsed()
    });
    assert!(took.as_millis() < 2_000, "{took:?}");
    eventually("it is logged", || gateway.log(1).iter().any(|line| line["end"] == "key_over").then_some(()));
    eventually("the CRM's side is closed too", || {
        (gateway.metric("sidelock_upstream_connections{state=\"active\"}") == 0.0).then_some(())
    });
}

#[test]
fn a_drain_says_goodbye_and_finishes() {
    let key = TestKey::new(&["read"], "");
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let told = parking_lot::Mutex::new(told);
    let crm = Crm::with(move |mut stream, seen| {
        if seen.read(&mut stream).is_some() && told.lock().recv().is_ok() {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        }
    });
    let gateway = start(&crm, &key, "");
    let mut frames = Frames::open(gateway.second());
    let fields = asking(&key);
    frames.send(HEADERS, END_STREAM | END_HEADERS, 1, &fields);
    eventually("the CRM has it", || (crm.seen.count() == 1).then_some(()));
    gateway.signal("TERM");
    assert!(frames.until(|frame| frame.kind == GOAWAY).is_some());
    tell.send(()).unwrap();
    let last = frames.until(|frame| frame.kind == DATA && frame.stream == 1).unwrap();
    assert_eq!(last.payload, b"ok");
}

#[test]
fn a_webhook_and_a_held_body_come_by_it_too() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["ask"], ""));
    let scopes = "[scopes.ask]\nallow = [\"POST /graphql graphql:query\"]\n";
    let mut plan = Plan::before(&crm).key(&key).with(H2C);
    plan.sections = format!("{SCOPES}{scopes}{H2C}");
    let gateway = plan.start();
    talk(gateway.second(), |sender| async move {
        let post = || {
            Request::post("http://crm.example/graphql")
                .header("x-api-key", &key.text)
                .header("content-type", "application/json")
                .body(())
                .unwrap()
        };
        assert_eq!(ask(&sender, post(), Some(r#"{"query":"{ a }"}"#)).await.unwrap().status, 200);
        assert_eq!(ask(&sender, post(), Some(r#"{"query":"mutation { a }"}"#)).await.unwrap().status, 403);
    });
    assert_eq!(crm.seen.count(), 1);
    assert!(crm.seen.last().ends_with(r#"{"query":"{ a }"}"#));
}
