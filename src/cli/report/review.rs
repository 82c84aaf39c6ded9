//! The weekly review in words.

use super::super::place::Place;
use super::document::{
    Bar, Bars, Cell, Document, Part, Section, Table, Tile, Tone, code, count, counted, number, plural, text,
    when,
};
use crate::denial::words::meaning;
use crate::report::review::{Findings, KeyVolume, Webhook};
use crate::report::volume::{BINS, PARTS, Standing, Volume};
use crate::report::{Counted, Stamp};

pub(super) fn document(findings: &Findings, place: &Place) -> Document {
    let span = &findings.span;
    Document {
        title: "Review of keys and webhooks".to_owned(),
        subtitle: format!("{} to {} (UTC)", day(span.since), day(span.until)),
        notes: notes(findings),
        tiles: tiles(findings),
        sections: vec![
            over_time(findings),
            volumes(findings),
            refused(findings),
            webhooks(&findings.webhooks),
            alarms(findings, place),
            upkeep(findings),
        ]
        .into_iter()
        .filter(|section| !section.parts.is_empty() || !section.lead.is_empty())
        .collect(),
    }
}

/// `2026-11-22 10:00`.
fn day(stamp: Stamp) -> String {
    stamp.0.rfc3339().replace('T', " ").chars().take(16).collect()
}

fn notes(findings: &Findings) -> Vec<String> {
    let mut notes = Vec::new();
    match (findings.log_begins, findings.past_periods) {
        (None, _) => notes.push("The log holds nothing of this time.".to_owned()),
        (Some(begins), 0) => notes.push(format!(
            "The log begins {}: there is no whole period before this one to compare with.",
            day(begins)
        )),
        (Some(_), past) => {
            notes.push(format!("Compared with the {} before.", counted(past as u64, "period")));
        }
    }
    if findings.sampled {
        notes.push("Successes were sampled: counts of them are estimates.".to_owned());
    }
    notes
}

fn tiles(findings: &Findings) -> Vec<Tile> {
    let tile = |label, volume: &Volume, bad_when_more: bool| Tile {
        label,
        value: count(volume.now),
        note: volume
            .usual
            .map_or_else(String::new, |usual| format!("usually {}", count(usual.round() as u64))),
        tone: match volume.standing {
            Standing::More if bad_when_more => Tone::Bad,
            Standing::More | Standing::Less => Tone::Warn,
            Standing::Usual | Standing::New | Standing::NoPast => Tone::Plain,
        },
    };
    let odd = findings.keys.iter().filter(|key| stands_out(key)).count() as u64;
    let decoys: u64 = findings.decoys.iter().map(|it| it.count).sum();
    vec![
        tile("Requests let through", &findings.allowed, false),
        tile("Refused or unanswered", &findings.refused, true),
        tile("Refused credentials", &findings.refused_credentials, true),
        Tile {
            label: "Keys unlike themselves",
            value: count(odd),
            note: format!("of {} seen", count(findings.keys.len() as u64)),
            tone: if odd > 0 { Tone::Warn } else { Tone::Plain },
        },
        Tile {
            label: "Decoy keys tried",
            value: count(decoys),
            note: String::new(),
            tone: if decoys > 0 { Tone::Bad } else { Tone::Plain },
        },
    ]
}

fn over_time(findings: &Findings) -> Section {
    let is_days = findings.span.until.0.since(findings.span.since.0).as_secs() >= PARTS as u64 * 86_400;
    let label = |stamp: &Stamp| -> String {
        let text = day(*stamp);
        if is_days { text.chars().take(10).collect() } else { text }
    };
    let parts = findings.parts.iter().zip(findings.allowed.parts.iter().zip(&findings.refused.parts));
    let bars = parts.enumerate().map(|(at, (stamp, (allowed, refused)))| Bar {
        label: label(stamp),
        allowed: *allowed,
        refused: *refused,
        usual: None,
        is_past: at < BINS - PARTS,
    });
    let title = if is_days { "Requests by day" } else { "Requests over time" };
    Section::new("Requests over time", String::new())
        .bars(Bars { title: title.to_owned(), bars: bars.collect() })
}

