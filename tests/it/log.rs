//! `sidelock log` over logs with fixed times.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::mpsc;

use crate::support::PATIENCE;
use crate::support::ledger::{Entry, get, refused, text};
use crate::support::office::{Office, said};

const KEYS: &str = "[[key]]\nid = \"pay\"\ntitle = \"Payment \u{202e}gateway\"\ndigest = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\nscopes = [\"read\"]\n";

fn office(entries: &[Entry]) -> Office {
    let office = Office::with(KEYS);
    std::fs::create_dir(office.path("state")).unwrap();
    std::fs::write(office.path("state/access.ndjson"), text(entries)).unwrap();
    office
}

/// The paths of the requests that a command shows.
fn paths(office: &Office, args: &[&str]) -> Vec<String> {
    let text = office.done(&[&["log", "--json", "--since", "all"], args].concat());
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.map(|line| line["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_filter_finds_what_it_names() {
    let post = Entry {
        method: "POST",
        status: 403,
        more: ",\"reason\":\"scope\"".to_owned(),
        ..get(30, "gone", "/b/2")
    };
    let hook = Entry { route: "telegram", key: None, ..get(40, "", "/hook") };
    let far = Entry { client: "2001:db8::1".to_owned(), ..get(50, "pay", "/c\"\u{1b}") };
    let office = office(&[
        get(0, "pay", "/a/1"),
        get(10, "pay", "/a/2"),
        refused(20, "198.51.100.9", "unknown"),
        post,
        hook,
        far,
    ]);
    for (args, found) in [
        (&["--key", "pay"][..], &["/a/1", "/a/2", "/c\"\u{1b}"][..]),
        (&["--key", "Payment \u{202e}gateway"], &["/a/1", "/a/2", "/c\"\u{1b}"]),
        (&["--key", "gone"], &["/b/2"]),
        (&["--key", "pa"], &[]),
        (&["--refused"], &["/api/x", "/b/2"]),
        (&["--reason", "scope"], &["/b/2"]),
        (&["--address", "198.51.100.9"], &["/api/x"]),
        (&["--address", "198.51.100.0/24"], &["/api/x"]),
        (&["--address", "2001:DB8:0::1"], &["/c\"\u{1b}"]),
        (&["--address", "2001:db8::/32"], &["/c\"\u{1b}"]),
        (&["--route", "telegram"], &["/hook"]),
        (&["--path", "/a/"], &["/a/1", "/a/2"]),
        (&["--path", "/c\""], &["/c\"\u{1b}"]),
        (&["--path", "a"], &[]),
        (&["--request-id", "000000000000000a"], &["/a/2"]),
        (&["--limit", "2"], &["/hook", "/c\"\u{1b}"]),
        (
            &["--since", "2026-11-22T10:00:10Z", "--until", "2026-11-22T10:00:40Z"],
            &["/a/2", "/api/x", "/b/2"],
        ),
        (&["--until", "2026-11-22"], &[]),
        (&["--since", "2026-11-22", "--key", "pay", "--path", "/a/2"], &["/a/2"]),
    ] {
        // The last --since counts.
        let found: Vec<String> = found.iter().map(|path| (*path).to_owned()).collect();
        let args: Vec<&str> = args.to_vec();
        let shown = if args.contains(&"--since") {
            let text = office.done(&[&["log", "--json"], args.as_slice()].concat());
            let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            lines.map(|line| line["path"].as_str().unwrap().to_owned()).collect()
        } else {
            paths(&office, &args)
        };
        assert_eq!(shown, found, "{args:?}");
    }
}

#[test]
fn the_table_tells_why_and_steers_no_terminal() {
    let hostile = Entry { path: "/x\u{1b}[2J\u{202e}".to_owned(), ..get(0, "pay", "") };
    let mut odd = get(5, "gone", "/y");
    odd.more = ",\"observed\":\"scope\",\"sampled\":10".to_owned();
    let mut ambiguous = refused(10, "198.51.100.9", "ambiguous");
    ambiguous.more.push_str(",\"detail\":\"double_slash\"");
    let unheard = refused(20, "198.51.100.9", "of_tomorrow\u{9b}");
    let office = office(&[hostile, odd, ambiguous, unheard, refused(30, "::1", "unknown")]);
    let table = office.done(&["log", "--since", "all"]);
    assert!(table.chars().all(|it| it == '\n' || !(it.is_control() || it == '\u{202e}')), "{table:?}");
    for part in [
        "2026-11-22T10:00:00Z 203.0.113.7     pay Payment \\u{202e}gateway ",
        "/x\\u{1b}[2J\\u{202e}\n",
        " gone ",
        "would be refused: The key may not do this [scope]  (one of 10)",
        "refused: The request can be read in more than one way (double slash) [ambiguous]",
        "refused: of_tomorrow\\u{9b} [of_tomorrow\\u{9b}]",
        "refused: No key has this credential [unknown]",
    ] {
        assert!(table.contains(part), "{part}\n{table}");
    }
    let json = office.done(&["log", "--since", "all", "--json"]);
    assert!(json.is_ascii() && json.contains("\\u202e"), "{json}");
}

#[test]
fn what_is_odd_is_said_and_nothing_stops_it() {
    let office = office(&[get(0, "pay", "/a")]);
    let older = office.path("state/access-20261122T090000Z.ndjson");
    std::fs::write(&older, format!("{{\"time\":\"torn\n{}rubbish", get(-9000, "pay", "/older").line()))
        .unwrap();
    std::fs::write(office.path("state/access.ndjson.3.gz"), "x").unwrap();
    office.save("broken");
    let output = office.run(&["log", "--since", "all", "--json", "--key", "pay"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches("/older\"").count(), 1);
    assert!(String::from_utf8_lossy(&output.stdout).contains("/a\""));
    for part in ["the key file has mistakes", "1 rotated file is compressed"] {
        assert!(said(&output).contains(part), "{part}: {}", said(&output));
    }
    let output = office.run(&["log", "--since", "all"]);
    assert!(said(&output).contains("2 lines are torn"), "{}", said(&output));
    std::fs::write(office.path("sidelock.toml"), "[").unwrap();
    assert_eq!(office.run(&["log"]).status.code(), Some(2));
}

#[test]
fn the_log_is_in_the_state_folder() {
    let office = Office::with(KEYS);
    let config = std::fs::read_to_string(office.path("sidelock.toml")).unwrap();
    let moved = config.replace("[server]\n", "[server]\nstate_dir = \"elsewhere\"\n");
    assert_ne!(moved, config);
    std::fs::write(office.path("sidelock.toml"), moved).unwrap();
    std::fs::create_dir(office.path("elsewhere")).unwrap();
    std::fs::write(office.path("elsewhere/access.ndjson"), get(0, "pay", "/a").line()).unwrap();
    assert_eq!(paths(&office, &[]), ["/a"]);
    assert!(office.done(&["report", "--json", "--since", "2026-11-22"]).contains("\"pay\""));
}

#[test]
fn without_a_log_it_says_so() {
    let office = Office::with(KEYS);
    assert!(office.refused(&["log"]).contains("cannot be read"));
    let config = std::fs::read_to_string(office.path("sidelock.toml")).unwrap();
    for (destination, word) in [("-", "standard output"), ("off", "is off")] {
        let text = format!("{config}[access_log]\nfile = \"{destination}\"\n");
        std::fs::write(office.path("sidelock.toml"), text).unwrap();
        assert!(office.refused(&["log"]).contains(word));
    }
    let output =
        office.with_input(&["log", "--file", "-", "--since", "all", "--json"], &get(0, "pay", "/in").line());
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), get(0, "pay", "/in").line());
    for args in [
        &["log", "--verify"][..],
        &["log", "--changes", "--key", "x"],
        &["log", "--since", "soon"],
        &["log", "-f", "--until", "1h"],
    ] {
        assert_eq!(office.run(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn it_follows_across_a_rotation() {
    let office = office(&[get(0, "pay", "/before")]);
    let log = office.path("state/access.ndjson");
    let mut child =
        office.command(&["log", "--follow", "--key", "pay"]).stdout(Stdio::piped()).spawn().unwrap();
    let (tell, told) = mpsc::channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    let next = || told.recv_timeout(PATIENCE).unwrap();
    let add = |entry: Entry| {
        let mut file = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        file.write_all(entry.line().as_bytes()).unwrap();
    };
    // The head tells that it has begun.
    assert!(next().starts_with("TIME"));
    add(get(1, "pay", "/one"));
    assert!(next().contains("/one"));
    add(get(2, "other", "/not"));
    add(get(3, "pay", "/two"));
    std::fs::rename(&log, office.path("state/access-20261122T110000Z.ndjson")).unwrap();
    add(get(4, "pay", "/three"));
    assert!(next().contains("/two"));
    assert!(next().contains("/three"));
    child.kill().unwrap();
    child.wait().unwrap();
}
