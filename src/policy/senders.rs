//! Whose messages become tickets: lists of expected and blocked accounts, accounts seen for the first time, business hours.
//!
//! A secret proves that Telegram delivered an update, not that its author is welcome: anyone can write to a bot.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use quick_cache::sync::Cache;

use super::hours::{Hours, Opening};
use crate::clock::WallTime;
use crate::credential::webhook::telegram::{Update, UpdateError};

/// Most accounts that are remembered, of all webhooks together; beyond it the least seen are forgotten, and are new again.
pub const MOST_ACCOUNTS: usize = 100_000;

/// An account or chat as an operator writes it: a number, or a name with `@`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// Its number, which never changes; negative for groups and channels.
    Id(i64),
    /// Its name in small letters, without `@`. Names can be given up and taken over by others: numbers are safer.
    Name(Box<str>),
}

/// Neither a number nor a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an account's or chat's number, or its '@name' of 1 to 32 letters, digits and _")]
pub struct AccountError;

/// A list of accounts and chats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Ascending.
    listed: Box<[Account]>,
}

/// What becomes of an update that is not as expected. The stricter one is the greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It goes on as it is, and only the metrics tell.
    Count,
    /// It goes on with the header `X-Sidelock-Sender`.
    Mark,
    /// It does not go on.
    Refuse,
}

/// The rules of one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Who is expected; empty for everyone who is not blocked.
    pub expected: Accounts,
    /// Who is not wanted, also where expected.
    pub blocked: Accounts,
    /// When somebody is there to answer; `None` for always.
    pub hours: Option<Hours>,
    /// For unexpected senders and outside of the hours. [`Action::Count`] also lets blocked ones through: it is for trying
    /// the lists out; with either other action they are refused.
    pub action: Action,
    /// For accounts that were first seen less than `new_for` ago.
    pub first_seen: Action,
    /// How long an account is a new one. Not only its first update: Telegram sends that again if the CRM fails, and the
    /// second try must be judged as the first one was.
    pub new_for: Duration,
}

/// Who was seen since the process started, of all webhooks. It does not outlive the process: after a start everyone is new.
#[derive(Debug)]
pub struct Memory {
    first_seen: Cache<(Arc<str>, i64), WallTime>,
}

/// The rules of one webhook with the memory that they need.
#[derive(Clone, Debug)]
pub struct SenderPolicy {
    webhook: Arc<str>,
    rules: Rules,
    memory: Arc<Memory>,
}

/// What was found out about one update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Judgement {
    /// For the memory of deliveries: ascending per bot, the same when Telegram tries again.
    pub update_id: u64,
    /// Who sent it.
    pub sender: Sender,
    /// Whether its author is new.
    pub familiarity: Familiarity,
    /// Whether somebody is there.
    pub hours: Opening,
    /// What becomes of it: the strictest that applies.
    pub action: Action,
}

/// A sender by the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// On the list, or there is no list of expected ones.
    Expected,
    /// Not on the list, or of an update that names nobody.
    Unexpected,
    /// On the list of those who are not wanted.
    Blocked,
}

impl Sender {
    /// The word for the access log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Expected => "expected",
            Self::Unexpected => "unexpected",
            Self::Blocked => "blocked",
        }
    }
}

/// Whether an author was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Familiarity {
    /// First seen less than [`Rules::new_for`] ago, now included.
    New,
    /// Seen before; or nobody, in an update that names nobody.
    Known,
}

impl SenderPolicy {
    /// The rules of the webhook called `webhook`.
    pub const fn new(webhook: Arc<str>, rules: Rules, memory: Arc<Memory>) -> Self {
        Self { webhook, rules, memory }
    }

    /// Judges a delivery's whole body, which must be proved to be Telegram's before.
    ///
    /// # Errors
    /// [`UpdateError`] for a body that is no update. [`Self::unreadable`] tells what to do with it.
    pub fn judge(&self, body: &[u8], now: WallTime) -> Result<Judgement, UpdateError> {
        Ok(self.judge_update(&Update::read(body)?, now))
    }

    /// What becomes of a body that is no update: nobody can be told apart in it, so whoever lets rules decide refuses it.
    pub const fn unreadable(&self) -> Action {
        match self.rules.action {
            Action::Count => Action::Count,
            Action::Mark | Action::Refuse => Action::Refuse,
        }
    }