const fn stands_out(key: &KeyVolume) -> bool {
    matches!(key.volume.standing, Standing::More | Standing::Less | Standing::New)
}

fn volumes(findings: &Findings) -> Section {
    let table =
        Table::new("", &["Key", "Title", "Requests", "Usual", "Times", "z", "Over time", "Against its past"]);
    let row = |key: &KeyVolume| {
        let volume = &key.volume;
        let figure = |value: Option<f64>| {
            Cell::Number(value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}")))
        };
        let (tone, word) = judgement(volume, findings);
        vec![
            code(&*key.id),
            text(key.title.as_deref().unwrap_or("(no longer in the key file)")),
            number(volume.now),
            Cell::Number(volume.usual.map_or_else(|| "–".to_owned(), |it| count(it.round() as u64))),
            figure(volume.ratio),
            figure(volume.z),
            Cell::Spark(volume.parts.clone(), PARTS),
            Cell::Flag(tone, word),
        ]
    };
    let left_out = (findings.keys_left_out > 0).then(|| {
        format!("{} of further keys were not told apart", counted(findings.keys_left_out, "request"))
    });
    let lead = "Unusual is three times as much or as little, three standard deviations away, and at least 100 requests: \
                in the whole time, or in a seventh of it against the same seventh before.";
    Section::new("Keys against their own past", if findings.keys.is_empty() { "" } else { lead })
        .table(table.with(&findings.keys, row).and(left_out))
}

fn judgement(volume: &Volume, findings: &Findings) -> (Tone, String) {
    let part = volume.part.and_then(|part| findings.parts.get(BINS - PARTS + part));
    let (tone, word) = match (volume.standing, part) {
        (Standing::More, Some(part)) => return (Tone::Bad, format!("far more from {}", day(*part))),
        (Standing::More, None) => (Tone::Bad, "far more than usual"),
        (Standing::Less, _) => (Tone::Warn, "far less than usual"),
        (Standing::New, _) => (Tone::Warn, "new"),
        (Standing::Usual, _) => (Tone::Plain, "as usual"),
        (Standing::NoPast, _) => (Tone::Plain, "nothing to compare"),
    };
    (tone, word.to_owned())
}

fn refused(findings: &Findings) -> Section {
    let reason = |it: &Counted| vec![text(meaning(&it.name, None)), code(&*it.name), number(it.count)];
    let reasons = Table::new("By reason", &["Reason", "Word", "Count"]).with(&findings.reasons, reason);
    let addresses =
        Table::new("Refused credentials by address", &["Address", "Count", "First", "Last", "Why"])
            .most(20)
            .with(&findings.addresses, |it| {
                vec![
                    code(&*it.counted.name),
                    at_least(&it.counted),
                    when(day(it.counted.first)),
                    when(day(it.counted.last)),
                    text(it.reasons.join(", ")),
                ]
            })
            .and((findings.addresses_seen > 20).then(|| addresses_in_all(findings)));
    let lead =
        if findings.reasons.is_empty() { "Nothing was refused." } else { "IPv6 addresses count per /64." };
    Section::new("Refusals", lead).table(reasons).table(addresses)
}

fn addresses_in_all(findings: &Findings) -> String {
    let all = plural(findings.addresses_seen, "address", "addresses");
    match findings.addresses_forgotten {
        0 => format!("{all} in all"),
        forgotten => format!(
            "About {all} in all; {} of them with few refusals each were forgotten for want of room",
            count(forgotten)
        ),
    }
}

/// A count that may be larger in truth.
pub(super) fn at_least(counted: &Counted) -> Cell {
    Cell::Number(if counted.more_at_most > 0 {
        format!("≥ {}", count(counted.count))
    } else {
        count(counted.count)
    })
}

