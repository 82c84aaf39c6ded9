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
