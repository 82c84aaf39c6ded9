//! `[upstream]` with several addresses: every mistake is told where it stands.

use sidelock::config::environment::Environment;
use sidelock::config::source::Source;

fn told(upstream: &str) -> String {
    let text = format!("[server]\nlisten = [\"127.0.0.1:0\"]\n[upstream]\n{upstream}\n");
    let source = Source { path: "sidelock.toml".into(), text };
    let parsed = sidelock::config::parse(&source, &Environment::Map(Default::default()));
    parsed.report.render(std::slice::from_ref(&source), false)
}

const PAIR: &str = "urls = [\"http://10.0.0.1:3000\", \"http://10.0.0.2:3000\"]";

#[test]
fn fine() {
    for upstream in [
        "url = \"http://10.0.0.1:3000\"",
        PAIR,
        "urls = [\"unix:/run/crm.sock\", \"http://10.0.0.2\"]",
        "urls = [\"https://a.example\", \"https://b.example\"]\nserver_name = \"crm.example\"",
        &format!("{PAIR}\nmax_connections = 50\nmax_fails = 0\nmax_eject = \"1min\""),
        &format!("{PAIR}\n[upstream.health_check]\npath = \"/health\""),
        &format!(
            "{PAIR}\n[upstream.health_check]\npath = \"/up?x=1\"\nevery = \"1s\"\ntimeout = \"500ms\"\nfall = 3\nrise = 2"
        ),
    ] {
        assert_eq!(told(upstream), "", "{upstream}");
    }
}

#[test]
fn mistakes() {
    let check = |lines: &str| format!("{PAIR}\n[upstream.health_check]\n{lines}");
    for (upstream, why) in [
        (String::new(), "'url' is missing from [upstream]"),
        (format!("url = \"http://10.0.0.1\"\n{PAIR}"), "'urls' takes the place of 'url'"),
        ("urls = []".to_owned(), "expected from 1 to 64 addresses"),
        (
            "urls = [\"http://10.0.0.1\"]".to_owned(),
            "'urls' has one address: where it is down there is no other",
        ),
        ("urls = \"http://10.0.0.1\"".to_owned(), "expected a list"),
        ("urls = [\"http://10.0.0.1:80\", \"http://10.0.0.1\"]".to_owned(), "stands here twice"),
        ("urls = [\"http://A.example\", \"http://a.example\"]".to_owned(), "stands here twice"),
        (
            "urls = [\"http://10.0.0.1\", \"https://10.0.0.2\"]".to_owned(),
            "all addresses are 'https', or none is",
        ),
        (
            "urls = [\"https://10.0.0.1\", \"unix:/run/crm.sock\"]".to_owned(),
            "all addresses are 'https', or none is",
        ),
        ("urls = [\"http://10.0.0.1\", \"10.0.0.2\"]".to_owned(), "not the address of a CRM"),
        (format!("{PAIR}\nmax_connections = 0"), "expected a whole number from 1 to 1000000"),
        (format!("{PAIR}\nmax_eject = \"10ms\""), "expected from 1s to 1h"),
        (check(""), "'path' is missing from [upstream.health_check]"),
        (check("path = \"health\""), "expected a path that begins with '/'"),
        (check("path = \"http://10.0.0.1/health\""), "expected a path that begins with '/'"),
        (check("path = \"/\"\nevery = \"0s\""), "expected at least 100ms"),
        (check("path = \"/\"\nfall = 0"), "expected a whole number from 1 to 100"),
        (check("path = \"/\"\nfails = 1"), "did you mean 'fall'?"),
    ] {
        let shown = told(&upstream);
        assert!(shown.contains(why) && shown.contains('^'), "{why}\n{shown}");
        let count =
            shown.lines().filter(|line| line.starts_with("error") || line.starts_with("warning")).count();
        assert_eq!(count, 1, "one mistake: {shown}");
    }
}

#[test]
fn as_many_as_there_may_be() {
    let urls = |count: usize| {
        let all: Vec<String> = (0..count).map(|at| format!("\"http://10.0.0.{at}\"")).collect();
        format!("urls = [{}]", all.join(", "))
    };
    assert_eq!(told(&urls(64)), "");
    assert!(told(&urls(65)).contains("expected from 1 to 64 addresses"));
}