fn webhooks(webhooks: &[Webhook]) -> Section {
    let head = [
        "Webhook",
        "Accepted",
        "Failed at the CRM",
        "Refused",
        "Not forwarded",
        "Unexpected",
        "Blocked",
        "Out of hours",
    ];
    let table = Table::new("", &head).with(webhooks, |webhook| {
        let of =
            |list: &[Counted], name: &str| list.iter().filter(|it| it.name == name).map(|it| it.count).sum();
        let kept = ["duplicate", "handshake", "withheld"];
        let results = &webhook.results;
        let known: u64 =
            ["accepted", "failed", "unanswered"].iter().chain(&kept).map(|it| of(results, it)).sum();
        let all: u64 = results.iter().map(|it| it.count).sum();
        let refused = all.saturating_sub(known);
        let failed = of(results, "failed") + of(results, "unanswered");
        let flag = |value: u64, tone| {
            if value > 0 { Cell::Flag(tone, count(value)) } else { Cell::Number("0".to_owned()) }
        };
        vec![
            code(&*webhook.name),
            number(of(results, "accepted")),
            flag(failed, Tone::Warn),
            flag(refused, Tone::Warn),
            number(kept.iter().map(|it| of(results, it)).sum()),
            flag(of(&webhook.senders, "unexpected"), Tone::Warn),
            flag(of(&webhook.senders, "blocked"), Tone::Bad),
            flag(of(&webhook.senders, "out of hours"), Tone::Warn),
        ]
    });
    Section::new("Webhooks", if webhooks.is_empty() { "No webhook is configured." } else { "" }).table(table)
}

fn alarms(findings: &Findings, place: &Place) -> Section {
    let decoys = Table::new("Decoy keys", &["Key and address", "Count", "First", "Last"])
        .with(&findings.decoys, |it| {
            vec![code(&*it.name), number(it.count), when(day(it.first)), when(day(it.last))]
        });
    let observed = Table::new(
        "What observed keys would be refused for",
        &["Key", "Title", "Reason", "Count"],
    )
    .with(&findings.observed, |it| {
        let (id, reason) = it.name.split_once(": ").unwrap_or((&it.name, ""));
        let title = place.key(id).map_or("", |key| key.title.as_str());
        vec![code(id), text(title), text(meaning(reason, None)), number(it.count)]
    });
    Section::new("Decoys and observed keys", "").table(decoys).table(observed)
}

fn upkeep(findings: &Findings) -> Section {
    let owner = |owner: &Option<String>| text(owner.as_deref().unwrap_or("–"));
    let unused = Table::new("Unused for 30 days", &["Key", "Title", "Owner", "Last used"]).with(
        &findings.unused,
        |it| {
            let last = it.last_used.map_or_else(|| "never, as far as is known".to_owned(), day);
            vec![code(&*it.id), text(&*it.title), owner(&it.owner), text(last)]
        },
    );
    let expiring = Table::new("Expiring within 14 days", &["Key", "Title", "Owner", "Expires"])
        .with(&findings.expiring, |it| {
            vec![code(&*it.id), text(&*it.title), owner(&it.owner), when(day(it.expires))]
        });
    let over = Table::new("Scopes held and not used", &["Key", "Title", "Used", "Not used"])
        .with(&findings.overprivileged, |it| {
            vec![code(&*it.id), text(&*it.title), text(it.used.join(" ")), text(it.unused.join(" "))]
        })
        .and(findings.log_begins.map(|begins| format!("Judged by the log since {}", day(begins))));
    let section = Section::new("Keys to look after", "").table(unused).table(expiring).table(over);
    if section.parts.iter().any(|part| matches!(part, Part::Table(_))) {
        section
    } else {
        Section {
            lead: "Every key is in use, none expires soon, and none holds a scope that it does not use."
                .to_owned(),
            ..section
        }
    }
}
