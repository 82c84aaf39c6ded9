//! What Telegram knows of a webhook, in words.

use std::time::Duration;

use super::Bot;
use super::api::{Certificate, Registered, WebhookInfo};
use crate::clock::WallTime;

/// A failure is still going on if it is at most this old: Telegram tries an update that waits again within two minutes, and
/// an hour only where it was told so.
pub(super) const RECENT: Duration = Duration::from_secs(600);
/// More updates that wait than this are a queue that grows.
const MANY_PENDING: u64 = 100;

/// One fact and what to make of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub weight: Weight,
    /// In a sentence.
    pub text: String,
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Deliveries fail, or go elsewhere.
    Trouble,
}

/// Everything that can be said about `info`.
pub fn explain(bot: &Bot, info: &WebhookInfo, now: WallTime) -> Vec<Finding> {
    let mut findings = vec![registered(bot, info), pending(info)];
    findings.extend(last_error(info, now));
    findings.extend(info.last_synchronization_error.map(|at| {
        let age = since(at, now);
        let weight = if age <= RECENT { Weight::Trouble } else { Weight::Note };
        let text =
            format!("Telegram's own data centres last failed to agree on updates {} ago", in_words(age));
        Finding { weight, text }
    }));
    findings.extend(settings(bot, info));
    findings
}

/// True if nothing is in trouble.
pub fn is_healthy(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.weight < Weight::Trouble)
}

/// Time from `at` to `now`; zero if the clocks disagree.
pub fn since(at: WallTime, now: WallTime) -> Duration {
    Duration::from_secs(u64::try_from(now.unix_secs().saturating_sub(at.unix_secs())).unwrap_or(0))
}

fn registered(bot: &Bot, info: &WebhookInfo) -> Finding {
    let (weight, text) = match &info.registered {
        Registered::Here => (Weight::Good, format!("Telegram delivers to {}", bot.masked(&bot.url))),
        Registered::Elsewhere(origin) => (
            Weight::Trouble,
            format!(
                "Telegram delivers to {origin}, not to {}: deliveries pass Sidelock by. Did the CRM set its own webhook? \
                 'sidelock telegram set-webhook' sets it back",
                bot.masked(&bot.url)
            ),
        ),
        Registered::Nowhere => (
            Weight::Trouble,
            "the bot has no webhook: run 'sidelock telegram set-webhook'. Telegram also removes one that answered 410 for a day"
                .to_owned(),
        ),
    };
    Finding { weight, text }
}

fn pending(info: &WebhookInfo) -> Finding {
    let (weight, text) = match info.pending_updates {
        0 => (Weight::Good, "no update waits".to_owned()),
        1 => (Weight::Note, "1 update waits".to_owned()),
        few @ 2..=MANY_PENDING => (Weight::Note, format!("{few} updates wait")),
        many => (
            Weight::Trouble,
            format!(
                "{many} updates wait: deliveries are failing, or slower than people write. After a day they are lost"
            ),
        ),
    };
    Finding { weight, text }
}

fn last_error(info: &WebhookInfo, now: WallTime) -> Option<Finding> {
    let (at, message) = info.last_error.as_ref()?;
    let age = since(*at, now);
    let weight = if age <= RECENT { Weight::Trouble } else { Weight::Note };
    let over = if weight == Weight::Note { "; nothing has failed since" } else { "" };
    let advice = advice(message).map_or_else(String::new, |advice| format!(". {advice}"));
    let text = format!("the last delivery that failed, {} ago: \"{message}\"{over}{advice}", in_words(age));
    Some(Finding { weight, text })
}

