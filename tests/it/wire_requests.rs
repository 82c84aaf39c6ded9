//! Requests that two parsers could read differently, family by family: what the client got beside what the CRM saw.
//!
//! Whatever becomes of a case, the CRM sees at most one request of it, in one canonical form, and never the one that is
//! hidden in it. Refused are all but those that hyper has made one reading of before anything here sees them.

use std::collections::BTreeMap;

use crate::support::client::Connection;
use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan, TestKey};

/// What must become of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// The client is told so, the CRM sees nothing, and the connection ends.
    Refused,
    /// Like that, but its beginning may have gone on; the CRM sees it break off.
    CutOff,
    /// The same, or one canonical request.
    OneReading,
    /// One canonical request: it is odd, and has one reading.
    Passes,
}
use Fate::{CutOff, OneReading, Passes, Refused};

struct Case {
    family: &'static str,
    fate: Fate,
    bytes: String,
}

/// `@` stands for the case's own path, `KEY` for a line with a good key, `HIDDEN` for a whole request that must never be seen.
fn case(family: &'static str, fate: Fate, bytes: &str) -> Case {
    Case { family, fate, bytes: bytes.to_owned() }
}

/// A POST with these lines and what follows them.
fn post(family: &'static str, fate: Fate, rest: &str) -> Case {
    case(family, fate, &format!("POST @ HTTP/1.1\r\nHost: a\r\nKEY\r\n{rest}"))
}

fn lengths() -> Vec<Case> {
    let mut cases = Vec::new();
    for length in [
        "+5",
        "-5",
        "5 5",
        "5,5",
        "5, 5",
        "05",
        "0x5",
        "5.0",
        "5e0",
        "\"5\"",
        "five",
        "5;",
        ",5",
        "18446744073709551616",
        "99999999999999999999999",
        "5\t6",
        "_5",
        "",
        " ",
        "٥",
    ] {
        cases.push(post("content-length", Refused, &format!("Content-Length: {length}\r\n\r\nhello")));
    }
    for lines in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent_Length: 6\r\n",
        "Content-Length : 5\r\n",
        " Content-Length: 5\r\n",
        "Content-Length\t: 5\r\n",
        "Content-Length: 5\0\r\n",
        "Content-Length: 5\rX: y\r\n",
        "Content\u{2013}Length: 5\r\n",
    ] {
        cases.push(post("content-length", Refused, &format!("{lines}\r\nhelloHIDDEN")));
    }
    cases.push(post("content-length", OneReading, "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"));
    cases.push(post("content-length", Passes, "Content-Length:5\r\n\r\nhello"));
    cases.push(post("content-length", Passes, "CONTENT-LENGTH: \t 5 \t\r\n\r\nhello"));
    for method in ["GET", "HEAD"] {
        let body = format!("{method} @ HTTP/1.1\r\nHost: a\r\nKEY\r\nContent-Length: 5\r\n\r\nhello");
        cases.push(case("content-length", Refused, &body));
    }
    cases
}