    /// Judges an update.
    pub fn judge_update(&self, update: &Update, now: WallTime) -> Judgement {
        let rules = &self.rules;
        let sender = match () {
            () if rules.blocked.names_any_of(update) => Sender::Blocked,
            () if rules.expected.is_empty() || rules.expected.names_any_of(update) => Sender::Expected,
            () => Sender::Unexpected,
        };
        let hours = rules.hours.as_ref().map_or(Opening::In, |hours| hours.at(now));
        let familiarity = author(update)
            .map_or(Familiarity::Known, |id| self.memory.see(&self.webhook, id, now, rules.new_for));
        let by_sender = match (sender, rules.action) {
            (Sender::Expected, _) => Action::Count,
            (Sender::Blocked, Action::Mark | Action::Refuse) => Action::Refuse,
            (Sender::Unexpected, action) | (Sender::Blocked, action @ Action::Count) => action,
        };
        let by_hours = if hours == Opening::Out { rules.action } else { Action::Count };
        let by_memory = if familiarity == Familiarity::New { rules.first_seen } else { Action::Count };
        let action = by_sender.max(by_hours).max(by_memory);
        Judgement { update_id: update.id, sender, familiarity, hours, action }
    }
}

impl Judgement {
    /// The value of `X-Sidelock-Sender`: `expected`, `unexpected` or `blocked`, then `off-hours` and `first-seen` where they
    /// apply, with commas.
    pub fn mark(&self) -> HeaderValue {
        let out = self.hours == Opening::Out;
        let new = self.familiarity == Familiarity::New;
        HeaderValue::from_static(match (self.sender, out, new) {
            (Sender::Expected, false, false) => "expected",
            (Sender::Expected, false, true) => "expected, first-seen",
            (Sender::Expected, true, false) => "expected, off-hours",
            (Sender::Expected, true, true) => "expected, off-hours, first-seen",
            (Sender::Unexpected, false, false) => "unexpected",
            (Sender::Unexpected, false, true) => "unexpected, first-seen",
            (Sender::Unexpected, true, false) => "unexpected, off-hours",
            (Sender::Unexpected, true, true) => "unexpected, off-hours, first-seen",
            (Sender::Blocked, false, false) => "blocked",
            (Sender::Blocked, false, true) => "blocked, first-seen",
            (Sender::Blocked, true, false) => "blocked, off-hours",
            (Sender::Blocked, true, true) => "blocked, off-hours, first-seen",
        })
    }
}

/// Accounts that stand for channels and groups which write in their own name: Telegram's own, Group, and Channel
/// (core.telegram.org/bots/api#message, `sender_chat`).
const STAND_INS: [i64; 3] = [777_000, 1_087_968_824, 136_817_688];

/// Whose update it is: the person's or bot's number, or that of the channel or group that wrote in its own name.
fn author(update: &Update) -> Option<i64> {
    let person = update.sender.as_ref().map(|sender| sender.id).filter(|id| !STAND_INS.contains(id));
    person.or_else(|| update.chats.last().map(|chat| chat.id))
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(MOST_ACCOUNTS)
    }
}

impl Memory {
    /// Remembers at most `capacity` accounts.
    pub fn new(capacity: usize) -> Self {
        Self { first_seen: Cache::new(capacity) }
    }

    fn see(&self, webhook: &Arc<str>, account: i64, now: WallTime, new_for: Duration) -> Familiarity {
        let key = (Arc::clone(webhook), account);
        let first = self.first_seen.get(&key).unwrap_or_else(|| {
            self.first_seen.insert(key, now);
            now
        });
        let new_for = i64::try_from(new_for.as_millis()).unwrap_or(i64::MAX);
        let age = now.unix_millis().saturating_sub(first.unix_millis());
        if age < new_for { Familiarity::New } else { Familiarity::Known }
    }

    /// Accounts remembered now.
    pub fn remembered(&self) -> usize {
        self.first_seen.len()
    }
}

impl Accounts {
    /// In any order.
    pub fn new(accounts: impl IntoIterator<Item = Account>) -> Self {
        let mut listed: Vec<Account> = accounts.into_iter().collect();
        listed.sort_unstable();
        Self { listed: listed.into() }
    }

