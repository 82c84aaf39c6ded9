//! Reads the record, and says what is wrong with it.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde_json::Value;

use super::line::{START, hash};
use super::record::{Head, read_head};
use super::{FILE, HEAD};

/// Something that must not be. Lines count from 1, as editors count them; numbers are those that lines carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A line is not the one that was written.
    #[error("line {line} was altered: {why}")]
    Altered {
        /// Which.
        line: usize,
        /// How that is known.
        why: &'static str,
    },
    /// Lines are missing.
    #[error("{} missing", range(*.first, *.last))]
    Missing {
        /// The number of the first one.
        first: u64,
        /// And of the last one.
        last: u64,
    },
    /// A line stands after one that was written later, or twice.
    #[error("line {line} is out of order: it is number {number}")]
    OutOfOrder {
        /// Which.
        line: usize,
        /// The number it carries.
        number: u64,
    },
    /// Lines that the head file does not know: added by hand, or by a command that was interrupted.
    #[error(
        "the head file knows {known} lines, the record has number {last}: lines were added, or a command was interrupted"
    )]
    Unknown {
        /// Lines by the head file.
        known: u64,
        /// The highest number.
        last: u64,
    },
    /// The head file is missing or no head file.
    #[error("{HEAD} is missing or damaged: a cut tail could not be noticed")]
    NoHead,
    /// The head file was missing when this line was written.
    #[error("{HEAD} was missing when line {line} was written: lines before it could have been cut off")]
    HeadWasLost {
        /// Which.
        line: usize,
    },
}

fn range(first: u64, last: u64) -> String {
    if first == last { format!("number {first} is") } else { format!("numbers {first} to {last} are") }
}

/// A record as read.
#[derive(Debug)]
pub struct Reading {
    /// Each line as JSON, null if it is none.
    pub lines: Vec<Value>,
    /// What must not be.
    pub findings: Vec<Finding>,
}