fn codings() -> Vec<Case> {
    let mut cases = Vec::new();
    for coding in [
        "identity",
        "identity, chunked",
        "chunked, identity",
        "chunked, chunked",
        "gzip, chunked",
        "chunked, gzip",
        "xchunked",
        "chunkedx",
        "x-chunked",
        "\"chunked\"",
        "'chunked'",
        "chunked;",
        "chunked; q=1",
        ",chunked",
        "chunked,",
        "chunk",
        "\x0bchunked",
        "chunked\x0b",
        "\x0cchunked",
        "chunked\0",
        "[chunked]",
        "cow",
        "",
        "chunked chunked",
        "identity\r\n chunked",
        "ｃhunked",
    ] {
        let chunked = format!("Transfer-Encoding: {coding}\r\n\r\n0\r\n\r\nHIDDEN");
        cases.push(post("transfer-encoding", Refused, &chunked));
    }
    for lines in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: y\nTransfer_Encoding: chunked\r\n",
        "Transfer-Encoding\0: chunked\r\n",
    ] {
        cases.push(post("transfer-encoding", Refused, &format!("{lines}\r\n0\r\n\r\nHIDDEN")));
    }
    cases.push(post(
        "transfer-encoding",
        Passes,
        "Transfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ));
    cases
}

fn both_framings() -> Vec<Case> {
    let mut cases = Vec::new();
    for length in ["6", "3", "0", "500"] {
        let lines = [
            format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
            format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        ];
        for lines in lines {
            cases.push(post("both framings", OneReading, &format!("{lines}\r\n0\r\n\r\nHIDDEN")));
        }
    }
    let old = "POST @ HTTP/1.0\r\nHost: a\r\nKEY\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN";
    cases.push(case("both framings", Refused, old));
    let old = "POST @ HTTP/1.0\r\nHost: a\r\nKEY\r\nConnection: keep-alive\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN";
    cases.push(case("both framings", Refused, old));
    cases
}

fn chunks() -> Vec<Case> {
    let mut cases = Vec::new();
    for body in [
        "5\r\nhelloX0\r\n\r\nHIDDEN",
        "5\r\nhello0\r\n\r\nHIDDEN",
        "5\r\nhello\n0\r\n\r\nHIDDEN",
        "6\r\nhello\r\n0\r\n\r\nHIDDEN",
        "4\r\nhello\r\n0\r\n\r\nHIDDEN",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5 a\r\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "٥\r\nhello\r\n0\r\n\r\n",
    ] {
        cases.push(post("chunks", CutOff, &format!("Transfer-Encoding: chunked\r\n\r\n{body}")));
    }
    cases
}

fn chunk_extensions() -> Vec<Case> {
    let mut cases = Vec::new();
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;ext\nhello\r\n0\r\n\r\nHIDDEN",
        "5;\nhello\r\n0\r\n\r\nHIDDEN",
    ] {
        cases.push(post("chunk line ends", CutOff, &format!("Transfer-Encoding: chunked\r\n\r\n{body}")));
    }
    for body in [
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\t\r\nhello\r\n0\r\n\r\n",
        "0000000000000005\r\nhello\r\n0\r\n\r\n",
        "5;a=b;c=\"d\"\r\nhello\r\n0\r\n\r\n",
        "5 ;a\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n000\r\n\r\n",
        "5\r\nhello\r\n0;a=b\r\n\r\n",
    ] {
        cases.push(post(
            "chunk extensions",
            OneReading,
            &format!("Transfer-Encoding: chunked\r\n\r\n{body}"),
        ));
    }
    let endless = format!("Transfer-Encoding: chunked\r\n\r\n5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(20_000));
    cases.push(post("chunk extensions", CutOff, &endless));
    cases
}

fn trailers() -> Vec<Case> {
    let mut cases = Vec::new();
    for trailer in [
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Host: b",
        "Authorization: Bearer x",
        "X-API-Key: x",
        "X-Sidelock-Key-Id: x",
        "X_Sidelock_Key_Id: x",
        "X-Forwarded-For: 1.2.3.4",
        "Forwarded: for=1.2.3.4",
        "Connection: close",
        "Cookie: a=b",
        "Content-Type: text/html",
        "Bad Name: x",
        "X-A: b\0",
    ] {
        let body = format!("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailer}\r\n\r\n");
        cases.push(post("trailers", CutOff, &body));
    }
    cases
}

fn fields() -> Vec<Case> {
    let mut cases = Vec::new();
    for lines in [
        "X-A: b\r\n c: d\r\n",
        "X-A: b\r\n\tc\r\n",
        "X-A\r\n",
        ": x\r\n",
        "X A: b\r\n",
        "X-A : b\r\n",
        "X(A): b\r\n",
        "X-A: b\0c\r\n",
        "X-A: b\rc\r\n",
        "X-Ä: b\r\n",
        "X_A: b\r\n",
        "X.A: b\r\n",
        "X-A: b\x7f\r\n",
        "X-A: b\x01\r\n",
        "\r\r\nHIDDEN",
    ] {
        cases.push(case("fields", Refused, &format!("GET @ HTTP/1.1\r\nHost: a\r\nKEY\r\n{lines}\r\n")));
    }
    cases
}

fn request_lines() -> Vec<Case> {
    let mut cases = Vec::new();
    // A fragment is dropped before anything here sees it: judged and forwarded is what stands before it.
    cases.push(case("request line", OneReading, "GET @#x HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n"));
    for text in [
        "GET @ HTTP/1.1\nHost: a\nKEY\n\n",
        "GET @ HTTP/1.1\r\nHost: a\nKEY\r\n\r\n",
        "\r\nGET @ HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n",
        "\r\n\r\nGET @ HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n",
    ] {
        cases.push(case("line ends", OneReading, text));
    }
    for line in [
        "GET @  HTTP/1.1",
        "GET  @ HTTP/1.1",
        " GET @ HTTP/1.1",
        "GET\t@\tHTTP/1.1",
        "GET @ HTTP/1.1 ",
        "GET @ HTTP/1.2",
        "GET @ HTTP/2.0",
        "GET @ HTTP/0.9",
        "GET @ http/1.1",
        "GET @ HTTP/1.1\0",
        "GET @",
        "GET @ HTTP/01.1",
        "GET @ HTTP/1.10",
        "G=T @ HTTP/1.1",
        "get @ HTTP/1.1",
        "GET @ x HTTP/1.1",
        "GET\u{a0}@ HTTP/1.1",
        "PRI * HTTP/2.0",
        "CONNECT a:80 HTTP/1.1",
        "TRACE @ HTTP/1.1",
        "GET http://u@a@ HTTP/1.1",
        "GET http://b@ HTTP/1.1",
        "GET ftp://a@ HTTP/1.1",
        "GET a@ HTTP/1.1",
        "GET @\\x HTTP/1.1",
        "GET @\u{e9} HTTP/1.1",
    ] {
        cases.push(case("request line", Refused, &format!("{line}\r\nHost: a\r\nKEY\r\n\r\n")));
    }
    cases
}

fn hosts() -> Vec<Case> {
    let mut cases = Vec::new();
    for hosts in [
        "",
        "Host:\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nhOsT: b\r\n",
        "Host: a, b\r\n",
        "Host: a b\r\n",
        "Host: u@a\r\n",
        "Host: a/b\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: a:b\r\n",
        "Host: a:\r\n",
        "Host: a:80:80\r\n",
        "Host: a:99999\r\n",
        "Host: a:-1\r\n",
        "Host: [::1\r\n",
        "Host: ::1\r\n",
        "Host: [x]\r\n",
        "Host: a\\b\r\n",
        "Host: a%00\r\n",
        "Host: a\tb\r\n",
        "Host: \u{e9}\r\n",
        "Host: a;b\r\n",
        "Host : a\r\n",
        " Host: a\r\n",
        "Host: a\0\r\n",
        "Host: ..\r\n",
        "Host: http://a\r\n",
    ] {
        cases.push(case("host", Refused, &format!("GET @ HTTP/1.1\r\n{hosts}KEY\r\n\r\n")));
    }
    for host in ["a", "a:80", "A.Example:8080", "[::1]:80", "192.0.2.1", "xn--a-ecp.ru"] {
        cases.push(case("host", Passes, &format!("GET @ HTTP/1.1\r\nHost: {host}\r\nKEY\r\n\r\n")));
    }
    cases
}

fn switches() -> Vec<Case> {
    let mut cases = Vec::new();
    let upgrade = |lines: &str| format!("GET @ HTTP/1.1\r\nHost: a\r\nKEY\r\n{lines}\r\nHIDDEN");
    for lines in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 5\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 12\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    ] {
        cases.push(case("upgrade", OneReading, &upgrade(lines)));
    }
    // An upgrade that is not passed on is an ordinary request; what follows it is another one, without a key.
    for lines in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "Connection: Upgrade\r\nUpgrade: foo\r\n",
        "Upgrade: websocket\r\n",
    ] {
        cases.push(case("upgrade", OneReading, &upgrade(lines)));
    }
    for expect in ["200-ok", "100-continue, x", "x=y", "100-continued", "\"100-continue\""] {
        let text = format!("Expect: {expect}\r\nContent-Length: 5\r\n\r\nhello");
        cases.push(post("expect", Refused, &text));
    }
    cases.push(post("expect", Passes, "Expect: 100-Continue\r\nContent-Length: 5\r\n\r\nhello"));
    for (named, line) in [
        ("X-API-Key", ""),
        ("Host", ""),
        ("Content-Length", ""),
        ("X-Sidelock-Key-Id", "X-Sidelock-Key-Id: admin\r\n"),
        ("X-Forwarded-For", "X-Forwarded-For: 6.6.6.6\r\n"),
        ("close, X-Request-Id", ""),
    ] {
        let text = format!("Connection: {named}\r\n{line}Content-Length: 5\r\n\r\nhello");
        cases.push(post("connection names", OneReading, &text));
    }
    cases
}

