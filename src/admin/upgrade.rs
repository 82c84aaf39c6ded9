//! `/upgrade`: asks the process to be replaced by a new one, and tells what came of it.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

/// Where wishes for an upgrade go.
#[derive(Clone, Debug)]
pub struct Upgrades(mpsc::Sender<UpgradeAsk>);

/// A wish for an upgrade, to be answered.
#[derive(Debug)]
pub struct UpgradeAsk(oneshot::Sender<Result<u32, String>>);

impl UpgradeAsk {
    /// Tells the new process's id, or why there is none.
    pub fn answer(self, told: Result<u32, String>) {
        // Whoever asked may have gone.
        drop(self.0.send(told));
    }
}

impl Upgrades {
    /// A way for wishes, one at a time.
    pub fn new() -> (Self, mpsc::Receiver<UpgradeAsk>) {
        let (asks, asked) = mpsc::channel(1);
        (Self(asks), asked)
    }

    pub(super) async fn ask(&self, method: &Method) -> (StatusCode, Value) {
        if method != Method::POST {
            return (StatusCode::METHOD_NOT_ALLOWED, json!({ "error": "POST only" }));
        }
        let (answer, told) = oneshot::channel();
        let refused = |why: &str| (StatusCode::CONFLICT, json!({ "error": why }));
        if self.0.try_send(UpgradeAsk(answer)).is_err() {
            return refused("the process is ending, or an upgrade is under way");
        }
        match told.await {
            Ok(Ok(pid)) => (StatusCode::OK, json!({ "pid": pid })),
            Ok(Err(why)) => refused(&why),
            Err(_) => refused("the process is ending"),
        }
    }
}
