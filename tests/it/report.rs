//! `sidelock report` over logs with fixed times.

use serde_json::Value;

use crate::support::ledger::{Entry, get, refused, text};
use crate::support::office::{Office, said};

const DAY: i64 = 86_400;
const UNTIL: &str = "2026-11-22T10:00:00Z";

fn key(id: &str, title: &str, lines: &str) -> String {
    let digest = format!("{:0>64}", id.bytes().map(|byte| format!("{byte:02x}")).collect::<String>());
    format!(
        "[[key]]\nid = \"{id}\"\ntitle = {}\ndigest = \"sha256:{digest}\"\nscopes = [\"read\", \"write\"]\ncreated = 2026-01-01T00:00:00Z\n{lines}\n",
        Value::from(title)
    )
}

fn office(keys: &str, log: &str) -> Office {
    let office = Office::with(keys);
    std::fs::create_dir(office.path("state")).unwrap();
    std::fs::write(office.path("state/access.ndjson"), log).unwrap();
    office
}

fn repeat(count: i64, entry: impl Fn(i64) -> Entry) -> Vec<Entry> {
    (0..count).map(entry).collect()
}

/// `count` requests of `key` in each of the last five weeks, oldest first, spread over the week.
fn weekly(key: &'static str, counts: [i64; 5]) -> Vec<Entry> {
    let week = |(number, count): (i64, i64)| {
        let begin = (number - 5) * 7 * DAY;
        repeat(count, move |at| get(begin + at * 7 * DAY / count.max(1), key, "/api/tickets/1"))
    };
    (0..).zip(counts).flat_map(week).collect()
}

