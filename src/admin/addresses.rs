//! `/addresses`: from where credentials are refused. `/bans`: which addresses may not use keys, and changes to that. JSON both.

use http::{Method, StatusCode, Uri};
use serde_json::{Value, json};

use crate::client_addr::AddrGroup;
use crate::clock::WallTime;
use crate::config::units::Span;
use crate::limits::bans::{Ban, Cause, LONGEST, MOST_BANS};
use crate::limits::failures::Failures;

/// Most addresses that are shown.
const MOST_SHOWN: usize = 100;

/// The answer to whoever may ask.
pub(super) fn answer(failures: &Failures, method: &Method, uri: &Uri) -> (StatusCode, Value) {
    let query = uri.query().unwrap_or_default();
    match (uri.path(), method) {
        ("/addresses", &Method::GET) => (StatusCode::OK, offenders(failures)),
        ("/bans", &Method::GET) => (StatusCode::OK, bans(failures)),
        ("/bans", &Method::POST) => add(failures, query),
        ("/bans", &Method::DELETE) => lift(failures, query),
        (_, _) => refuse(StatusCode::METHOD_NOT_ALLOWED, "GET; for /bans also POST and DELETE"),
    }
}

fn offenders(failures: &Failures) -> Value {
    let shown = |it: crate::limits::failures::Offender| {
        json!({
            "address": it.group.to_string(),
            "refused": it.count,
            "first_seen": it.first.rfc3339(),
            "last_seen": it.last.rfc3339(),
            "banned_until": failures.bans.of(it.group).map(|ban| ban.ends.rfc3339()),
        })
    };
    let addresses: Vec<Value> = failures.offenders(MOST_SHOWN).into_iter().map(shown).collect();
    json!({ "addresses": addresses, "remembered": failures.remembered() })
}

fn bans(failures: &Failures) -> Value {
    let bans: Vec<Value> = failures.bans.all().into_iter().map(|(group, ban)| shown(group, ban)).collect();
    json!({ "bans": bans, "most": MOST_BANS })
}

fn shown(group: AddrGroup, Ban { until: _, since, ends, cause }: Ban) -> Value {
    let moment = WallTime::rfc3339;
    json!({ "address": group.to_string(), "since": moment(since), "until": moment(ends), "cause": cause.word() })
}

fn add(failures: &Failures, query: &str) -> (StatusCode, Value) {
    let Some(group) = address(query) else { return refuse(StatusCode::BAD_REQUEST, "no address") };
    let lasts = parameter(query, "for").unwrap_or("1h").parse().ok().map(|Span(lasts)| lasts);
    let Some(lasts) = lasts.filter(|lasts| !lasts.is_zero() && *lasts <= LONGEST) else {
        return refuse(StatusCode::BAD_REQUEST, "not a time of at most 366d");
    };
    let ban = failures.bans.add(group, lasts, Cause::Command);
    tracing::info!(address = %group, until = ban.ends.rfc3339(), "an address was banned by command");
    (StatusCode::OK, shown(group, ban))
}

fn lift(failures: &Failures, query: &str) -> (StatusCode, Value) {
    let Some(group) = address(query) else { return refuse(StatusCode::BAD_REQUEST, "no address") };
    if failures.bans.lift(group) {
        tracing::info!(address = %group, "a ban was lifted by command");
        (StatusCode::OK, json!({ "address": group.to_string(), "lifted": true }))
    } else {
        refuse(StatusCode::NOT_FOUND, "this address is not banned")
    }
}

fn refuse(status: StatusCode, why: &str) -> (StatusCode, Value) {
    (status, json!({ "error": why }))
}

fn address(query: &str) -> Option<AddrGroup> {
    parameter(query, "address")?.parse().ok()
}

/// Nothing that these have needs an escape.
fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(given, _)| *given == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::denial::Denial;

    #[test]
    fn bans_are_shown_made_and_lifted() {
        let time = ManualClock::at(WallTime::from_unix_secs(1_700_000_000));
        let failures = Failures::new(10, &time.clock());
        let ask = |method: &str, target: &str| {
            answer(&failures, &method.parse().unwrap(), &target.parse().unwrap())
        };
        let (status, made) = ask("POST", "/bans?address=2001:db8::7&for=10min");
        assert_eq!(status, StatusCode::OK);
        let ban = json!({
            "address": "2001:db8::/64",
            "since": "2023-11-14T22:13:20Z",
            "until": "2023-11-14T22:23:20Z",
            "cause": "command",
        });
        assert_eq!(made, ban);
        assert_eq!(ask("GET", "/bans").1, json!({ "bans": [ban], "most": MOST_BANS }));
        assert_eq!(ask("DELETE", "/bans?address=2001:db8::/64").0, StatusCode::OK);
        assert_eq!(ask("DELETE", "/bans?address=2001:db8::").0, StatusCode::NOT_FOUND);
        for bad in
            ["/bans", "/bans?address=x", "/bans?address=192.0.2.1&for=400d", "/bans?address=192.0.2.1&for=0s"]
        {
            assert_eq!(ask("POST", bad).0, StatusCode::BAD_REQUEST, "{bad}");
        }
        assert_eq!(ask("POST", "/addresses").0, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn no_more_addresses_than_can_be_read() {
        let clock = Clock::system();
        let failures = Failures::new(1_000, &clock);
        for number in 0..500_u32 {
            let from = AddrGroup::of(std::net::Ipv4Addr::from_bits(number).into());
            failures.refuse(Denial::CredentialUnknown, from, "10/min".parse().unwrap(), clock.now());
        }
        let shown = offenders(&failures);
        assert_eq!(shown["addresses"].as_array().map(Vec::len), Some(MOST_SHOWN));
        assert!(shown["addresses"][0]["banned_until"].is_null());
    }
}