/// What Telegram's own words usually mean behind a gateway.
fn advice(message: &str) -> Option<&'static str> {
    const KNOWN: [(&str, &str); 11] = [
        (
            "401",
            "Sidelock refused the secret: Telegram has none or another one; 'sidelock telegram set-webhook' tells it the right one",
        ),
        (
            "403",
            "The address was not allowed: does 'allow_from' hold Telegram's networks, and is the proxy in front trusted?",
        ),
        ("404", "The path is not a webhook's: does the proxy in front change it?"),
        ("410", "410 makes Telegram remove the webhook after a day"),
        (
            "429",
            "Sidelock refused wrong or missing secrets so often that it slowed them down; 'sidelock telegram set-webhook' tells Telegram the right one",
        ),
        (
            "502",
            "The CRM behind Sidelock could not be reached, or the proxy in front could not reach Sidelock",
        ),
        ("504", "The CRM behind Sidelock was too slow"),
        (
            "certificate",
            "The certificate of the public address must be whole (with intermediates) and publicly trusted",
        ),
        ("resolve host", "The public address has no entry in the DNS"),
        ("imeout", "The answer took too long: is the CRM slow, or does a firewall swallow packets?"),
        ("onnection", "The public address does not answer: firewall, port, or nothing listens"),
    ];
    KNOWN.iter().find(|(part, _)| message.contains(part)).map(|(_, advice)| *advice)
}

fn settings(bot: &Bot, info: &WebhookInfo) -> Vec<Finding> {
    let note = |text: String| Finding { weight: Weight::Note, text };
    let mut findings = Vec::new();
    if let Some(address) = &info.ip_address {
        findings.push(Finding {
            weight: Weight::Good,
            text: format!("it is delivered to the address {address}"),
        });
    }
    let wanted = u64::from(bot.settings.max_connections);
    match info.max_connections {
        Some(most) if most != wanted => {
            findings
                .push(note(format!("at most {most} deliveries at once; the configuration says {wanted}")));
        }
        Some(most) => findings
            .push(Finding { weight: Weight::Good, text: format!("at most {most} deliveries at once") }),
        None => {}
    }
    let kinds =
        |kinds: &[String]| if kinds.is_empty() { "the usual ones".to_owned() } else { kinds.join(", ") };
    let told: Vec<String> = info.allowed_updates.clone().unwrap_or_default();
    match &bot.settings.allowed_updates {
        Some(wanted) if !same(wanted, &told) => {
            let wanted: Vec<String> = wanted.iter().map(|kind| kind.to_string()).collect();
            let text = format!(
                "kinds of updates: {}; the configuration says {}: 'sidelock telegram set-webhook' tells Telegram",
                kinds(&told),
                kinds(&wanted)
            );
            findings.push(note(text));
        }
        Some(_) | None => {
            findings
                .push(Finding { weight: Weight::Good, text: format!("kinds of updates: {}", kinds(&told)) });
        }
    }
    if info.certificate == Certificate::Uploaded {
        findings.push(note(
            "Telegram trusts a certificate that was uploaded; set-webhook returns it to public ones"
                .to_owned(),
        ));
    }
    findings
}

fn same(wanted: &[Box<str>], told: &[String]) -> bool {
    let mut wanted: Vec<&str> = wanted.iter().map(|kind| &**kind).collect();
    let mut told: Vec<&str> = told.iter().map(String::as_str).collect();
    wanted.sort_unstable();
    told.sort_unstable();
    wanted == told
}

fn in_words(age: Duration) -> String {
    let (count, unit) = match age.as_secs() {
        secs @ 0..120 => (secs, "second"),
        secs @ 120..7_200 => (secs / 60, "minute"),
        secs @ 7_200..172_800 => (secs / 3_600, "hour"),
        secs => (secs / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_in_words() {
        for (secs, words) in [
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7_200, "2 hours"),
            (172_800, "2 days"),
        ] {
            assert_eq!(in_words(Duration::from_secs(secs)), words);
        }
        let (early, late) = (WallTime::from_unix_secs(10), WallTime::from_unix_secs(70));
        assert_eq!((since(early, late).as_secs(), since(late, early).as_secs()), (60, 0));
    }
}
