//! Telegram's update: which kind it is, and whose. Bot API, core.telegram.org/bots/api#update.
//!
//! An update is not signed: its fields are as true as the secret that came with it.

use serde_json::{Map, Value};

use super::json::{self, JsonError};

/// One update, as far as a decision needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// `update_id`: ascending per bot; the same again when Telegram tries again.
    pub id: u64,
    /// Which of the optional fields it has.
    pub kind: Kind,
    /// The person or bot behind it; channels and polls have none.
    pub sender: Option<Account>,
    /// The chats that it names: where it happened, and the chat that wrote in its own name.
    pub chats: Vec<Chat>,
}

/// A user or a bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number: never changes and is never given to another one.
    pub id: i64,
    /// Its name without `@`, if it has one: can be changed, and taken over by others.
    pub username: Option<Box<str>>,
    /// A bot by its own word.
    pub nature: Nature,
}

/// Who is behind an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// `is_bot` is false.
    Person,
    /// `is_bot` is true.
    Bot,
}

/// A private chat, group, supergroup or channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    /// Its number; negative for groups and channels.
    pub id: i64,
    /// Its public name without `@`, if it has one.
    pub username: Option<Box<str>>,
    /// `type`: `private`, `group`, `supergroup`, `channel`, or what comes later.
    pub kind: Box<str>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The kinds of updates.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
            /// One that is newer than this list; its sender and chat are read where the others have theirs.
            Other,
        }

        /// Every known kind by its name in the Bot API, which `allowed_updates` uses too.
        pub const KINDS: &[(&str, Kind)] = &[$(($name, Kind::$variant),)*];
    };
}

kinds! {
    /// A message.
    Message = "message",
    /// An edited message.
    EditedMessage = "edited_message",
    /// A post in a channel.
    ChannelPost = "channel_post",
    /// An edited post in a channel.
    EditedChannelPost = "edited_channel_post",
    /// A business account was connected or disconnected.
    BusinessConnection = "business_connection",
    /// A message to a connected business account.
    BusinessMessage = "business_message",
    /// An edited message of a connected business account.
    EditedBusinessMessage = "edited_business_message",
    /// Messages were deleted from a connected business account.
    DeletedBusinessMessages = "deleted_business_messages",
    /// A reaction to a message.
    MessageReaction = "message_reaction",
    /// Anonymous reactions to a message.
    MessageReactionCount = "message_reaction_count",
    /// An inline query.
    InlineQuery = "inline_query",
    /// A chosen result of an inline query.
    ChosenInlineResult = "chosen_inline_result",
    /// A pressed button.
    CallbackQuery = "callback_query",
    /// A question for the shipping cost.
    ShippingQuery = "shipping_query",
    /// A question before a checkout.
    PreCheckoutQuery = "pre_checkout_query",
    /// Paid media were bought.
    PurchasedPaidMedia = "purchased_paid_media",
    /// A poll's state.
    Poll = "poll",
    /// A vote in a poll that is not anonymous.
    PollAnswer = "poll_answer",
    /// The bot's own membership changed.
    MyChatMember = "my_chat_member",
    /// Somebody's membership changed.
    ChatMember = "chat_member",
    /// A request to join.
    ChatJoinRequest = "chat_join_request",
    /// A boost was added.
    ChatBoost = "chat_boost",
    /// A boost was removed.
    RemovedChatBoost = "removed_chat_boost",
}

/// Why a body is no update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// Not the JSON that Telegram sends.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Not an object with an `update_id`.
    #[error("the body has no update_id, which every update of Telegram has")]
    NoUpdateId,
    /// Two kinds in one update, which Telegram never sends: a receiver might read the other one.
    #[error("the update is of two kinds at once")]
    TwoKinds,
    /// A field that is not as the Bot API has it.
    #[error("'{0}' in the update is not as the Bot API has it")]
    Malformed(&'static str),
}

impl Update {
    /// Reads a delivery's whole body.
    ///
    /// # Errors
    /// [`UpdateError`].
    pub fn read(body: &[u8]) -> Result<Self, UpdateError> {
        let Value::Object(update) = json::parse(body)? else {
            return Err(UpdateError::NoUpdateId);
        };
        let id = update.get("update_id").and_then(Value::as_u64).ok_or(UpdateError::NoUpdateId)?;
        let (kind, content) = content(&update)?;
        let Some(content) = content else {
            return Ok(Self { id, kind, sender: None, chats: Vec::new() });
        };
        Ok(Self { id, kind, sender: sender(content)?, chats: chats(content)? })
    }
}

