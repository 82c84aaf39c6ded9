//! A reply of the CRM's in which fields are hidden: any bytes.

use http::Method;
use serde_json::Value;
use sidelock::policy::blank::{Blank, Blanks};
use sidelock::policy::blanking;

/// One reply.
pub fn run(data: &[u8]) {
    let blank = Blank {
        replies_to: vec!["GET /x".parse().expect("a rule")],
        fields: ["t", "/a/*/p"].map(|field| field.parse().expect("a field")).to_vec(),
    };
    let hidden = Blanks::new(&[blank]).hidden_from(&Method::GET, "/x").expect("something is hidden");
    let Ok(shown) = blanking::without(&hidden, data.to_vec()) else { return };
    let before: Value = serde_json::from_slice(data).expect("what is shown was JSON");
    let after: Value = serde_json::from_slice(&shown).expect("what is shown is JSON");
    assert_eq!(
        after,
        expected(before.clone(), &["a", "*", "p"]),
        "another reader sees the same, without the fields"
    );
    assert!(after != before || shown == data, "nothing to hide, not a byte changed");
    assert_eq!(blanking::without(&hidden, shown.clone()), Ok(shown), "once is enough");
}

/// The same by way of a tree.
fn expected(value: Value, place: &[&str]) -> Value {
    let child = |name: Option<&str>, value: Value| {
        let here = place.split_first().filter(|(first, _)| **first == "*" || Some(**first) == name);
        let below = here.map(|(_, rest)| rest);
        match (name == Some("t") || below.is_some_and(<[&str]>::is_empty), value) {
            (true, Value::String(_)) => Value::String(String::new()),
            (true, _) => Value::Null,
            // No place begins with nothing.
            (false, value) => expected(value, below.unwrap_or(&["\u{0}nowhere"])),
        }
    };
    match value {
        Value::Array(items) => items.into_iter().map(|item| child(None, item)).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, member)| (name.clone(), child(Some(&name), member))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
