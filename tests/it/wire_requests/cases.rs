//! The cases, family by family; those of heads stand in their own file.

use super::folds;
use super::heads::{fields, hosts, request_lines};

/// What must become of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// The client is told so, the CRM sees nothing, and the connection ends.
    Refused,
    /// Like that, but its beginning may have gone on; the CRM sees it break off.
    CutOff,
    /// The same, or one canonical request.
    OneReading,
    /// One canonical request: it is odd, and has one reading.
    Passes,
}
pub use Fate::{CutOff, OneReading, Passes, Refused};

pub struct Case {
    pub family: &'static str,
    pub fate: Fate,
    pub bytes: String,
}

/// `@` stands for the case's own path, `KEY` for a line with a good key, `HIDDEN` for a whole request that must never be seen.
pub fn case(family: &'static str, fate: Fate, bytes: &str) -> Case {
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

/// All of them.
pub fn all() -> Vec<Case> {
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
        folds::methods,
        folds::targets,
        folds::versions,
        folds::values,
        folds::ends,
        folds::bodies,
    ];
    families.iter().flat_map(|family| family()).collect()
}