/// The one kind, and what is in it.
type Content<'u> = (Kind, Option<&'u Map<String, Value>>);

fn content(update: &Map<String, Value>) -> Result<Content<'_>, UpdateError> {
    let kind_of = |name: &str| KINDS.iter().find(|(known, _)| *known == name).copied();
    let mut known = update.iter().filter_map(|(name, value)| kind_of(name).map(|kind| (kind, value)));
    match (known.next(), known.next()) {
        (Some(_), Some(_)) => Err(UpdateError::TwoKinds),
        (Some(((name, kind), value)), None) => {
            Ok((kind, Some(value.as_object().ok_or(UpdateError::Malformed(name))?)))
        }
        (None, _) => {
            let mut others = update.values().filter_map(Value::as_object);
            match (others.next(), others.next()) {
                (Some(_), Some(_)) => Err(UpdateError::TwoKinds),
                (content, _) => Ok((Kind::Other, content)),
            }
        }
    }
}

/// `from`, or `user` (reactions, poll answers, business connections), or the user behind a boost.
fn sender(content: &Map<String, Value>) -> Result<Option<Account>, UpdateError> {
    let boost = content.get("boost").map_or_else(|| content.get("source"), |boost| boost.get("source"));
    let places = [
        ("from", content.get("from")),
        ("user", content.get("user")),
        ("source.user", boost.and_then(|source| source.get("user"))),
    ];
    let present = places.into_iter().find_map(|(name, value)| value.map(|value| (name, value)));
    present.map(|(name, value)| account(value).ok_or(UpdateError::Malformed(name))).transpose()
}

fn account(value: &Value) -> Option<Account> {
    let nature = match value.get("is_bot")?.as_bool()? {
        true => Nature::Bot,
        false => Nature::Person,
    };
    Some(Account { id: value.get("id")?.as_i64()?, username: username(value)?, nature })
}

/// `None` if there is one that is no text.
fn username(value: &Value) -> Option<Option<Box<str>>> {
    match value.get("username") {
        None => Some(None),
        Some(name) => name.as_str().map(|name| Some(name.into())),
    }
}

fn chats(content: &Map<String, Value>) -> Result<Vec<Chat>, UpdateError> {
    let places = [
        ("chat", content.get("chat")),
        ("sender_chat", content.get("sender_chat")),
        ("actor_chat", content.get("actor_chat")),
        ("voter_chat", content.get("voter_chat")),
        // A pressed button names the chat in the message that it hangs on.
        ("message.chat", content.get("message").and_then(|message| message.get("chat"))),
    ];
    let present = places.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    present.map(|(name, value)| chat(value).ok_or(UpdateError::Malformed(name))).collect()
}