/// A request behind one that is refused or unfinished is never taken for the body of the first one, nor the other way round.
fn queues() -> Vec<Case> {
    let mut cases = Vec::new();
    for first in [
        "GET /outside HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n",
        "POST /outside HTTP/1.1\r\nHost: a\r\nKEY\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        cases.push(case("pipelines", Passes, &format!("{first}GET @ HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n")));
    }
    // An unread body of unknown length ends the connection.
    let unread = "POST /outside HTTP/1.1\r\nHost: a\r\nKEY\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    cases.push(case("pipelines", OneReading, &format!("{unread}GET @ HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\n")));
    for first in [
        "POST /outside HTTP/1.1\r\nHost: a\r\nKEY\r\nContent-Length: 500\r\n\r\nhello",
        "POST /outside HTTP/1.1\r\nHost: a\r\nKEY\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    ] {
        cases.push(case("pipelines", OneReading, &format!("{first}HIDDEN")));
    }
    cases
}

/// The bytes of a case under its number.
fn bytes(case: &Case, number: usize, key: &TestKey) -> String {
    let hidden = format!("GET /api/hidden-{number} HTTP/1.1\r\nHost: a\r\n\r\n");
    case.bytes
        .replace("HIDDEN", &hidden)
        .replace("KEY", &key.header())
        .replace('@', &format!("/api/case-{number}-"))
        // An address in the target is written with the sign that the path has.
        .replace(&format!("u/api/case-{number}-a"), "u@a")
}

