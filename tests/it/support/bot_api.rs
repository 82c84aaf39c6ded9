//! A stand-in of Telegram's Bot API: knows one bot, keeps its webhook, tells what it was asked.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::crm::{Crm, Seen};
use super::eventually;

/// The bot's token; whoever finds it in an output found a leak.
pub const TOKEN: &str = "123456789:MARKED-bot-token-AAHdqTcvCH1vGWJxfSe";

/// The stand-in.
pub struct BotApi {
    pub address: SocketAddr,
    pub state: Arc<Mutex<State>>,
    seen: Arc<Seen>,
}

/// What it knows, for tests to set.
#[derive(Default)]
pub struct State {
    /// What `getWebhookInfo` tells.
    pub info: serde_json::Map<String, Value>,
    /// The arguments of every `setWebhook`.
    pub set: Vec<Value>,
    /// Bytes to send to every call instead of an answer.
    pub odd: Option<Vec<u8>>,
    /// Whether `setWebhook` is forgotten at once.
    pub forgetful: bool,
}

impl BotApi {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        state.lock().info = json!({"url": "", "has_custom_certificate": false, "pending_update_count": 0})
            .as_object()
            .unwrap()
            .clone();
        let shared = Arc::clone(&state);
        let server = Crm::with(move |mut stream, seen| {
            while let Some(request) = seen.read(&mut stream) {
                let (answer, is_odd) = {
                    let mut state = shared.lock();
                    (state.answer(&request), state.odd.is_some())
                };
                // Whatever an odd answer lacks ends with the connection.
                if stream.write_all(&answer).is_err() || is_odd {
                    return;
                }
            }
        });
        Self { address: server.address, state, seen: server.seen }
    }

    /// Lines of `[webhook.telegram]` for this one.
    pub fn section(&self, lines: &str) -> String {
        format!(
            "[webhook.telegram]\nbot_token = \"env:BOT_TOKEN\"\npublic_url = \"https://localhost\"\napi = \"http://{}\"\n{lines}\n",
            self.address
        )
    }

    /// Sets fields of what `getWebhookInfo` tells.
    pub fn tells(&self, fields: &Value) {
        self.state.lock().info.extend(fields.as_object().unwrap().clone());
    }

    /// Answers every call with these bytes.
    pub fn answers(&self, bytes: impl Into<Vec<u8>>) {
        self.state.lock().odd = Some(bytes.into());
    }

    pub fn set(&self) -> Vec<Value> {
        self.state.lock().set.clone()
    }

    pub fn calls(&self) -> usize {
        self.seen.count()
    }

    /// Waits until it was called `count` times more.
    pub fn is_called(&self, count: usize) {
        let until = self.calls() + count;
        eventually("the Bot API is called", || (self.calls() >= until).then_some(()));
    }
}

impl State {
    fn answer(&mut self, request: &str) -> Vec<u8> {
        if let Some(odd) = &self.odd {
            return odd.clone();
        }
        let path = request.split(' ').nth(1).unwrap();
        let body: Value = serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let answer = match path.strip_prefix(&format!("/bot{TOKEN}/")) {
            Some("getWebhookInfo") => (200, json!({"ok": true, "result": self.info})),
            Some("setWebhook") => {
                if !self.forgetful {
                    self.info.insert("url".to_owned(), body["url"].clone());
                    self.info.insert("max_connections".to_owned(), body["max_connections"].clone());
                }
                self.set.push(body);
                (200, json!({"ok": true, "result": true, "description": "Webhook was set"}))
            }
            _ => (401, json!({"ok": false, "error_code": 401, "description": "Unauthorized"})),
        };
        http(answer.0, &answer.1.to_string())
    }
}

/// An answer of JSON.
pub fn http(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
