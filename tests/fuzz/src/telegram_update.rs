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
        assert!(has_every_member(&tree, data), "a name that is there twice is not lost");
        assert_eq!(serde_json::from_slice::<Value>(data).ok(), Some(tree), "every reader reads this");
    }
}

/// True if the tree has as many members as the text has colons outside its strings.
pub(crate) fn has_every_member(tree: &Value, text: &[u8]) -> bool {
    let (mut colons, mut in_string, mut is_escaped) = (0, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b':' if !in_string => colons += 1,
            _ => {}
        }
    }
    members(tree) == colons
}

fn members(tree: &Value) -> usize {
    match tree {
        Value::Object(members_of) => members_of.len() + members_of.values().map(members).sum::<usize>(),
        Value::Array(items) => items.iter().map(members).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