    /// True if it names nobody.
    pub const fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// True if it names the sender or one of the chats.
    fn names_any_of(&self, update: &Update) -> bool {
        let sender = update.sender.iter().map(|sender| (sender.id, &sender.username));
        let chats = update.chats.iter().map(|chat| (chat.id, &chat.username));
        sender.chain(chats).any(|(id, username)| {
            self.has(&Account::Id(id))
                || username
                    .as_deref()
                    .is_some_and(|name| self.has(&Account::Name(name.to_ascii_lowercase().into())))
        })
    }

    fn has(&self, account: &Account) -> bool {
        self.listed.binary_search(account).is_ok()
    }
}

impl FromStr for Account {
    type Err = AccountError;

    fn from_str(text: &str) -> Result<Self, AccountError> {
        match text.strip_prefix('@') {
            Some(name) => {
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                let is_name = (1..=32).contains(&name.len()) && name.bytes().all(fits);
                is_name.then(|| Self::Name(name.to_ascii_lowercase().into())).ok_or(AccountError)
            }
            None => text.parse().map(Self::Id).map_err(|_| AccountError),
        }
    }
}

/// Not an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 'count', 'mark' or 'refuse'")]
pub struct ActionError;

impl FromStr for Action {
    type Err = ActionError;

    fn from_str(text: &str) -> Result<Self, ActionError> {
        match text {
            "count" => Ok(Self::Count),
            "mark" => Ok(Self::Mark),
            "refuse" => Ok(Self::Refuse),
            _ => Err(ActionError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Saturday, 21 November 2026, noon in Berlin.
    const SATURDAY: WallTime = WallTime::from_unix_secs(1_795_258_800);
    /// Two days later.
    const MONDAY: WallTime = WallTime::from_unix_secs(1_795_258_800 + 2 * 86_400);

    fn accounts(list: &[&str]) -> Accounts {
        Accounts::new(list.iter().map(|text| text.parse().unwrap()))
    }

    fn rules(expected: &[&str], blocked: &[&str], action: Action) -> Rules {
        Rules {
            expected: accounts(expected),
            blocked: accounts(blocked),
            hours: None,
            action,
            first_seen: Action::Count,
            new_for: Duration::from_secs(3600),
        }
    }

    fn policy(rules: Rules) -> SenderPolicy {
        SenderPolicy::new("bot".into(), rules, Arc::new(Memory::new(1000)))
    }

    fn message(id: i64, username: &str, chat: i64) -> Vec<u8> {
        format!(
            r#"{{"update_id":9,"message":{{"from":{{"id":{id},"is_bot":false,"username":"{username}"}},"chat":{{"id":{chat},"type":"group"}}}}}}"#
        )
        .into_bytes()
    }

    fn outcome(policy: &SenderPolicy, body: &[u8]) -> (Sender, Action) {
        let judgement = policy.judge(body, MONDAY).unwrap();
        (judgement.sender, judgement.action)
    }

    #[test]
    fn lists_name_the_sender_or_the_chat_by_number_or_name() {
        let policy = policy(rules(&["7", "@Ada_L", "-100123"], &["@spam", "66"], Action::Mark));
        let expected = (Sender::Expected, Action::Count);
        assert_eq!(outcome(&policy, &message(7, "x", 1)), expected);
        assert_eq!(outcome(&policy, &message(8, "ADA_l", 1)), expected);
        assert_eq!(outcome(&policy, &message(8, "x", -100_123)), expected);
        assert_eq!(outcome(&policy, &message(8, "ada", 1)), (Sender::Unexpected, Action::Mark));
        assert_eq!(
            outcome(&policy, &message(8, "7", 1)),
            (Sender::Unexpected, Action::Mark),
            "a name is no number"
        );
        assert_eq!(outcome(&policy, &message(66, "x", 1)), (Sender::Blocked, Action::Refuse));
        assert_eq!(
            outcome(&policy, &message(7, "SPAM", 1)),
            (Sender::Blocked, Action::Refuse),
            "blocked comes first"
        );
        let poll = br#"{"update_id":9,"poll":{"id":"1"}}"#;
        assert_eq!(outcome(&policy, poll), (Sender::Unexpected, Action::Mark), "nobody is on no list");
    }

    #[test]
    fn without_a_list_everyone_is_expected_and_count_touches_nothing() {
        let open = policy(rules(&[], &["66"], Action::Refuse));
        assert_eq!(outcome(&open, &message(8, "x", 1)), (Sender::Expected, Action::Count));
        assert_eq!(outcome(&open, &message(66, "x", 1)), (Sender::Blocked, Action::Refuse));
        let trial = policy(rules(&["7"], &["66"], Action::Count));
        assert_eq!(outcome(&trial, &message(8, "x", 1)), (Sender::Unexpected, Action::Count));
        assert_eq!(outcome(&trial, &message(66, "x", 1)), (Sender::Blocked, Action::Count));
        assert_eq!((open.unreadable(), trial.unreadable()), (Action::Refuse, Action::Count));
        assert!(open.judge(b"{}", MONDAY).is_err());
    }

    #[test]
    fn off_hours_and_the_mark() {
        let week = Hours::new(
            "mon-fri".parse().unwrap(),
            "09:00".parse().unwrap(),
            "18:00".parse().unwrap(),
            "Europe/Berlin".parse().unwrap(),
        );
        let policy = policy(Rules { hours: Some(week.unwrap()), ..rules(&["7"], &[], Action::Mark) });
        let judge = |id, now| policy.judge(&message(id, "x", 1), now).unwrap();
        let first = judge(7, SATURDAY);
        assert_eq!((first.hours, first.action, first.update_id), (Opening::Out, Action::Mark, 9));
        assert_eq!(first.mark(), "expected, off-hours, first-seen");
        let second = judge(7, MONDAY);
        assert_eq!((second.hours, second.action), (Opening::In, Action::Count));
        assert_eq!(second.mark(), "expected");
        assert_eq!(judge(8, MONDAY).mark(), "unexpected, first-seen");
    }

    #[test]
    fn an_account_is_new_for_a_while_also_when_telegram_tries_again() {
        let policy = policy(Rules { first_seen: Action::Refuse, ..rules(&[], &[], Action::Count) });
        let at = |secs| WallTime::from_unix_secs(MONDAY.unix_secs() + secs);
        let judge = |id, secs| {
            let judgement = policy.judge(&message(id, "x", 1), at(secs)).unwrap();
            (judgement.familiarity, judgement.action)
        };
        assert_eq!(judge(7, 0), (Familiarity::New, Action::Refuse));
        assert_eq!(judge(7, 2), (Familiarity::New, Action::Refuse), "the second try");
        assert_eq!(judge(7, 3599), (Familiarity::New, Action::Refuse));
        assert_eq!(judge(7, 3600), (Familiarity::Known, Action::Count));
        assert_eq!(judge(8, 3600), (Familiarity::New, Action::Refuse));
        let poll = policy.judge(br#"{"update_id":9,"poll":{}}"#, MONDAY).unwrap();
        assert_eq!(poll.familiarity, Familiarity::Known);
    }

    #[test]
    fn memory_is_bounded_and_webhooks_do_not_share_acquaintances() {
        let memory = Memory::new(1_000);
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        let hour = Duration::from_secs(3600);
        assert_eq!(memory.see(&one, 7, SATURDAY, hour), Familiarity::New);
        assert_eq!(memory.see(&one, 7, MONDAY, hour), Familiarity::Known);
        assert_eq!(memory.see(&other, 7, MONDAY, hour), Familiarity::New);
        for stranger in 0..100_000 {
            memory.see(&one, stranger, MONDAY, hour);
        }
        assert!(memory.remembered() <= 1_000);
    }

    #[test]
    fn accounts_as_people_write_them() {
        assert_eq!("-1001234567890".parse(), Ok(Account::Id(-1_001_234_567_890)));
        assert_eq!("@Ada".parse(), Ok(Account::Name("ada".into())));
        for bad in
            ["", "@", "ada", "@a-b", "1.5", "0x10", "99999999999999999999", &format!("@{}", "a".repeat(33))]
        {
            assert_eq!(bad.parse::<Account>(), Err(AccountError), "{bad}");
        }
    }
}
