//! The two methods of the Bot API that a webhook needs: core.telegram.org/bots/api#setwebhook and `#getwebhookinfo`.

use http::{StatusCode, Uri};
use serde_json::{Map, Value, json};

use super::Bot;
use super::client::{self, CallError};
use crate::clock::WallTime;
use crate::credential::webhook;

/// Why a method did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer.
    #[error("the Bot API at {host}: {error}")]
    Call {
        /// Where.
        host: Box<str>,
        /// Why.
        error: CallError,
    },
    /// An answer that the Bot API would not give.
    #[error("what answers at {host} is not the Bot API (status {status})")]
    NotTheApi {
        /// Where.
        host: Box<str>,
        /// Its status.
        status: StatusCode,
    },
    /// The token is nobody's.
    #[error("Telegram does not know this bot token: is it whole, and was it not revoked at BotFather?")]
    Token,
    /// Too many calls.
    #[error("Telegram wants a pause of {seconds} s")]
    Later {
        /// How long.
        seconds: u64,
    },
    /// Another refusal.
    #[error("Telegram refused: {description} ({code})")]
    Refused {
        /// `error_code`.
        code: i64,
        /// `description`, masked.
        description: String,
    },
}

/// What becomes of updates that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// They are delivered.
    Kept,
    /// They are lost.
    Dropped,
}

/// What Telegram knows of a bot's webhook. Its texts are masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookInfo {
    /// Where it delivers to.
    pub registered: Registered,
    /// Updates that wait.
    pub pending_updates: u64,
    /// When a delivery last failed, and how.
    pub last_error: Option<(WallTime, String)>,
    /// When Telegram's data centres last failed to agree.
    pub last_synchronization_error: Option<WallTime>,
    /// The address that it delivers to.
    pub ip_address: Option<String>,
    /// Deliveries at once.
    pub max_connections: Option<u64>,
    /// Kinds that are delivered; `None` for the usual ones.
    pub allowed_updates: Option<Vec<String>>,
    /// Whose certificate it trusts.
    pub certificate: Certificate,
}

/// Where Telegram delivers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// To the configured URL.
    Here,
    /// To another URL. Its path may hold a secret of the CRM's (Chatwoot's holds the bot token), so only the rest is kept.
    Elsewhere(String),
    /// Nowhere: the bot has no webhook.
    Nowhere,
}

/// Whose certificate Telegram trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// One that a public authority signed.
    Public,
    /// One that was uploaded.
    Uploaded,
}

/// Sets the webhook as the configuration has it.
///
/// # Errors
/// [`ApiError`].
pub async fn set_webhook(bot: &Bot, pending: Pending) -> Result<(), ApiError> {
    let mut call = json!({
        "url": bot.url,
        "secret_token": String::from_utf8_lossy(bot.secret.expose()),
        "max_connections": bot.settings.max_connections,
        "drop_pending_updates": pending == Pending::Dropped,
    });
    if let (Some(kinds), Value::Object(call)) = (&bot.settings.allowed_updates, &mut call) {
        call.insert("allowed_updates".to_owned(), json!(kinds));
    }
    method(bot, "setWebhook", &call).await.map(drop)
}

/// Asks what Telegram knows.
///
/// # Errors
/// [`ApiError`].
pub async fn webhook_info(bot: &Bot) -> Result<WebhookInfo, ApiError> {
    match method(bot, "getWebhookInfo", &json!({})).await? {
        Value::Object(info) => Ok(WebhookInfo::read(&info, bot)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(ApiError::NotTheApi { host: bot.settings.api.host.clone(), status: StatusCode::OK })
        }
    }
}

async fn method(bot: &Bot, name: &str, call: &Value) -> Result<Value, ApiError> {
    let api = &bot.settings.api;
    let host = || api.host.clone();
    let path = format!("/bot{}/{name}", bot.settings.bot_token.expose());
    let (status, body) = client::post(api, &path, call.to_string())
        .await
        .map_err(|error| ApiError::Call { host: host(), error })?;
    let not_the_api = || ApiError::NotTheApi { host: host(), status };
    let Ok(Value::Object(mut answer)) = webhook::json::parse(&body) else {
        return Err(not_the_api());
    };
    match answer.get("ok") {
        Some(Value::Bool(true)) if status.is_success() => answer.remove("result").ok_or_else(not_the_api),
        Some(Value::Bool(false)) => Err(refusal(bot, &answer)),
        Some(_) | None => Err(not_the_api()),
    }
}

