//! `[ban]`: addresses that guess keys may not use any for a while. Off without the section.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use super::client_address::{Manner, networks};
use super::reader::Section;
use super::units::Span;
use crate::limits::bans::{BanRule, LONGEST};
use crate::networks::Networks;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// `after` and `for`: so many unknown keys within so long, and how long the ban lasts; default 1 h.
    pub rule: Option<BanRule>,
    /// `exempt`: networks that are never banned; with this machine's own, unless `exempt_loopback` is false.
    pub exempt: Networks,
    /// `drop`: what banned addresses meet; default an answer.
    pub manner: Manner,
}

/// `50/10min`.
struct After(NonZeroU32, Duration);

/// Not a number of guesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected unknown keys and a time from 1s to 1d, as in '50/10min'")]
struct AfterError;

impl FromStr for After {
    type Err = AfterError;

    fn from_str(text: &str) -> Result<Self, AfterError> {
        let (count, span) = text.split_once('/').ok_or(AfterError)?;
        let count: NonZeroU32 = count.parse().map_err(|_| AfterError)?;
        let Span(within) = span.parse().map_err(|_| AfterError)?;
        let fits = (Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&within);
        if fits { Ok(Self(count, within)) } else { Err(AfterError) }
    }
}

impl Ban {
    pub(super) fn read(section: Section<'_, '_>) -> Self {
        let after = if section.is_present() { section.required("after") } else { None };
        let after = after.and_then(|value| value.parse::<After>());
        let lasts = section.get("for").and_then(|value| {
            let Span(lasts) = value.parse()?;
            if lasts.is_zero() || lasts > LONGEST {
                value.reading().error(value.span(), "expected from 1ms to 366d", None);
            }
            Some(lasts)
        });
        let lasts = lasts.unwrap_or(Duration::from_secs(3_600));
        let named = section.get("exempt").map(|value| networks(value, &|_| None)).unwrap_or_default();
        let loopback = section.get("exempt_loopback").and_then(|value| value.truth()).unwrap_or(true);
        let manner = Manner::read(&section);
        section.finish();
        let own = if loopback { Networks::loopback() } else { Networks::default() };
        let rule = after.map(|After(after, within)| BanRule { after, within, lasts });
        Self { rule, exempt: Networks::union([&named, &own]), manner }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_so_long() {
        let good =
            |text: &str| text.parse::<After>().map(|After(count, within)| (count.get(), within.as_secs()));
        assert_eq!(good("50/10min"), Ok((50, 600)));
        assert_eq!(good("1/1d"), Ok((1, 86_400)));
        for bad in ["", "50", "0/1min", "-1/1min", "5/min", "5/2d", "5/1ms", "4294967296/1s"] {
            assert_eq!(good(bad), Err(AfterError), "{bad}");
        }
    }
}
