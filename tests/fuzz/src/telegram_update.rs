//! The body of a delivery of Telegram's.

use serde_json::Value;
use sidelock::credential::webhook::json;
use sidelock::credential::webhook::telegram::Update;

/// One update.
pub fn run(data: &[u8]) {
    let read = Update::read(data);
    let tree = json::parse(data);
    if let Ok(update) = &read {
        let tree = tree.as_ref().expect("an update is JSON");
        assert_eq!(tree["update_id"].as_u64(), Some(update.id));
        // Printed anew, it says the same.
        assert_eq!(Update::read(tree.to_string().as_bytes()).as_ref(), Ok(update));
    }
    if let Ok(tree) = tree {
        assert_eq!(serde_json::from_slice::<Value>(data).ok(), Some(tree), "every reader reads this");
    }
}
