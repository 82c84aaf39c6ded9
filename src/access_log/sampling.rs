//! Fewer lines where there are too many: one in so many successes. Refusals and errors are always written.

use std::num::NonZeroU32;
use std::str::FromStr;

use crate::outcome::{Ending, Outcome};
use crate::policy::hours::Opening;
use crate::policy::senders::Sender;

/// One success in so many is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling(NonZeroU32);

/// Not a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected '1/1' for all, or as few as '1/10000'")]
pub struct SamplingError;

impl Sampling {
    /// Every line is written.
    pub const ALL: Self = Self(NonZeroU32::MIN);

    /// True for a success that the sample does not hold. Chosen by the request's id alone, so that no key or route fares
    /// better than another.
    pub(super) fn leaves_out(self, outcome: &Outcome<'_>) -> bool {
        self != Self::ALL && is_success(outcome) && !outcome.request_id.draw().is_multiple_of(self.0.get())
    }

    /// How many requests a written line stands for, where that is not one.
    pub(super) fn stands_for(self, outcome: &Outcome<'_>) -> Option<u32> {
        (self != Self::ALL && is_success(outcome)).then_some(self.0.get())
    }
}

impl FromStr for Sampling {
    type Err = SamplingError;

    fn from_str(text: &str) -> Result<Self, SamplingError> {
        let count: NonZeroU32 =
            text.strip_prefix("1/").and_then(|count| count.parse().ok()).ok_or(SamplingError)?;
        if count.get() <= 10_000 { Ok(Self(count)) } else { Err(SamplingError) }
    }
}

/// Whatever somebody may look for one day is none: refusals, errors of the CRM's, exchanges that broke off, deliveries that
/// were kept from the CRM, updates of senders who are not expected or came when nobody was there.
fn is_success(outcome: &Outcome<'_>) -> bool {
    outcome.denial.is_none()
        && outcome.status.is_some_and(|status| status.as_u16() < 400)
        && outcome.ending == Ending::Complete
        && outcome.delivery.word().is_none()
        && outcome.observed.is_none()
        && matches!(outcome.judged, None | Some((Sender::Expected, Opening::In)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denial::{Denial, Observed};
    use crate::outcome::{Caller, DeliveryResult, RequestId};
    use http::{Method, StatusCode};

    #[test]
    fn one_success_in_ten_and_everything_else() {
        let sampling: Sampling = "1/10".parse().unwrap();
        let (caller, method) = (Caller::Unknown, Method::GET);
        let outcome = |number| Outcome {
            at: crate::clock::WallTime::default(),
            request_id: RequestId::new(7, number),
            client: None,
            peer: "::1",
            method: &method,
            path: None,
            route: "api",
            caller: &caller,
            scope: None,
            status: Some(StatusCode::OK),
            denial: None,
            observed: None,
            delivery: DeliveryResult::Forwarded,
            judged: None,
            ending: Ending::Complete,
            bytes_in: 0,
            bytes_out: 0,
            total: std::time::Duration::ZERO,
            upstream: None,
        };
        let written = (0..10_000).filter(|number| !sampling.leaves_out(&outcome(*number))).count();
        assert!((850..1_150).contains(&written), "{written}");
        let all = |change: fn(&mut Outcome<'_>)| {
            (0..1_000).all(|number| {
                let mut outcome = outcome(number);
                change(&mut outcome);
                !sampling.leaves_out(&outcome) && sampling.stands_for(&outcome).is_none()
            })
        };
        assert!(!all(|_| ()));
        assert!(all(|outcome| outcome.denial = Some(Denial::ScopeMissing)));
        assert!(all(|outcome| outcome.status = Some(StatusCode::NOT_FOUND)));
        assert!(all(|outcome| outcome.observed = Some(Observed::Scope)));
        assert!(all(|outcome| outcome.status = None));
        assert!(all(|outcome| outcome.ending = Ending::ClientGone));
        assert!(all(|outcome| outcome.delivery = DeliveryResult::Withheld));
        assert!(all(|outcome| outcome.judged = Some((Sender::Expected, Opening::Out))));
        assert_eq!(sampling.stands_for(&outcome(0)), Some(10));
        assert_eq!(Sampling::ALL.stands_for(&outcome(0)), None);
        assert!((0..100).all(|number| !Sampling::ALL.leaves_out(&outcome(number))));
        for bad in ["", "10", "0.1", "1/0", "2/10", "1/10001", "1/-1", "1/ 10"] {
            assert_eq!(bad.parse::<Sampling>(), Err(SamplingError), "{bad}");
        }
    }
}