fn refusal(bot: &Bot, answer: &Map<String, Value>) -> ApiError {
    let code = answer.get("error_code").and_then(Value::as_i64).unwrap_or_default();
    let wait = answer.get("parameters").and_then(|it| it.get("retry_after")).and_then(Value::as_u64);
    match (code, wait) {
        // 401 for a token of the right form that is nobody's, 404 for any other.
        (401 | 404, _) => ApiError::Token,
        (_, Some(seconds)) => ApiError::Later { seconds },
        (code, None) => {
            let description = answer.get("description").and_then(Value::as_str).unwrap_or("without a reason");
            ApiError::Refused { code, description: bot.masked(description) }
        }
    }
}

impl WebhookInfo {
    /// Absent and odd fields count as absent: what matters is the URL.
    fn read(info: &Map<String, Value>, bot: &Bot) -> Self {
        let number = |name: &str| info.get(name).and_then(Value::as_u64);
        let text = |name: &str| info.get(name).and_then(Value::as_str);
        let moment = |name: &str| {
            let stamp = info.get(name).and_then(Value::as_i64).filter(|stamp| *stamp > 0);
            stamp.map(WallTime::from_unix_secs)
        };
        let message = || text("last_error_message").map_or_else(String::new, |text| bot.masked(text));
        let kinds = info.get("allowed_updates").and_then(Value::as_array);
        Self {
            registered: Registered::read(text("url").unwrap_or_default(), bot),
            pending_updates: number("pending_update_count").unwrap_or_default(),
            last_error: moment("last_error_date").map(|at| (at, message())),
            last_synchronization_error: moment("last_synchronization_error_date"),
            ip_address: text("ip_address").map(|text| bot.masked(text)),
            max_connections: number("max_connections"),
            allowed_updates: kinds.map(|kinds| {
                kinds.iter().take(100).filter_map(Value::as_str).map(|kind| bot.masked(kind)).collect()
            }),
            certificate: match info.get("has_custom_certificate") {
                Some(Value::Bool(true)) => Certificate::Uploaded,
                Some(_) | None => Certificate::Public,
            },
        }
    }
}

impl Registered {
    fn read(url: &str, bot: &Bot) -> Self {
        if url.is_empty() {
            return Self::Nowhere;
        }
        let parsed: Option<Uri> = url.parse().ok();
        let own: Option<Uri> = bot.url.parse().ok();
        if parsed.as_ref().zip(own.as_ref()).is_some_and(|(told, own)| is_same(told, own)) {
            return Self::Here;
        }
        let origin = parsed.and_then(|uri| {
            // User information is a password.
            let authority = uri.authority()?.as_str().rsplit('@').next()?.to_owned();
            Some(format!("{}://{authority}/…", uri.scheme_str()?))
        });
        Self::Elsewhere(
            origin.map_or_else(|| "something that is no URL".to_owned(), |text| bot.masked(&text)),
        )
    }
}

/// One place in two spellings: hosts have no case, and 443 need not be said. Whoever writes a user's name and password into
/// the URL means another one.
fn is_same(one: &Uri, other: &Uri) -> bool {
    let has_user = |uri: &Uri| uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    one.scheme() == other.scheme()
        && !has_user(one)
        && !has_user(other)
        && one.host().zip(other.host()).is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
        && one.port_u16().unwrap_or(443) == other.port_u16().unwrap_or(443)
        && one.path_and_query() == other.path_and_query()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_in_two_spellings() {
        let same = |one: &str, other: &str| is_same(&one.parse().unwrap(), &other.parse().unwrap());
        assert!(same("https://CRM.example/a", "https://crm.example:443/a"));
        for other in [
            "http://crm.example/a",
            "https://crm.example:8443/a",
            "https://crm.example/A",
            "https://crm.example/a?b",
            "https://crm.example.org/a",
            "https://u@crm.example/a",
        ] {
            assert!(!same("https://crm.example/a", other), "{other}");
        }
    }
}
