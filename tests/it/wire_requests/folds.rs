//! What the HTTP library makes of a request before anything here sees it: whatever it folds, refuses or lets through, what is
//! judged is what goes on.

use super::cases::{Case, CutOff, Fate, OneReading, Passes, Refused, case};

fn each(family: &'static str, fate: Fate, texts: &[&str], whole: impl Fn(&str) -> String) -> Vec<Case> {
    texts.iter().map(|text| case(family, fate, &whole(text))).collect()
}

fn line(line: &str) -> String {
    format!("{line}\r\nHost: a\r\nKEY\r\n\r\n")
}

/// Django and werkzeug take `get` for `GET`.
pub fn methods() -> Vec<Case> {
    let bad = [
        "get",
        "Get",
        "gET",
        "head",
        "post",
        "options",
        "foo",
        "P_T",
        "GET1",
        "!#$%&'*+-.^_`|~",
        "G/ET",
        "G\0ET",
        "\u{ff}GET",
        "trace",
        "connect",
    ];
    let good = ["OPTIONS", "DELETE", "HEAD"];
    let asked = |method: &str| line(&format!("{method} @ HTTP/1.1"));
    let mut cases = each("methods", Refused, &bad, asked);
    cases.extend(each("methods", Passes, &good[1..2], asked));
    cases.extend(each("methods", OneReading, &good, asked));
    cases
}

const BAD_TARGETS: &[&str] = &[
    "#",
    "#@",
    "*#x",
    "http://u:p@a@",
    "http://@a@",
    "http://a:80@",
    "http://a:@",
    "http://a:99999@",
    "http:@",
    "http://@",
    "http:///x",
    "//a@",
    "http://a/@",
    "http://a/.@",
    "ws://a@",
    "file:///@",
    "http://a\\b@",
    "http://a%00@",
    "a:80",
    "mailto:a",
    "[::1]:80",
    "http://[::1]@",
    "?x",
    "x-y:z",
    "@/../x",
    "@\x7f",
    "@\t",
    "@\"",
    "@<",
    "@{",
    "@^",
    "@`",
    "@?\"",
    "@?<",
    "@?\t",
    "@%00",
    "@%23",
    "@%2f",
    "@\u{e9}",
    "@?\u{e9}",
    "@%",
    "@;x",
];

pub fn targets() -> Vec<Case> {
    let get = |target: &str| line(&format!("GET {target} HTTP/1.1"));
    let cut = ["@#", "@#x", "@#/../../admin", "@?a#b?c", "@?a=b#/", "@#\u{40}x", "http://a@#x", "@?#", "@##"];
    let passed = [
        "http://a@",
        "HTTP://a@",
        "http://A@",
        "https://a@",
        "@?",
        "@??",
        "@?/../",
        "@/",
        "@.",
        "@.x",
        "@?%23",
        "@?a|b",
        "@?http://b/",
    ];
    let mut cases = each("fragments", OneReading, &cut, get);
    cases.extend(each("targets", Refused, BAD_TARGETS, get));
    cases.extend(each("targets", Passes, &passed, get));
    cases
}

