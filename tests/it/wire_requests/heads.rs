//! Request lines, `Host`, and fields.

use super::cases::{Case, OneReading, Passes, Refused, case};

pub fn fields() -> Vec<Case> {
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

pub fn request_lines() -> Vec<Case> {
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

pub fn hosts() -> Vec<Case> {
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
