//! `[limits]`: how much, and how often.

use std::num::NonZeroU32;

use super::reader::Section;
use super::units::Size;
use crate::limits::rate::{Per, Rate};

/// The section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `per_key`: default `600/min`.
    pub per_key: Rate,
    /// `per_address_failures`: refused credentials; default `10/min burst 20`.
    pub per_address_failures: Rate,
    /// `body`: of a request, streamed; default 100 MiB.
    pub body: u64,
    /// `held_bodies`: all bodies together that are held until they are judged, replies included; default 64 MiB. Needs a restart.
    pub held_bodies: u64,
    /// `held_reply`: a reply of the CRM's in which fields are blanked; default 1 MiB. Needs a restart.
    pub held_reply: u64,
    /// `head`: of a request, all fields together; default 16 KiB. Needs a restart.
    pub head: usize,
    /// `fields`: in a request head; default 100. Needs a restart.
    pub fields: usize,
    /// `connections`: of clients, all together; default 10,000. Needs a restart.
    pub connections: usize,
    /// `connections_per_address`: IPv6 counts per /64; default 1,000. Needs a restart.
    pub connections_per_address: usize,
}

impl Limits {
    pub(super) fn read(section: Section<'_, '_>) -> Self {
        let rate = |key, default: Rate| section.get(key).and_then(|value| value.parse()).unwrap_or(default);
        let count = |key, least, most, default: usize| {
            let number = section.get(key).and_then(|value| value.number(least, most));
            number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
        };
        let size = |key, default| {
            section.get(key).and_then(|value| value.parse::<Size>()).map_or(default, |size| size.0)
        };
        let head = size("head", 16 * 1024);
        if !(8 * 1024..=1024 * 1024).contains(&head)
            && let Some(value) = section.get("head")
        {
            value.reading().error(value.span(), "expected from 8KiB to 1MiB", None);
        }
        let limits = Self {
            per_key: rate("per_key", Rate::new(at_least_one(600), Per::Minute)),
            per_address_failures: rate(
                "per_address_failures",
                Rate::new(at_least_one(10), Per::Minute).with_burst(at_least_one(20)),
            ),
            body: size("body", 100 * 1024 * 1024),
            held_bodies: size("held_bodies", 64 * 1024 * 1024),
            held_reply: size("held_reply", 1024 * 1024),
            head: usize::try_from(head).unwrap_or(16 * 1024),
            fields: count("fields", 10, 1_000, 100),
            connections: count("connections", 1, 1_000_000, 10_000),
            connections_per_address: count("connections_per_address", 1, 1_000_000, 1_000),
        };
        section.finish();
        limits
    }
}

fn at_least_one(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
}
