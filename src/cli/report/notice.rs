//! A draft of what to tell those whose data the key could reach. Facts from the log; everything else is for people to fill in.

use super::document::{bytes, count, counted, plural};
use super::leak::{Holder, moment};
use crate::clock::WallTime;
use crate::report::leak::Radius;

pub(super) fn draft(holder: &Holder, radius: &Radius) -> String {
    let title = holder.title.as_deref().unwrap_or(&holder.id);
    let span = &radius.span;
    let mut lines = vec![
        format!("Subject: Possible misuse of the access key \"{title}\""),
        String::new(),
        "Dear [name],".to_owned(),
        String::new(),
        format!(
            "on [date] we learned that the access key \"{title}\" ({}) to [our CRM] was exposed: [how]. We have looked at every request \
             that was made with it from {} to {} (UTC).",
            holder.id,
            moment(span.since),
            moment(span.until)
        ),
        String::new(),
        "What we found:".to_owned(),
    ];
    lines.extend(found(radius).into_iter().map(|fact| format!("- {fact}")));
    lines.extend([String::new(), "What we have done:".to_owned()]);
    lines.push(match holder.revoked_at {
        Some(at) => format!("- The key was revoked on {} and works no more.", at_minute(at)),
        None => "- [The key was revoked on ... and works no more. / The key is still in use: sidelock keys revoke]".to_owned(),
    });
    lines.extend(
        [
            "- [A new key was issued to ... / No new key is needed.]",
            "- [The records above were checked and put right.]",
            "",
            "What you can do: [check the records above / be wary of messages that refer to them / nothing].",
            "",
            "Questions: [name, telephone, address]. [If personal data was reached, the supervisory authority was told on ...; in the \
             European Union that is due within 72 hours of learning of it, Article 33 GDPR.]",
            "",
            "[Signature]",
        ]
        .map(str::to_owned),
    );
    lines.join("\n") + "\n"
}

fn at_minute(at: WallTime) -> String {
    at.rfc3339().replace('T', " ").chars().take(16).collect::<String>() + " UTC"
}

fn found(radius: &Radius) -> Vec<String> {
    let (Some(first), Some(last)) = (radius.first, radius.last) else {
        return vec!["The key was not used in this time.".to_owned()];
    };
    let new: Vec<&str> =
        radius.addresses.iter().filter(|row| row.new).take(20).map(|row| &*row.counted.name).collect();
    let mut facts = vec![format!(
        "{} from {}, the first {}, the last {} (UTC); {} of them were refused.",
        counted(radius.requests, "request"),
        plural(radius.addresses.len() as u64, "address", "addresses"),
        moment(first),
        moment(last),
        count(radius.refused)
    )];
    if !new.is_empty() {
        facts.push(format!("Addresses that had not used it before: {}.", new.join(", ")));
    }
    let records: u64 = radius.records.iter().map(|it| it.ids).sum();
    facts.push(format!(
        "At least {} by their number, and whatever lists and searches returned: {} of answers in all.",
        plural(records, "record was reached", "records were reached"),
        bytes(radius.bytes_out)
    ));
    let done: u64 = radius.changes.iter().map(|row| row.outcomes.succeeded).sum();
    facts.push(if done == 0 {
        "Nothing was changed.".to_owned()
    } else {
        format!("{} that can change records succeeded.", counted(done, "request"))
    });
    let exports: u64 = radius.exports.iter().map(|it| it.counted.count).sum();
    facts.push(if exports == 0 {
        "Nothing was exported.".to_owned()
    } else {
        let size: u64 = radius.exports.iter().map(|it| it.bytes_out).sum();
        format!("{}: {}.", counted(exports, "export or bulk call"), bytes(size))
    });
    facts
}
