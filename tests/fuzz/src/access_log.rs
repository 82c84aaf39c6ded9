//! An access log that is read back: torn, foreign, or made by somebody else.

use std::ops::ControlFlow;

use sidelock::clock::WallTime;
use sidelock::denial::words::meaning;
use sidelock::keys::last_used::LastUsed;
use sidelock::records::line::Record;
use sidelock::records::reading::{Query, read_stream};
use sidelock::report::leak::Leak;
use sidelock::report::review::{Known, Review};
use sidelock::report::volume::Periods;
use sidelock::report::{Span, Stamp, shape};

/// 2026-11-22T10:00:00Z.
const UNTIL: WallTime = WallTime::from_unix_secs(1_795_341_600);

/// One log.
pub fn run(data: &[u8]) {
    let week = Periods::new(UNTIL, std::time::Duration::from_secs(7 * 86_400));
    let (since, mut given) = (week.beginning(), 0_u64);
    let span = Span { since: Stamp(since), until: Stamp(UNTIL) };
    let (mut review, mut leak) = (Review::new(week, ["telegram"]), Leak::new(span));
    let query = Query::new(Some(since), Some(UNTIL));
    let tally = read_stream(&mut &*data, &query, &mut |found| {
        given += 1;
        let record = found.record;
        assert!(record.time >= since && record.time < UNTIL, "what is out of the span is not given");
        assert_eq!(Record::of(found.line).ok().as_ref(), Some(&record), "the line is the record's own");
        assert!(!found.line.contains(&b'\n') && record.weight() >= 1);
        let (shape, _) = shape::of(&record.path);
        assert!(shape.len() <= record.path.len() + 8 * 16, "{shape}");
        drop(record.reason.map(|reason| meaning(reason, record.detail)));
        review.note(&record);
        leak.note(&record);
        ControlFlow::Continue(())
    });
    let tally = tally.expect("a slice can be read");
    let feeds = data.iter().filter(|byte| **byte == b'\n').count();
    let lines = feeds as u64 + u64::from(!data.is_empty() && !data.ends_with(b"\n"));
    assert_eq!(tally.lines, lines, "every line is looked at once");
    assert!(given + tally.broken + tally.overlong <= lines);
    let known = Known { keys: &[], last_used: &LastUsed::default(), now: UNTIL };
    let (findings, radius) = (review.finish(&known), leak.finish());
    assert!(findings.keys.len() as u64 <= given && radius.addresses.len() as u64 <= given);
}
