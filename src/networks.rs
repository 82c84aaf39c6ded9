//! Sets of networks, for membership only: sorted ranges and a binary search, whatever their number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

/// A set of CIDR networks. IPv4 lives in its mapped IPv6 range, so that one order holds for both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Disjoint, ascending, inclusive.
    ranges: Box<[(u128, u128)]>,
}

impl Networks {
    /// Merges overlapping and adjacent networks.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let range = |net: IpNet| (as_number(net.network()), as_number(net.broadcast()));
        Self::merged(networks.into_iter().map(range).collect())
    }

    fn merged(mut ranges: Vec<(u128, u128)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
                Some(_) | None => merged.push((first, last)),
            }
        }
        Self { ranges: merged.into_boxed_slice() }
    }

    /// This machine's own addresses.
    pub fn loopback() -> Self {
        let v4 = Ipv4Addr::LOCALHOST.to_ipv6_mapped().to_bits();
        let v6 = Ipv6Addr::LOCALHOST.to_bits();
        // 127.0.0.0/8 (RFC 1122 section 3.2.1.3) and ::1.
        Self::merged(vec![(v4 & !0xff_ffff, v4 | 0xff_ffff), (v6, v6)])
    }

    /// What is in any of them.
    pub fn union<'n>(sets: impl IntoIterator<Item = &'n Self>) -> Self {
        Self::merged(sets.into_iter().flat_map(|set| set.ranges.iter().copied()).collect())
    }

    /// True if no address is in the set.
    pub const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The fewest networks that make up the set, in ascending order. Those that were written down may have been merged.
    pub fn nets(&self) -> impl Iterator<Item = IpNet> {
        self.ranges.iter().flat_map(|(first, last)| {
            let (first, last) = (Ipv6Addr::from_bits(*first), Ipv6Addr::from_bits(*last));
            let nets: Vec<IpNet> = match (first.to_ipv4_mapped(), last.to_ipv4_mapped()) {
                (Some(first), Some(last)) => Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect(),
                (_, _) => Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect(),
            };
            nets
        })
    }

    /// Membership.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let number = as_number(ip);
        let after = self.ranges.partition_point(|(first, _)| *first <= number);
        after.checked_sub(1).and_then(|at| self.ranges.get(at)).is_some_and(|(_, last)| number <= *last)
    }
}

fn as_number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edges() {
        let set = Networks::new(
            ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8", "2001:db8::/32"].map(|net| net.parse().unwrap()),
        );
        for (ip, inside) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("11.255.255.255", true),
            ("12.0.0.0", false),
            ("2001:db8::1", true),
            ("2001:db9::", false),
            ("::ffff:10.1.1.1", true),
            ("::", false),
        ] {
            assert_eq!(set.contains(ip.parse().unwrap()), inside, "{ip}");
        }
        assert_eq!(set.ranges.len(), 2);
        let both = Networks::union([&set, &Networks::new(["9.0.0.0/8".parse().unwrap()])]);
        let own = Networks::loopback();
        for (ip, inside) in
            [("127.0.0.1", true), ("127.255.0.9", true), ("128.0.0.1", false), ("::1", true), ("::2", false)]
        {
            assert_eq!(own.contains(ip.parse().unwrap()), inside, "{ip}");
        }
        assert!(both.contains("9.1.1.1".parse().unwrap()) && both.ranges.len() == 2);
        let nets: Vec<String> = set.nets().map(|net| net.to_string()).collect();
        assert_eq!(nets, ["10.0.0.0/7", "2001:db8::/32"]);
        assert!(!Networks::default().contains("10.0.0.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn agrees_with_a_linear_scan(nets in prop::collection::vec((any::<u32>(), 0_u8..=32), 0..40), ip: u32) {
            let nets: Vec<IpNet> = nets.into_iter()
                .map(|(bits, len)| ipnet::Ipv4Net::new(bits.into(), len).unwrap().trunc().into()).collect();
            let ip = IpAddr::V4(ip.into());
            prop_assert_eq!(Networks::new(nets.clone()).contains(ip), nets.iter().any(|net| net.contains(&ip)));
        }
    }
}
