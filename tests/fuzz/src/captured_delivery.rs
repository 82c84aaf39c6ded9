//! The input of `sidelock webhook verify`.

use serde_json::Value;
use sidelock::cli::webhook::judge;
use sidelock::clock::WallTime;

/// One file of captured deliveries.
pub fn run(data: &[u8]) {
    let mut out = Vec::new();
    let now = WallTime::from_unix_secs(1_760_000_000);
    let unreadable = judge(&mut &*data, None, Some(now), &mut out).expect("reading and writing memory");
    let verdicts: Vec<Value> = out
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert!(verdicts.iter().all(|verdict| matches!(verdict["verdict"].as_str(), Some("accept" | "reject"))));
    assert_eq!(verdicts.iter().filter(|verdict| verdict["reason"] == "unreadable").count(), unreadable);
}