/// The statuses that a client gets until the connection ends.
fn ask(gateway: &Gateway, bytes: &str) -> Vec<u16> {
    let mut connection = Connection::open(gateway.address);
    connection.send(bytes);
    let mut statuses = Vec::new();
    while let Some(answer) = connection.answer() {
        statuses.push(answer.status);
    }
    statuses
}

/// Why a request at the CRM is none that is written in the one canonical way.
fn oddity(seen: &str) -> Option<String> {
    let (head, body) = seen.split_once("\r\n\r\n")?;
    let names: Vec<String> =
        head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase())).collect();
    let count = |name: &str| names.iter().filter(|given| *given == name).count();
    let framings = count("content-length") + count("transfer-encoding");
    let odd_names =
        names.iter().any(|name| !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    let facts = [
        (count("host") != 1, "not one Host"),
        (framings > 1, "several framings"),
        (odd_names, "odd names"),
        (framings == 0 && !body.is_empty(), "a body without a length"),
        (head.replace("\r\n", "").contains(['\r', '\n', '\0']), "control characters"),
        (count("x-api-key") > 0 || count("expect") > 0, "a field that ends here"),
        (seen.contains("6.6.6.6") || seen.contains("Key-Id: admin"), "a claim of the client's"),
        (count("x-sidelock-key-id") != 1, "not one key id"),
    ];
    facts.into_iter().find(|(is_so, _)| *is_so).map(|(_, why)| why.to_owned())
}

fn is_whole(seen: &str) -> bool {
    let Some((head, body)) = seen.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    match head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => !head.contains("transfer-encoding") || body.ends_with("0\r\n\r\n"),
    }
}

/// What is wrong with the end of a case.
fn wrong(case: &Case, number: usize, statuses: &[u16], seen: &[String]) -> Option<String> {
    let of = |path: String| seen.iter().filter(move |text| text.contains(&path));
    if of(format!("/api/hidden-{number} ")).next().is_some() {
        return Some("the hidden request reached the CRM".to_owned());
    }
    let own: Vec<&String> = of(format!("/api/case-{number}-")).collect();
    if let Some(odd) = own.iter().find_map(|seen| oddity(seen)) {
        return Some(odd);
    }
    let whole = own.iter().filter(|seen| is_whole(seen)).count();
    let refused = statuses.iter().all(|status| *status >= 400);
    match case.fate {
        Refused if !own.is_empty() || !refused => Some("it was not refused".to_owned()),
        CutOff if whole > 0 || !refused => Some("it was not cut off".to_owned()),
        OneReading if own.len() > 1 => Some("it was read more than once".to_owned()),
        Passes if whole != 1 || !statuses.contains(&200) => Some("it did not pass, once".to_owned()),
        Refused | CutOff | OneReading | Passes => None,
    }
}

#[test]
fn no_request_is_read_twice() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read", "write"], "");
    let short = "[timeouts]\ndrain_accept = \"0s\"\nkeep_alive = \"700ms\"\nrequest_head = \"700ms\"\nrequest_body_idle = \"700ms\"\n[limits]\nper_key = \"100000/s\"\nper_address_failures = \"100000/s\"\n";
    let gateway = Plan::before(&crm).key(&key).with(short).start();
    let families = [
        lengths,
        codings,
        both_framings,
        chunks,
        chunk_extensions,
        trailers,
        fields,
        request_lines,
        hosts,
        switches,
        queues,
    ];
    let cases: Vec<Case> = families.iter().flat_map(|family| family()).collect();
    let mut families: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    // A few at a time: the connections end by themselves, most of them at once.
    for (at, some) in cases.chunks(40).enumerate() {
        let answers: Vec<Vec<u16>> = std::thread::scope(|scope| {
            let asked: Vec<_> = some
                .iter()
                .enumerate()
                .map(|(number, case)| {
                    let bytes = bytes(case, at * 40 + number, &key);
                    let gateway = &gateway;
                    scope.spawn(move || ask(gateway, &bytes))
                })
                .collect();
            asked.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let seen = crm.seen.requests();
        for (number, (case, statuses)) in some.iter().zip(answers).enumerate() {
            *families.entry(case.family).or_default() += 1;
            if let Some(why) = wrong(case, at * 40 + number, &statuses, &seen) {
                failures
                    .push(format!("{} ({:?}): {why}: {statuses:?} {:?}", case.family, case.fate, case.bytes));
            }
        }
        // Nobody else is hurt.
        assert_eq!(gateway.get("/api/innocent", &[&key.header()]).text(), "ok");
    }
    eprintln!("cases by family: {families:?}");
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}