/// Reads the record in a state folder.
///
/// # Errors
/// As the file system says; a record that was never begun is empty.
pub fn read(state_dir: &Path) -> std::io::Result<Reading> {
    let bytes = match std::fs::read(state_dir.join(FILE)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let head_path = state_dir.join(HEAD);
    let head = read_head(&head_path)?;
    let begun = !bytes.is_empty() || head_path.exists();
    let raw: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let links: Vec<Option<Link>> = raw.iter().map(|line| Link::of(line)).collect();
    let mut findings = chain(&links);
    match head {
        Some(head) => findings.extend(tail(&links, &head)),
        None if begun => findings.push(Finding::NoHead),
        None => {}
    }
    let lines = raw.iter().map(|line| serde_json::from_slice(line).unwrap_or_default()).collect();
    Ok(Reading { lines, findings })
}

/// What one line says of its place.
struct Link {
    number: u64,
    previous: String,
    hash: String,
    head_lost: bool,
}

impl Link {
    fn of(line: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(line).ok()?;
        Some(Self {
            number: value.get("n")?.as_u64()?,
            previous: value.get("previous")?.as_str()?.to_owned(),
            hash: hash(line),
            head_lost: value.get("head_lost").is_some(),
        })
    }
}

fn chain(links: &[Option<Link>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let by_number: HashMap<u64, (usize, &Link)> = links
        .iter()
        .enumerate()
        .filter_map(|(at, link)| link.as_ref().map(|link| (link.number, (at + 1, link))))
        .collect();
    let mut highest = 0;
    let mut altered = BTreeSet::new();
    for (at, link) in links.iter().enumerate() {
        let line = at + 1;
        let Some(link) = link else {
            findings.push(Finding::Altered { line, why: "it is not a line of this record" });
            continue;
        };
        if link.number <= highest {
            findings.push(Finding::OutOfOrder { line, number: link.number });
        }
        highest = highest.max(link.number);
        if link.head_lost {
            findings.push(Finding::HeadWasLost { line });
        }
        match link.number.checked_sub(1).and_then(|before| by_number.get(&before)) {
            Some((before, it)) if it.hash != link.previous => drop(altered.insert(*before)),
            None if link.number == 1 && link.previous != START => drop(altered.insert(line)),
            Some(_) | None => {}
        }
    }
    findings.extend(missing(&by_number, highest, links));
    findings.extend(
        altered
            .into_iter()
            .map(|line| Finding::Altered { line, why: "its hash is not the one that the next line carries" }),
    );
    findings
}

/// Numbers that no line carries; a line that cannot be read is not missing but altered.
fn missing(by_number: &HashMap<u64, (usize, &Link)>, highest: u64, links: &[Option<Link>]) -> Vec<Finding> {
    if links.iter().any(Option::is_none) {
        return Vec::new();
    }
    let mut numbers: Vec<u64> = by_number.keys().copied().collect();
    numbers.sort_unstable();
    let mut gaps = Vec::new();
    let mut expected = 1;
    for number in numbers.into_iter().filter(|number| *number <= highest) {
        if number > expected {
            gaps.push(Finding::Missing { first: expected, last: number - 1 });
        }
        expected = number.saturating_add(1);
    }
    gaps
}

fn tail(links: &[Option<Link>], head: &Head) -> Option<Finding> {
    let last = links.iter().flatten().max_by_key(|link| link.number);
    let number = last.map_or(0, |last| last.number);
    let whole = links.iter().all(Option::is_some);
    if number < head.lines {
        return whole.then_some(Finding::Missing { first: number + 1, last: head.lines });
    }
    if number > head.lines {
        return Some(Finding::Unknown { known: head.lines, last: number });
    }
    let differs = last.is_some_and(|last| last.hash != head.last);
    differs.then_some(Finding::Altered { line: links.len(), why: "its hash is not the one in the head file" })
}

#[cfg(test)]
mod tests {
    use super::super::line::{Change, FieldChange, Origin};
    use super::super::record::append;
    use super::super::who::Who;
    use super::*;
    use crate::clock::WallTime;

    fn record(lines: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        (0..lines).for_each(|number| add(folder.path(), number));
        folder
    }

    fn add(folder: &Path, number: usize) {
        let origin = Origin {
            when: WallTime::from_unix_secs(1_800_000_000),
            who: Who::default(),
            verb: "edit",
            command: "sidelock keys edit".to_owned(),
            file: "keys.toml".into(),
            before: START.to_owned(),
            after: START.to_owned(),
        };
        let fields = vec![FieldChange { name: "title".to_owned(), from: None, to: Some(number.to_string()) }];
        append(folder, &origin, &[Change { key: format!("k{number}"), fields }], (0, 0)).unwrap();
    }

    /// The findings after the lines were changed by hand.
    fn after(folder: &Path, change: impl Fn(&mut Vec<String>)) -> Vec<Finding> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        change(&mut lines);
        std::fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        let found = read(folder).unwrap().findings;
        std::fs::write(&path, text).unwrap();
        found
    }

    #[test]
    fn every_tampering_is_named() {
        let folder = record(5);
        let folder = folder.path();
        assert_eq!(after(folder, |_| ()), []);
        assert_eq!(read(folder).unwrap().lines.len(), 5);
        for line in 1..=5_usize {
            let [finding] =
                &after(folder, |lines| lines[line - 1] = lines[line - 1].replace("\"k", "\"x"))[..]
            else {
                panic!("line {line}");
            };
            assert!(matches!(finding, Finding::Altered { line: found, .. } if *found == line), "{finding}");
            let number = u64::try_from(line).unwrap();
            let found = after(folder, |lines| drop(lines.remove(line - 1)));
            assert_eq!(found, [Finding::Missing { first: number, last: number }]);
        }
        assert_eq!(after(folder, |lines| lines.truncate(2)), [Finding::Missing { first: 3, last: 5 }]);
        assert_eq!(after(folder, Vec::clear), [Finding::Missing { first: 1, last: 5 }]);
        assert_eq!(after(folder, |lines| lines.swap(1, 2)), [Finding::OutOfOrder { line: 3, number: 2 }]);
        assert!(matches!(
            after(folder, |lines| lines[3] = "x".to_owned())[..],
            [Finding::Altered { line: 4, .. }]
        ));
        let twice = |lines: &mut Vec<String>| lines.push(lines[1].clone());
        assert_eq!(after(folder, twice), [Finding::OutOfOrder { line: 6, number: 2 }]);
    }

    #[test]
    fn a_cut_stays_visible_when_the_record_goes_on() {
        let folder = record(3);
        let path = folder.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.lines().take(1).map(|line| format!("{line}\n")).collect::<String>())
            .unwrap();
        add(folder.path(), 4);
        assert_eq!(read(folder.path()).unwrap().findings, [Finding::Missing { first: 2, last: 3 }]);
    }

    #[test]
    fn a_crash_is_put_right_and_a_lost_head_is_told() {
        let folder = record(2);
        let path = folder.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}{{\"n\":3,")).unwrap();
        add(folder.path(), 3);
        assert_eq!(read(folder.path()).unwrap().findings, []);
        std::fs::remove_file(folder.path().join(HEAD)).unwrap();
        assert_eq!(read(folder.path()).unwrap().findings, [Finding::NoHead]);
        add(folder.path(), 4);
        assert_eq!(read(folder.path()).unwrap().findings, [Finding::HeadWasLost { line: 4 }]);
    }
}
