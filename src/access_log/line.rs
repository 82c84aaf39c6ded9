//! How one request is written down. What reads it back is [`records`](../../records/line/index.html).

use std::io::Write;
use std::time::Duration;

use http::uri::PathAndQuery;

use super::sampling::Sampling;
use crate::outcome::{Caller, Outcome};

/// One line. Fields that are not known are left out. `second` is the moment as text, to the second and without the `Z`.
pub(super) fn line(out: &mut Vec<u8>, second: &str, outcome: &Outcome<'_>, sampling: Sampling) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(second.as_bytes());
    let millis = u16::try_from(outcome.at.unix_millis().rem_euclid(1000)).unwrap_or(0);
    out.push(b'.');
    let [hundreds, tens, ones] =
        [millis / 100, millis / 10 % 10, millis % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or(0));
    out.extend_from_slice(&[hundreds, tens, ones]);
    out.extend_from_slice(b"Z\"");
    plain(out, b",\"id\":\"", outcome.request_id.as_bytes());
    match outcome.client {
        // An address has no character that JSON escapes.
        Some(client) => plain(out, b",\"client\":\"", client.ip().to_string()),
        None => plain(out, b",\"client\":\"", outcome.peer),
    }
    plain(out, b",\"method\":\"", outcome.method.as_str());
    field(out, b",\"path\":\"", outcome.path.map_or("[hidden]", PathAndQuery::path));
    plain(out, b",\"route\":\"", outcome.route);
    if let Caller::Key(holder) = outcome.caller {
        plain(out, b",\"key\":\"", holder.key.id.as_str());
    }
    if let Some(scope) = outcome.scope {
        plain(out, b",\"scope\":\"", scope.as_str());
    }
    if let Some(status) = outcome.status {
        count(out, b",\"status\":", u64::from(status.as_u16()));
    }
    if let Some(denial) = outcome.denial {
        plain(out, b",\"reason\":\"", denial.reason());
        if let Some(detail) = denial.detail() {
            plain(out, b",\"detail\":\"", detail);
        }
    }
    if let Some(observed) = outcome.observed {
        plain(out, b",\"observed\":\"", observed.reason());
    }
    if let Some(delivery) = outcome.delivery.word() {
        plain(out, b",\"delivery\":\"", delivery);
    }
    if let Some((sender, hours)) = outcome.judged {
        plain(out, b",\"sender\":\"", sender.word());
        plain(out, b",\"hours\":\"", hours.word());
    }
    plain(out, b",\"end\":\"", outcome.ending.word());
    count(out, b",\"bytes_in\":", outcome.bytes_in);
    count(out, b",\"bytes_out\":", outcome.bytes_out);
    count(out, b",\"us\":", micros(outcome.total));
    if let Some(upstream) = outcome.upstream {
        count(out, b",\"upstream_us\":", micros(upstream));
    }
    if let Some(stands_for) = sampling.stands_for(outcome) {
        count(out, b",\"sampled\":", u64::from(stands_for));
    }
    out.extend_from_slice(b"}\n");
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A value whose grammar has nothing that JSON escapes: a token, a name, an address. `start` is `,"name":"`.
fn plain(out: &mut Vec<u8>, start: &[u8], value: impl AsRef<[u8]>) {
    out.extend_from_slice(start);
    out.extend_from_slice(value.as_ref());
    out.push(b'"');
}

/// A number. `start` is `,"name":`.
fn count(out: &mut Vec<u8>, start: &[u8], value: u64) {
    out.extend_from_slice(start);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn field(out: &mut Vec<u8>, start: &[u8], value: &str) {
    out.extend_from_slice(start);
    let fits = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\' && byte != 0x7f;
    if value.bytes().all(fits) {
        out.extend_from_slice(value.as_bytes());
    } else {
        for byte in value.bytes() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                // Writing to a Vec does not fail.
                other if !fits(other) => drop(write!(out, "\\u{byte:04x}")),
                other => out.push(other),
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_strings() {
        let mut out = Vec::new();
        count(&mut out, b",\"n\":", u64::MAX);
        field(&mut out, b",\"p\":\"", "a\"\\\n\u{1b}é");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            ",\"n\":18446744073709551615,\"p\":\"a\\\"\\\\\\u000a\\u001bé\""
        );
    }
}