pub fn versions() -> Vec<Case> {
    let refused = [
        "HTTP/1.2",
        "HTTP/1.9",
        "HTTP/3.0",
        "HTTP/1.1x",
        "HTTP/1.",
        "HTTP/1",
        "HTTPS/1.1",
        "Http/1.1",
        "HTTP/1.1\t",
        "HTTP/+1.1",
        "HTTP/1,1",
    ];
    let mut cases = each("versions", Refused, &refused, |version| line(&format!("GET @ {version}")));
    let rest = "Host: a\r\nKEY\r\nContent-Length: 5\r\n";
    for (fate, more) in [
        (Passes, ""),
        (Passes, "Connection: keep-alive\r\n"),
        (Passes, "Expect: 100-continue\r\n"),
        (Refused, "Transfer-Encoding: chunked\r\n"),
        (Refused, "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    ] {
        // What follows is another request at most, and one without a key.
        cases.push(case("versions", fate, &format!("POST @ HTTP/1.0\r\n{rest}{more}\r\nhelloHIDDEN")));
    }
    // Of an older client, a body without a length is none.
    cases.push(case("versions", OneReading, "POST @ HTTP/1.0\r\nHost: a\r\nKEY\r\n\r\nHIDDEN"));
    cases.push(case("versions", OneReading, "POST @ HTTP/1.1\r\nHost: a\r\nKEY\r\n\r\nHIDDEN"));
    cases
}

pub fn values() -> Vec<Case> {
    let field = |field: &str| format!("GET @ HTTP/1.1\r\nHost: a\r\nKEY\r\n{field}\r\n\r\n");
    let passed = [
        "X-A:",
        "X-A: ",
        "X-A:b",
        "X-A:\tb\t",
        "X-A: \u{ff}",
        "X-A: a\tb",
        "X: A: b",
        "X-A: b\nX-B: c",
        "X-A: b\n",
        "x-a: 1\r\nX-A: 2",
        "Connection: ,,,",
        "Connection: \"a\"",
        "TE: gzip",
        "Max-Forwards: 0",
        "Content-Length: 0",
    ];
    let refused = [
        "\tX-A: b",
        "X-A\t: b",
        "X-A: b\x1b",
        "X-A: b\x0b",
        "X-A: b\x0c",
        "X-A: b\r",
        "X-A: b\r\r\n",
        ":",
        "\"X-A\": b",
        "X-A\u{a0}: b",
        "X-A\0: b",
        "X/A: b",
        "Content-Length: 00",
        "Content-Length: 0, 0",
        "Expect: ",
        "Host: a",
        "X-A: \x7f",
        "Transfer-Encoding: chunked",
    ];
    let mut cases = each("values", Passes, &passed, field);
    cases.extend(each("values", Refused, &refused, field));
    // A bare LF ends the head too: what follows is another request.
    cases.extend(each("values", OneReading, &["\nX-A: b", "\nHIDDEN", "X-A: b\n\nHIDDEN"], field));
    let many = |count: usize| (0..count).map(|at| format!("X-{at}: 1")).collect::<Vec<_>>().join("\r\n");
    cases.push(case("values", Passes, &field(&many(97))));
    cases.push(case("values", Refused, &field(&many(99))));
    cases.push(case("values", Refused, &field(&format!("X-A: {}", "b".repeat(17_000)))));
    cases
}

pub fn ends() -> Vec<Case> {
    let get = line("GET @ HTTP/1.1");
    let before = ["\n", "\n\n\r\n", &"\r\n".repeat(1_000)];
    let mut cases = each("leading lines", OneReading, &before, |before| format!("{before}{get}"));
    let refused =
        [" \r\n", "\t", "\u{feff}", "\0", "PROXY TCP4 6.6.6.6 6.6.6.6 1 2\r\n", &"\r\n".repeat(20_000)];
    cases.extend(each("leading lines", Refused, &refused, |before| format!("{before}{get}")));
    cases.extend(each("leading lines", OneReading, &["\r\n\r\n", "\n", "garbage\r\n\r\n"], |after| {
        format!("{get}{after}HIDDEN")
    }));
    cases.push(case("line ends", OneReading, "POST @ HTTP/1.1\nHost: a\nKEY\nContent-Length: 5\n\nhello"));
    cases.push(case("line ends", OneReading, "GET @ HTTP/1.1\r\nHost: a\r\nKEY\r\n\n"));
    cases
}

pub fn bodies() -> Vec<Case> {
    let chunked =
        |body: &str| format!("POST @ HTTP/1.1\r\nHost: a\r\nKEY\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(300));
    let one = [
        "000005\r\nhello\r\n0\r\n\r\n",
        "0000000000000000000000005\r\nhello\r\n0\r\n\r\n",
        "5;a\0b\r\nhello\r\n0\r\n\r\n",
        &long,
        "5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
        "5\r\nhello\r\n0\r\nX_T: 1\r\n\r\n",
        "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\nHIDDEN",
    ];
    let mut cases = each("chunk sizes", OneReading, &one, chunked);
    let endless = format!("5\r\nhello\r\n0\r\nX-T: {}\r\n\r\n", "a".repeat(20_000));
    let cut = [
        "5\r\nhello\r\n0\r\nX-T: 1\n\r\n",
        "5\r\nhello\r\n0\r\nX-T : 1\r\n\r\n",
        "5\r\nhello\r\n0\r\n X: 1\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-T: 1\r\n b\r\n\r\n",
        "5\r\nhello\r\n0\r\nX\r\n\r\n",
        "5\r\nhello\r\n0\r\n:a\r\n\r\n",
        &endless,
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
    ];
    cases.extend(each("chunk sizes", CutOff, &cut, chunked));
    let lines = |lines: &str| {
        format!(
            "POST @ HTTP/1.1\r\nHost: a\r\nKEY\r\nTransfer-Encoding: chunked\r\n{lines}\r\n\r\n0\r\n\r\nHIDDEN"
        )
    };
    cases.extend(each(
        "both framings",
        OneReading,
        &[
            "Content-Length: x",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 6",
            "Content-Length: -1",
        ],
        lines,
    ));
    cases
}
