//! `[webhook.senders]`: whose Telegram updates become tickets, and when.

use std::time::Duration;

use super::reader::{Section, Value};
use super::units::Span;
use crate::policy::hours::Hours;
use crate::policy::senders::{Account, Accounts, Action, Rules};

/// How long an account is new, unless `first_seen_for` says otherwise.
const NEW_FOR: Duration = Duration::from_secs(3600);

/// Reads the section: `expected` and `blocked` (numbers or `@names` of accounts and chats), `hours`, `action` (default
/// `mark`), `first_seen` (default `count`) and `first_seen_for` (default 1 h).
pub(super) fn read(section: Section<'_, '_>) -> Option<Rules> {
    if !section.is_present() {
        return None;
    }
    let rules = Rules {
        expected: section.get("expected").map(accounts).unwrap_or_default(),
        blocked: section.get("blocked").map(accounts).unwrap_or_default(),
        hours: hours(section.section("hours")),
        action: section.get("action").and_then(|value| value.parse()).unwrap_or(Action::Mark),
        first_seen: section.get("first_seen").and_then(|value| value.parse()).unwrap_or(Action::Count),
        new_for: section
            .get("first_seen_for")
            .and_then(|value| value.parse::<Span>())
            .map_or(NEW_FOR, |span| span.0),
    };
    section.finish();
    Some(rules)
}

fn accounts(value: Value<'_, '_>) -> Accounts {
    let account = |item: Value<'_, '_>| match item.as_text() {
        Some(_) => item.parse(),
        None => item.integer().map(Account::Id),
    };
    let accounts = Accounts::new(value.items().into_iter().filter_map(account));
    if accounts.is_empty() {
        let help = "leave the key out if there is nobody to name".to_owned();
        value.reading().error(value.span(), "an empty list would mean nobody or everybody", Some(help));
    }
    accounts
}

/// `days` (default every day), `from`, `to` and `zone`.
fn hours(section: Section<'_, '_>) -> Option<Hours> {
    if !section.is_present() {
        return None;
    }
    let days = match section.get("days") {
        Some(value) => value.parse(),
        None => "mon-sun".parse().ok(),
    };
    let from = section.required("from").and_then(|value| value.parse());
    let to = section.required("to").and_then(|value| value.parse());
    let zone = section.required("zone").and_then(|value| value.parse());
    let (reading, span) = (section.reading(), section.span());
    section.finish();
    match Hours::new(days?, from?, to?, zone?) {
        Ok(hours) => Some(hours),
        Err(error) => {
            reading.error(span, error.to_string(), None);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use crate::config::environment::Environment;
    use crate::config::source::Source;
    use crate::config::{Parsed, parse};
    use crate::policy::senders::{Action, Rules};

    const BEFORE: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\n[upstream]\nurl = \"http://127.0.0.1:1\"\n[[webhook]]\nname = \"b\"\npath = \"/b\"\nsender = \"telegram\"\nsecrets = [\"env:S\"]\n[webhook.senders]\n";

    fn read(lines: &str) -> Parsed {
        let source = Source { path: "sidelock.toml".into(), text: format!("{BEFORE}{lines}") };
        parse(&source, &Environment::Map(HashMap::from([("S".to_owned(), "s".repeat(32))])))
    }

    fn rules(lines: &str) -> Rules {
        read(lines).config.unwrap().webhooks.remove(0).senders.unwrap()
    }

    #[test]
    fn numbers_and_names_and_hours() {
        let list = rules(
            "expected = [7, \"-100123\", -5, \"@Ada\"]\nfirst_seen = \"refuse\"\nfirst_seen_for = \"1d\"",
        );
        let texts = rules("expected = [\"@ada\", \"7\", \"-5\", \"-100123\"]");
        assert_eq!(list.expected, texts.expected);
        assert_eq!(
            (list.action, list.first_seen, list.new_for.as_secs()),
            (Action::Mark, Action::Refuse, 86_400)
        );
        let hours = rules("hours = { from = \"22:00\", to = \"06:00\", zone = \"Europe/Berlin\" }").hours;
        assert!(hours.is_some());
        assert_eq!(rules("action = \"count\"").new_for.as_secs(), 3600);
    }

    #[test]
    fn mistakes() {
        for (lines, why) in [
            ("expected = []", "nobody or everybody"),
            ("blocked = [\"ada\"]", "'@name'"),
            ("blocked = [1.5]", "a whole number"),
            ("blocked = [99999999999999999999]", "too large"),
            ("action = \"block\"", "'count', 'mark' or 'refuse'"),
            ("hours = { from = \"9:00\", to = \"18:00\", zone = \"UTC\" }", "a time of day"),
            (
                "hours = { from = \"09:00\", to = \"18:00\", zone = \"Berlin\" }",
                "no time zone is called 'Berlin'",
            ),
            ("hours = { from = \"09:00\", to = \"09:00\", zone = \"UTC\" }", "the same time"),
            ("hours = { days = \"mo-fr\", from = \"09:00\", to = \"18:00\", zone = \"UTC\" }", "'mon-fri'"),
            ("hours = { from = \"09:00\", zone = \"UTC\" }", "'to' is missing from [webhook.senders.hours]"),
            ("expectd = [1]", "not a key that is known"),
        ] {
            let parsed = read(lines);
            let told: Vec<_> = parsed.report.mistakes().iter().map(|it| it.message.as_str()).collect();
            assert!(
                parsed.config.is_none() && told.iter().any(|message| message.contains(why)),
                "{lines}: {told:?}"
            );
        }
    }
}