fn chat(value: &Value) -> Option<Chat> {
    let (id, kind) = (value.get("id")?.as_i64()?, value.get("type")?.as_str()?);
    Some(Chat { id, username: username(value)?, kind: kind.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<Update, UpdateError> {
        Update::read(value.to_string().as_bytes())
    }

    /// One update of every kind, cut to what the Bot API requires: the sender's id, and the chats'.
    fn every_kind() -> Vec<(&'static str, Value, Option<i64>, Vec<i64>)> {
        let user = json!({"id": 7, "is_bot": false, "first_name": "Ada", "username": "ada_l"});
        let chat = json!({"id": -100_123, "type": "supergroup", "title": "T"});
        let channel = json!({"id": -100_999, "type": "channel", "username": "news"});
        let message = json!({"message_id": 1, "date": 1, "from": user, "chat": chat, "text": "x"});
        let post = json!({"message_id": 1, "date": 1, "sender_chat": channel, "chat": channel});
        let asked = json!({"id": "1", "from": user, "query": "", "offset": ""});
        let pressed = json!({"id": "1", "from": user, "message": message, "chat_instance": "1"});
        let member = json!({"chat": chat, "from": user, "date": 1});
        let boost = json!({"chat": chat, "boost": {"boost_id": "1", "source": {"source": "gift_code", "user": user}}});
        let unboost = json!({"chat": chat, "boost_id": "1", "source": {"source": "premium", "user": user}});
        let (group, none) = (vec![-100_123], Vec::new());
        vec![
            ("message", message.clone(), Some(7), group.clone()),
            ("edited_message", message.clone(), Some(7), group.clone()),
            ("channel_post", post.clone(), None, vec![-100_999, -100_999]),
            ("edited_channel_post", post, None, vec![-100_999, -100_999]),
            (
                "business_connection",
                json!({"id": "b", "user": user, "user_chat_id": 7}),
                Some(7),
                none.clone(),
            ),
            ("business_message", message.clone(), Some(7), group.clone()),
            ("edited_business_message", message, Some(7), group.clone()),
            ("deleted_business_messages", json!({"chat": chat, "message_ids": [1]}), None, group.clone()),
            (
                "message_reaction",
                json!({"chat": chat, "user": user, "new_reaction": []}),
                Some(7),
                group.clone(),
            ),
            ("message_reaction_count", json!({"chat": chat, "reactions": []}), None, group.clone()),
            ("inline_query", asked.clone(), Some(7), none.clone()),
            ("chosen_inline_result", asked.clone(), Some(7), none.clone()),
            ("callback_query", pressed, Some(7), group.clone()),
            ("shipping_query", asked.clone(), Some(7), none.clone()),
            ("pre_checkout_query", asked.clone(), Some(7), none.clone()),
            ("purchased_paid_media", asked, Some(7), none.clone()),
            ("poll", json!({"id": "1", "question": "?", "options": []}), None, none.clone()),
            (
                "poll_answer",
                json!({"poll_id": "1", "voter_chat": chat, "option_ids": []}),
                None,
                group.clone(),
            ),
            ("my_chat_member", member.clone(), Some(7), group.clone()),
            ("chat_member", member.clone(), Some(7), group.clone()),
            ("chat_join_request", member.clone(), Some(7), group.clone()),
            ("chat_boost", boost, Some(7), group.clone()),
            ("removed_chat_boost", unboost, Some(7), group.clone()),
            ("guest_visit_of_2031", member, Some(7), group),
        ]
    }

    #[test]
    fn every_kind_tells_its_sender_and_its_chat() {
        let all = every_kind();
        assert_eq!(all.len(), KINDS.len() + 1, "one of each, and one that is not known");
        for (name, content, sender, chats) in all {
            let mut update = json!({"update_id": 5});
            update[name] = content;
            let read = read(&update).unwrap();
            let known = KINDS.iter().find(|(known, _)| *known == name).map_or(Kind::Other, |(_, kind)| *kind);
            assert_eq!((read.id, read.kind), (5, known), "{name}");
            assert_eq!(read.sender.as_ref().map(|it| it.id), sender, "{name}");
            assert_eq!(read.chats.iter().map(|it| it.id).collect::<Vec<_>>(), chats, "{name}");
            if let Some(sender) = read.sender {
                assert_eq!(
                    (sender.username.as_deref(), sender.nature),
                    (Some("ada_l"), Nature::Person),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn what_telegram_never_sends_is_refused() {
        let message = json!({"from": {"id": 7, "is_bot": true}, "chat": {"id": 7, "type": "private"}});
        for (update, error) in [
            (json!([]), UpdateError::NoUpdateId),
            (json!({"message": message}), UpdateError::NoUpdateId),
            (json!({"update_id": "5", "message": message}), UpdateError::NoUpdateId),
            (json!({"update_id": -5, "message": message}), UpdateError::NoUpdateId),
            (json!({"update_id": 5, "message": message, "poll": {}}), UpdateError::TwoKinds),
            (json!({"update_id": 5, "a": message, "b": {}}), UpdateError::TwoKinds),
            (json!({"update_id": 5, "message": []}), UpdateError::Malformed("message")),
            (
                json!({"update_id": 5, "message": {"from": {"id": "7", "is_bot": true}}}),
                UpdateError::Malformed("from"),
            ),
            (
                json!({"update_id": 5, "message": {"from": {"id": 7.5, "is_bot": true}}}),
                UpdateError::Malformed("from"),
            ),
            (json!({"update_id": 5, "message": {"from": {"id": 7}}}), UpdateError::Malformed("from")),
            (json!({"update_id": 5, "message": {"from": null}}), UpdateError::Malformed("from")),
            (json!({"update_id": 5, "message": {"chat": {"id": 7}}}), UpdateError::Malformed("chat")),
        ] {
            assert_eq!(read(&update), Err(error), "{update}");
        }
        let twice = br#"{"update_id":5,"message":{"from":{"id":7,"is_bot":false,"id":8}}}"#;
        assert_eq!(Update::read(twice), Err(UpdateError::Json(JsonError::Repeated)));
        assert_eq!(read(&json!({"update_id": 5})).unwrap().kind, Kind::Other);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(Update::read(&bytes));
        }
    }
}