fn names(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|it| it[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_review_compares_each_key_with_its_own_past() {
    let keys = ["even", "more", "less", "fresh", "idle"].map(|id| key(id, id, "")).concat()
        + &key("soon", "soon", "expires = 2026-12-01T00:00:00Z")
        + &key("over", "over", "revoked = true");
    let entries = [
        weekly("even", [1_000, 1_010, 990, 1_000, 1_005]),
        weekly("more", [100, 110, 90, 100, 900]),
        weekly("less", [1_000, 1_000, 1_000, 1_000, 50]),
        weekly("fresh", [0, 0, 0, 0, 40]),
        weekly("gone", [5, 5, 5, 5, 5]),
        repeat(1, |_| get(-32 * DAY, "idle", "/api/x")),
    ]
    .concat();
    let mut entries = entries;
    entries.sort_by_key(|entry| entry.secs);
    let office = office(&keys, &text(&entries));
    let review = office.json(&["report", "--until", UNTIL])["review"].clone();
    let of = |id: &str| {
        let keys = review["keys"].as_array().unwrap();
        keys.iter().find(|it| it["id"] == id).unwrap_or_else(|| panic!("{id}")).clone()
    };
    assert_eq!((review["past_periods"].as_u64(), review["sampled"].as_bool()), (Some(4), Some(false)));
    for (id, standing) in
        [("even", "usual"), ("more", "more"), ("less", "less"), ("fresh", "new"), ("gone", "usual")]
    {
        assert_eq!(of(id)["volume"]["standing"], standing, "{id}");
    }
    assert_eq!(of("more")["volume"]["now"], 900);
    assert_eq!(
        (of("more")["volume"]["usual"].as_f64(), of("more")["volume"]["ratio"].as_f64()),
        (Some(100.0), Some(9.0))
    );
    assert!(of("more")["volume"]["z"].as_f64().unwrap() > 10.0);
    assert_eq!(of("more")["volume"]["parts"].as_array().unwrap().len(), 35);
    assert_eq!((of("gone")["title"].as_str(), of("more")["title"].as_str()), (None, Some("more")));
    assert_eq!(names(&review["keys"], "id")[..3], ["more", "fresh", "less"], "what stands out comes first");
    assert_eq!(review["unused"].as_array().unwrap().len(), 2, "{}", review["unused"]);
    assert_eq!(names(&review["unused"], "id"), ["idle", "soon"]);
    assert_eq!(
        (review["unused"][0]["last_used"].as_str(), review["unused"][1]["last_used"].as_str()),
        (Some("2026-10-21T10:00:00Z"), None)
    );
    assert_eq!(names(&review["expiring"], "id"), ["soon"]);
    assert_eq!(review["overprivileged"][0]["unused"][0], "write");
    let text = office.done(&["report", "--until", UNTIL]);
    for part in [
        "far more than usual",
        "far less than usual",
        "as usual",
        "(no longer in the key file)",
        "Compared with the 4 periods before.",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

fn counts(list: &Value) -> Vec<(&str, u64)> {
    let list = list.as_array().unwrap().iter();
    list.map(|it| (it["name"].as_str().unwrap(), it["count"].as_u64().unwrap())).collect()
}

/// One of everything that the review counts beside keys.
fn mixed() -> Office {
    let hook = |secs: i64, more: &str| Entry {
        route: "tg",
        method: "POST",
        key: None,
        scope: None,
        more: more.to_owned(),
        ..get(secs, "", "/tg")
    };
    let mut entries = repeat(50, |at| refused(-DAY + at, "198.51.100.9", "unknown"));
    entries.extend(repeat(300, |at| refused(-DAY + at, &format!("2001:db8::{at:x}"), "missing")));
    entries.extend(repeat(7, |at| refused(-DAY + at, "198.51.100.9", "scope")));
    entries.push(hook(-900, ",\"sender\":\"expected\",\"hours\":\"in\""));
    entries.push(hook(-800, ",\"sender\":\"unexpected\",\"hours\":\"out\""));
    entries.push(hook(-700, ",\"delivery\":\"withheld\",\"sender\":\"blocked\",\"hours\":\"in\""));
    entries.push(Entry { status: 502, ..hook(-600, "") });
    entries.push(Entry { status: 401, ..hook(-500, ",\"reason\":\"webhook_secret_wrong\"") });
    entries.push(Entry { key: Some("trap"), status: 401, ..refused(-400, "192.0.2.1", "decoy") });
    entries.push(Entry {
        more: ",\"observed\":\"scope\",\"sampled\":10".to_owned(),
        ..get(-300, "pay", "/api/x")
    });
    let office = office(&key("pay", "Pay", ""), &text(&entries));
    let config = std::fs::read_to_string(office.path("sidelock.toml")).unwrap();
    let webhook =
        "[[webhook]]\nname = \"tg\"\npath = \"/tg\"\nsender = \"telegram\"\nsecrets = [\"env:X\"]\n";
    std::fs::write(office.path("sidelock.toml"), config + webhook).unwrap();
    office
}

#[test]
fn refusals_webhooks_decoys_and_observed_keys_are_counted() {
    let office = mixed();
    let review = office.json(&["report", "--until", UNTIL])["review"].clone();
    let is = |list: &Value, expected: &[(&str, u64)]| assert_eq!(counts(list), expected);
    is(
        &review["addresses"],
        &[("2001:db8::/64", 300), ("198.51.100.9", 50), ("192.0.2.1", 1), ("203.0.113.7", 1)],
    );
    is(
        &review["reasons"],
        &[("missing", 300), ("unknown", 50), ("scope", 7), ("decoy", 1), ("webhook_secret_wrong", 1)],
    );
    is(
        &review["webhooks"][0]["results"],
        &[("accepted", 2), ("failed", 1), ("webhook_secret_wrong", 1), ("withheld", 1)],
    );
    is(
        &review["webhooks"][0]["senders"],
        &[("blocked", 1), ("expected", 1), ("out of hours", 1), ("unexpected", 1)],
    );
    is(&review["decoys"], &[("trap from 192.0.2.1", 1)]);
    is(&review["observed"], &[("pay: scope", 10)]);
    assert_eq!((review["sampled"].as_bool(), review["past_periods"].as_u64()), (Some(true), Some(0)));
    assert_eq!(review["refused_credentials"]["now"], 352);
    let text = office.done(&["report", "--until", UNTIL]);
    assert!(
        text.contains("Successes were sampled") && text.contains("there is no whole period before"),
        "{text}"
    );
}

fn leaked() -> Office {
    let usual = repeat(500, |at| get(-20 * DAY + at * 60, "pay", "/api/tickets/1"));
    let from = |client: &str, entry: Entry| Entry { client: client.to_owned(), ..entry };
    let mut entries = usual;
    entries.extend(repeat(20, |at| get(-2 * DAY + at * 60, "pay", &format!("/api/tickets/{at}"))));
    entries.extend(repeat(30, |at| {
        from("192.0.2.66", get(-DAY + at * 60, "pay", &format!("/api/contacts/{}", 1_000 + at)))
    }));
    let patch = Entry {
        method: "PATCH",
        scope: Some("write"),
        ..from("192.0.2.66", get(-DAY + 9, "pay", "/api/tickets/7"))
    };
    let denied = Entry {
        status: 403,
        scope: None,
        more: ",\"reason\":\"scope\"".to_owned(),
        ..Entry { method: "DELETE", ..patch.clone() }
    };
    let failed = Entry { status: 500, ..patch.clone() };
    let export =
        Entry { scope: Some("bulk.export"), ..from("192.0.2.66", get(-DAY + 10, "pay", "/api/export")) };
    entries.extend([
        patch,
        denied,
        failed,
        export,
        get(-DAY, "other", "/api/secret/1"),
        get(10, "pay", "/api/after"),
    ]);
    office(
        &key(
            "pay",
            "Payment",
            "owner = \"ada@example.com\"\nrevoked = true\nrevoked_at = 2026-11-22T09:00:00Z",
        ),
        &text(&entries),
    )
}

#[test]
fn a_leaked_key_is_followed_to_what_it_reached() {
    let office = leaked();
    let report =
        office.json(&["report", "--key", "Payment", "--since", "2026-11-19T10:00:00Z", "--until", UNTIL]);
    assert_eq!(report["kind"], "key");
    let radius = &report["radius"];
    let row = |list: &str, name: &str| {
        let rows = radius[list].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{list}: {name}")).clone()
    };
    assert_eq!(
        (report["key"]["title"].as_str(), report["key"]["state"].as_str()),
        (Some("Payment"), Some("revoked"))
    );
    assert_eq!(
        (radius["requests"].as_u64(), radius["refused"].as_u64(), radius["baseline_requests"].as_u64()),
        (Some(54), Some(1), Some(500))
    );
    assert_eq!(
        (row("addresses", "192.0.2.66")["new"].as_bool(), row("addresses", "203.0.113.7")["new"].as_bool()),
        (Some(true), Some(false))
    );
    assert_eq!(row("addresses", "192.0.2.66")["first"], "2026-11-21T10:00:00Z");
    assert_eq!(row("addresses", "192.0.2.66")["last"], "2026-11-21T10:29:00Z");
    assert_eq!(
        (
            row("shapes", "GET /api/contacts/{id}")["new"].as_bool(),
            row("shapes", "GET /api/tickets/{id}")["new"].as_bool()
        ),
        (Some(true), Some(false))
    );
    let patch = row("changes", "PATCH /api/tickets/{id}");
    assert_eq!(
        (patch["succeeded"].as_u64(), patch["failed"].as_u64(), patch["refused"].as_u64()),
        (Some(1), Some(1), Some(0))
    );
    assert_eq!(row("changes", "DELETE /api/tickets/{id}")["refused"], 1);
    assert_eq!(radius["exports"][0]["name"], "bulk.export: GET /api/export");
    assert_eq!(names(&radius["records"], "shape"), ["/api/contacts/{id}", "/api/tickets/{id}"]);
    assert_eq!(
        (radius["records"][0]["ids"].as_u64(), radius["records"][1]["ids"].as_u64()),
        (Some(30), Some(20))
    );
    let seven = &radius["records"][1]["examples"][0];
    assert_eq!(
        (seven["id"].as_str(), seven["changed"].as_bool()),
        (Some("7"), Some(true)),
        "what was changed comes first"
    );
    assert_eq!(radius["hours"].as_array().unwrap().len(), 72);
    assert!(!report.to_string().contains("secret"), "another key's requests are not in it");
}

#[test]
fn the_notice_tells_the_facts() {
    let office = leaked();
    let report =
        office.json(&["report", "--key", "pay", "--since", "2026-11-19T10:00:00Z", "--until", UNTIL]);
    let notice = report["notice"].as_str().unwrap();
    for part in [
        "\"Payment\"",
        "54 requests from 2 addresses",
        "192.0.2.66",
        "At least 50 records",
        "1 request that can change",
        "revoked on 2026-11-22 09:00 UTC",
    ] {
        assert!(notice.contains(part), "{part}\n{notice}");
    }
}

#[test]
fn a_key_that_no_longer_exists_and_one_that_was_never_used() {
    let office = leaked();
    office.save(&key("idle", "Idle", ""));
    let text = office.done(&["report", "--key", "pay", "--since", "2026-11-19", "--until", UNTIL]);
    assert!(text.contains("no longer in the key file") && text.contains("192.0.2.66"), "{text}");
    let text = office.done(&["report", "--key", "idle", "--since", "2026-11-19", "--until", UNTIL]);
    assert!(
        text.contains("The log holds no request with this key") && text.contains("The key was not used"),
        "{text}"
    );
    // What is mistyped, or could be either of two, must not be told to be unused.
    office.save(&["one", "two"].map(|id| key(id, "Twin", "")).concat());
    for (named, said) in
        [("nobody", "neither the key file nor the log"), ("No Body", "no key has"), ("Twin", "one, two")]
    {
        let told = office.refused(&["report", "--key", named, "--since", "2026-11-19", "--until", UNTIL]);
        assert!(told.contains(said), "{named}: {told}");
    }
    for args in [&["--since", "all"][..], &["--since", "2026-11-22", "--until", "2026-11-20"]] {
        office.refused(&[&["report"], args].concat());
    }
}

#[test]
fn the_page_needs_nothing_and_nothing_in_it_is_markup() {
    let hostile = "</title><script>alert(1)</script>\"'&\u{202e}";
    let mut entry = get(-DAY, "pay", "/api/<img src=x onerror=alert(2)>\u{1b}[2J");
    entry.client = "<b>client".to_owned();
    let office = office(&key("pay", hostile, "owner = \"<i>o\""), &entry.line());
    for args in [
        &["report", "--until", UNTIL][..],
        &["report", "--key", "pay", "--since", "2026-11-19", "--until", UNTIL],
    ] {
        let page = office.done(&[args, &["--html", "-"]].concat());
        assert!(page.contains("&lt;script&gt;alert(1)"), "{args:?}");
        for markup in [
            "<script",
            "<img",
            "<b>",
            "<i>",
            "\u{1b}",
            "\u{202e}",
            "http:",
            "https:",
            "url(",
            "style=",
            "onerror=alert(2)>",
        ] {
            assert!(!page.contains(markup), "{args:?}: {markup}");
        }
        assert!(page.contains("default-src 'none'; style-src 'sha256-"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }
    let json = office.done(&["report", "--key", "pay", "--since", "2026-11-19", "--until", UNTIL, "--json"]);
    assert!(json.contains("\\u202e") && !json.contains('\u{202e}'), "{json}");
    let file = office.path("page.html");
    let output = office.run(&["report", "--until", UNTIL, "--html", file.to_str().unwrap()]);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", said(&output));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0);
    let text = office.done(&["report", "--key", "pay", "--since", "2026-11-19", "--until", UNTIL]);
    assert!(text.chars().all(|it| it == '\n' || !(it.is_control() || it == '\u{202e}')), "{text:?}");
}

#[test]
fn a_flood_of_addresses_paths_and_ids_is_bounded_and_said() {
    let mut log = String::new();
    for number in 0..60_000_i64 {
        let client = format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255);
        log.push_str(&refused(-DAY, &client, "unknown").line());
        let mut entry = get(-DAY + number % 1_000, "pay", &format!("/api/x{}q/{}", number % 20_000, number));
        entry.client = client;
        log.push_str(&entry.line());
    }
    let office = office(&key("pay", "Pay", ""), &log);
    let review = office.json(&["report", "--until", UNTIL])["review"].clone();
    assert!(review["addresses_forgotten"].as_u64().unwrap() > 30_000);
    assert_eq!(review["addresses"].as_array().unwrap().len(), 100);
    let radius =
        office.json(&["report", "--key", "pay", "--since", "2026-11-19", "--until", UNTIL])["radius"].clone();
    assert!(radius["addresses_forgotten"].as_u64().unwrap() > 30_000);
    assert!(radius["shapes_forgotten"].as_u64().unwrap() > 5_000);
    assert!(radius["records_left_out"].as_u64().unwrap() > 10_000);
    assert_eq!(radius["requests"], 60_000);
    let text = office.done(&["report", "--key", "pay", "--since", "2026-11-19", "--until", UNTIL]);
    assert!(text.contains("were forgotten for want of room") && text.len() < 200_000);
}
