//! What the words of the access log mean, for the operator: plainer than what strangers are told.

use super::{Ambiguity, DeliveryFault, Denial, OWN_REASONS, REASONS, ReplyFault, RetryAfter};

const SOON: RetryAfter = RetryAfter::LEAST;

/// One of each that is not a [`DeliveryFault`], in the order of [`Denial::index`].
const OWN: [Denial; OWN_REASONS.len()] = [
    Denial::Ambiguous(Ambiguity::Syntax),
    Denial::MethodNotAllowed,
    Denial::ExpectationUnknown,
    Denial::TargetTooLong,
    Denial::CredentialMissing,
    Denial::CredentialMalformed,
    Denial::CredentialUnknown,
    Denial::CredentialExpired,
    Denial::CredentialRevoked,
    Denial::TooManyFailures(SOON),
    Denial::AddressNotAllowed,
    Denial::ScopeMissing,
    Denial::ScopeNever,
    Denial::ScopeUnread,
    Denial::RateLimited(SOON),
    Denial::BodyTooLarge,
    Denial::BodyTooSlow,
    Denial::BodyBroken,
    Denial::Overloaded,
    Denial::UpstreamUnreachable,
    Denial::UpstreamConnectTimeout,
    Denial::UpstreamTimeout,
    Denial::UpstreamBroken,
    Denial::DeliveryUnderWay,
    Denial::CredentialDecoy,
    Denial::ReplyUnreadable(ReplyFault::Kind),
    Denial::AddressBanned(SOON),
    Denial::CertificateNotShown,
    Denial::UpstreamDown(SOON),
    Denial::UpstreamFull,
];

/// The refusal whose [`reason`](Denial::reason) is `word`, less its details; `None` for a word of another version.
pub fn of_reason(word: &str) -> Option<Denial> {
    let index = REASONS.iter().position(|reason| *reason == word)?;
    let own = OWN.get(index).copied();
    own.or_else(|| DeliveryFault::ALL.get(index - OWN.len()).copied().map(Denial::Delivery))
}

/// A [`reason`](Denial::reason) and its `detail` in a sentence without an end; the word itself if it is not known.
pub fn meaning(reason: &str, detail: Option<&str>) -> String {
    let told = match of_reason(reason) {
        None => reason.to_owned(),
        // Strangers hear the same of these three.
        Some(Denial::CredentialMalformed) => "The credential is mistyped, or not one of ours".to_owned(),
        Some(Denial::CredentialUnknown) => "No key has this credential".to_owned(),
        Some(Denial::CredentialDecoy) => "The key is a decoy: whoever presents it has stolen it".to_owned(),
        Some(Denial::Delivery(fault)) => format!("The delivery was not believed: {fault}"),
        Some(denial) => denial.title().to_owned(),
    };
    match detail {
        None => told,
        Some(detail) => format!("{told} ({})", detail.replace('_', " ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_and_has_a_meaning_of_its_own() {
        let mut meanings = Vec::new();
        for (index, reason) in REASONS.into_iter().enumerate() {
            let denial = of_reason(reason).unwrap();
            assert_eq!((denial.index(), denial.reason()), (index, reason));
            meanings.push(meaning(reason, None));
        }
        meanings.sort();
        meanings.dedup();
        // The CRM did not answer in time, whether the connection or the answer.
        assert_eq!(meanings.len(), REASONS.len() - 1);
        assert_eq!(meaning("of_tomorrow", None), "of_tomorrow");
        assert!(meaning("ambiguous", Some("double_slash")).ends_with("(double slash)"));
    }
}
