//! Requests that two parsers could read differently, family by family: what the client got beside what the CRM saw.
//!
//! Whatever becomes of a case, the CRM sees at most one request of it, in one canonical form, and never the one that is
//! hidden in it. Refused are all but those that hyper has made one reading of before anything here sees them.

mod cases;
mod folds;
mod heads;

use std::collections::BTreeMap;

use cases::{Case, CutOff, OneReading, Passes, Refused};

use crate::support::client::Connection;
use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan, TestKey};

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
    let cases = cases::all();
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
