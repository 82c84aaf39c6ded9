//! Answers of a CRM that is broken or hostile: the client gets one canonical answer or 502, and the next one asks in peace.

use std::io::Write;

use crate::support::client::{Answer, Connection, request};
use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan, TestKey};

/// What the client must get.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// 502, and nothing of the CRM's.
    Refused,
    /// The head, and a body that breaks off.
    CutOff,
    /// This status and body.
    Passes(u16, &'static str),
    /// 502, or this status and body: hyper has made one reading of it.
    OneReading(u16, &'static str),
}
use Fate::{CutOff, OneReading, Passes, Refused};

const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

/// `POISON` stands for a whole answer that nobody may get.
const CASES: &[(&str, Fate, &str)] = &[
    // Lengths and codings
    ("lengths", Refused, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokPOISON"),
    ("lengths", Refused, "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
    ("lengths", Refused, "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"),
    ("lengths", Refused, "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok"),
    ("lengths", Refused, "HTTP/1.1 200 OK\r\nContent-Length: 2;\r\n\r\nok"),
    ("lengths", Refused, "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok"),
    ("lengths", OneReading(200, "ok"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    ("lengths", OneReading(200, "ok"), "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"),
    ("codings", Refused, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    (
        "codings",
        Refused,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    ("lengths", Passes(200, "ok"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    (
        "codings",
        Refused,
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "codings",
        OneReading(200, "ok"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n2\r\nok\r\n0\r\n\r\nPOISON",
    ),
    (
        "codings",
        Passes(200, "ok"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "codings",
        Passes(200, "ok"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\nX-T: 1\r\n\r\n",
    ),
    (
        "codings",
        OneReading(200, "2\r\nok\r\n0\r\n\r\n"),
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "codings",
        OneReading(200, "ok"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok",
    ),
    ("codings", Refused, "HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("chunks", CutOff, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokX\r\n0\r\n\r\n"),
    ("chunks", CutOff, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n-1\r\n\r\n"),
    ("chunks", CutOff, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n0\r\n\r\n"),
    (
        "chunks",
        CutOff,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nfffffffffffffffff\r\n0\r\n\r\n",
    ),
    // Heads
    ("heads", Refused, "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    ("heads", Refused, "ok without a head\r\n\r\n"),
    ("heads", Refused, "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("heads", Refused, "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("heads", Refused, "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("heads", Refused, "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("heads", Refused, "HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 2\r\n\r\nok"),
    ("heads", Refused, "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 2\r\n\r\nok"),
    ("heads", Refused, "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 2\r\n\r\nok"),
    ("heads", Refused, "HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 2\r\n\r\nok"),
    ("heads", Refused, "HTTP/1.1 200 OK\r\nX-A: b\0\r\nContent-Length: 2\r\n\r\nok"),
    ("heads", Refused, "HTTP/1.1 200 OK\r\nX-A: b\rInjected: 1\r\nContent-Length: 2\r\n\r\nok"),
    ("heads", Refused, "HTTP/1.1 200 OK\r\nX-A: b\r\n Injected: 1\r\nContent-Length: 2\r\n\r\nok"),
    ("heads", Refused, "HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok"),
    ("heads", Passes(200, "ok"), "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
    ("heads", Passes(299, "ok"), "HTTP/1.1 299 Odd But Fine\r\nContent-Length: 2\r\n\r\nok"),
    ("heads", Passes(500, "ok"), "HTTP/1.1 500 Broken\r\nContent-Length: 2\r\n\r\nok"),
    // Interim answers, and switches that nobody asked for
    (
        "interim",
        Passes(200, "ok"),
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "interim",
        Passes(200, "ok"),
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "interim",
        Passes(200, "ok"),
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "interim",
        Refused,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nPOISON",
    ),
    ("interim", Refused, "HTTP/1.1 101 Switching Protocols\r\n\r\nPOISON"),
    // Answers without a body that have one, and bytes that nobody asked for
    ("bodyless", Passes(204, ""), "HTTP/1.1 204 No Content\r\n\r\nPOISON"),
    ("bodyless", Passes(304, ""), "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\nPOISON"),
    ("bodyless", OneReading(204, ""), "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoisonPOISON"),
    (
        "bodyless",
        OneReading(204, ""),
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\n\r\nPOISON",
    ),
    ("unasked", Passes(200, "ok"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokPOISON"),
    ("unasked", Passes(200, "ok"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokPOISONPOISONPOISON"),
    ("unasked", Passes(200, "ok"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n\r\n"),
    (
        "unasked",
        Passes(200, "ok"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nPOISON",
    ),
    ("unasked", Passes(200, ""), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nPOISON"),
    // Fields that end here
    (
        "fields",
        Passes(200, "ok"),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Inner, close\r\nX-Inner: 1\r\nKeep-Alive: x\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nTE: x\r\nProxy-Authenticate: x\r\n\r\nok",
    ),
    (
        "fields",
        Passes(200, "ok"),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-Id: injected\r\nX-Request-Id: injected\r\n\r\nok",
    ),
];

const INNER: &[&str] =
    &["x-inner", "keep-alive", "proxy-connection", "upgrade", "te", "proxy-authenticate", "injected"];

fn number_of(request: &str) -> Option<usize> {
    request.split_once("/api/odd-")?.1.split(' ').next()?.parse().ok()
}

/// Answers as the path says; a connection goes on as if nothing had been odd.
fn hostile() -> Crm {
    Crm::with(|mut stream, seen| {
        while let Some(request) = seen.read(&mut stream) {
            let odd = number_of(&request).and_then(|number| CASES.get(number));
            let answer =
                odd.map_or("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine", |(_, _, answer)| *answer);
            if stream.write_all(answer.replace("POISON", POISON).as_bytes()).is_err() {
                return;
            }
            // What never ends by itself ends with its connection.
            if odd.is_some_and(|(_, fate, _)| matches!(fate, CutOff | Refused))
                || answer.starts_with("HTTP/1.0")
            {
                return;
            }
        }
    })
}

fn wrong(fate: Fate, answer: Option<&Answer>) -> Option<String> {
    let answer = match (fate, answer) {
        (CutOff, None) => return None,
        (_, Some(answer)) => answer,
        (_, None) => return Some("no answer".to_owned()),
    };
    let (head, body) = (answer.head.to_ascii_lowercase(), answer.text());
    let framings = head.matches("content-length:").count() + head.matches("transfer-encoding:").count();
    let inner = INNER.iter().find(|name| head.contains(&format!("\n{name}:")));
    if let Some(name) = inner {
        return Some(format!("{name} was passed on"));
    }
    if framings > 1 || head.matches("x-request-id").count() != 1 || head.contains("injected") {
        return Some("not one canonical head".to_owned());
    }
    let is = |status, text: &str| answer.status == status && body == text;
    let is_502 = answer.status == 502 && body.contains("upstream-broken");
    let fits = match fate {
        Refused => is_502,
        CutOff => is_502 || (answer.status == 200 && !body.contains("0\r\n")),
        Passes(status, text) => is(status, text),
        OneReading(status, text) => is_502 || is(status, text),
    };
    (!fits).then(|| "not what it should be".to_owned())
}

#[test]
fn no_answer_is_read_twice() {
    let crm = hostile();
    let key = TestKey::new(&["read"], "rate = \"100000/s\"");
    let gateway: Gateway = Plan::before(&crm).key(&key).start();
    let mut failures = Vec::new();
    for (number, (family, fate, text)) in CASES.iter().enumerate() {
        let mut connection = Connection::open(gateway.address);
        connection.send(request("GET", &format!("/api/odd-{number}"), &[&key.header()], ""));
        let answer = connection.answer();
        if let Some(why) = wrong(*fate, answer.as_ref()) {
            failures.push(format!("{family} ({fate:?}): {why}: {answer:?} to {text:?}"));
        }
        // Nobody gets what was left over, on this connection or another one.
        let mut next = Connection::open(gateway.address);
        let kept = answer.is_some_and(|answer| answer.keeps_connection()) && *fate != CutOff;
        for connection in [Some(&mut next), kept.then_some(&mut connection)].into_iter().flatten() {
            connection.send(request("GET", "/api/fine", &[&key.header()], ""));
            let answer = connection.answer();
            if answer.as_ref().map(Answer::text).as_deref() != Some("fine") {
                failures.push(format!("{family}: the next one got {answer:?} after {text:?}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), CASES.len(), failures.join("\n"));
}

#[test]
fn answers_without_a_bound_are_cut() {
    let crm = Crm::with(|mut stream, seen| {
        let Some(request) = seen.read(&mut stream) else { return };
        let endless: (&str, &str) = match request.split(' ').nth(1) {
            Some("/api/interim") => ("", "HTTP/1.1 102 Processing\r\n\r\n"),
            Some("/api/fields") => ("HTTP/1.1 200 OK\r\n", "X-A: b\r\n"),
            Some("/api/field") => ("HTTP/1.1 200 OK\r\nX-A: ", "bbbbbbbbbbbbbbbb"),
            Some("/api/line") => ("HTTP/1.1 200 ", "bbbbbbbbbbbbbbbb"),
            _ => ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", "bbbbbbbbbbbbbbbb"),
        };
        drop(stream.write_all(endless.0.as_bytes()));
        let many = endless.1.repeat(256);
        // The other side ends it, or 64 MiB were taken.
        for _ in 0..(64 << 20) / many.len() {
            if stream.write_all(many.as_bytes()).is_err() {
                return;
            }
        }
        seen.note(&format!("taken whole: {request}"));
    });
    let key = TestKey::new(&["read"], "");
    let gateway = Plan::before(&crm).key(&key).start();
    for path in ["/api/interim", "/api/fields", "/api/field", "/api/line", "/api/extension"] {
        let mut connection = Connection::open(gateway.address);
        connection.send(request("GET", path, &[&key.header()], ""));
        let status = connection.answer().map(|answer| answer.status);
        // The head of the last one was fine.
        assert!(status == Some(502) || path == "/api/extension", "{path}: {status:?}");
    }
    let taken: Vec<String> =
        crm.seen.requests().into_iter().filter(|it| it.starts_with("taken whole")).collect();
    assert!(taken.is_empty(), "{taken:?}");
}
