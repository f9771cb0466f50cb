//! Which of several sets of networks an address is in, by binary search.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::Cluster;

/// Networks of sets that do not overlap, in the order of their addresses.
#[derive(Debug, Default)]
pub(crate) struct Ranges(Vec<Range>);

#[derive(Debug)]
struct Range {
    first: IpAddr,
    last: IpAddr,
    /// The number of its set.
    set: usize,
}

impl Ranges {
    /// Sets of networks, numbered as they come.
    ///
    /// # Errors
    /// The numbers of two sets that overlap.
    pub(crate) fn new<'a>(
        sets: impl IntoIterator<Item = &'a [IpNet]>,
    ) -> Result<Self, (usize, usize)> {
        let sets = sets.into_iter().enumerate();
        let ranges = sets.flat_map(|(set, networks)| {
            let networks = IpNet::aggregate(&networks.to_vec());
            networks.into_iter().map(move |network| Range {
                first: network.network(),
                last: network.broadcast(),
                set,
            })
        });
        let mut ranges: Vec<_> = ranges.collect();
        ranges.sort_by_key(|range| range.first);
        for pair in ranges.windows(2) {
            if pair[1].first <= pair[0].last {
                let (one, other) = (pair[0].set, pair[1].set);
                return Err((one.min(other), one.max(other)));
            }
        }
        Ok(Self(ranges))
    }

    /// The networks of `clusters`, each numbered by its index.
    ///
    /// # Errors
    /// The indices of two clusters that overlap.
    pub(crate) fn of_clusters(clusters: &[Cluster]) -> Result<Self, (usize, usize)> {
        Self::new(clusters.iter().map(|cluster| &*cluster.networks))
    }

    /// The set that `ip` is in.
    pub(crate) fn find(&self, ip: IpAddr) -> Option<usize> {
        let after = self.0.partition_point(|range| range.first <= ip);
        let range = &self.0[after.checked_sub(1)?];
        (ip <= range.last).then_some(range.set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_is_found_in_its_set_and_no_other() {
        let sets = [
            networks(&["10.1.0.0/16", "fd00:1::/64", "192.0.2.7/32"]),
            networks(&[]),
            networks(&["10.0.0.0/16", "10.2.0.0/15", "10.2.5.0/24", "fd00:2::/64"]),
        ];
        let ranges = Ranges::new(sets.iter().map(|set| &**set)).unwrap();
        for (ip, expected) in [
            ("10.1.0.0", Some(0)),
            ("10.1.255.255", Some(0)),
            ("10.0.255.255", Some(2)),
            ("10.2.5.1", Some(2)),
            ("10.3.255.255", Some(2)),
            ("10.4.0.0", None),
            ("9.255.255.255", None),
            ("192.0.2.7", Some(0)),
            ("192.0.2.8", None),
            ("fd00:1::ffff", Some(0)),
            ("fd00:1:0:1::", None),
            ("fd00:2::", Some(2)),
            ("::", None),
        ] {
            assert_eq!(ranges.find(ip.parse().unwrap()), expected, "{ip}");
        }
        assert_eq!(Ranges::default().find("10.0.0.1".parse().unwrap()), None);
    }

    #[test]
    fn an_ipv6_network_has_no_ipv4_addresses() {
        let ranges = Ranges::new([&*networks(&["::/0"])]).unwrap();
        assert_eq!(ranges.find("10.0.0.1".parse().unwrap()), None);
        assert_eq!(ranges.find("::1".parse().unwrap()), Some(0));
    }

    #[test]
    fn sets_that_overlap_are_refused_and_networks_of_one_set_may() {
        let overlapping = [
            (["10.0.0.0/8"], ["10.255.255.255/32"]),
            (["10.0.0.0/32"], ["10.0.0.0/8"]),
            (["0.0.0.0/0"], ["10.0.0.0/8"]),
            (["fd00::/8"], ["fd00:1::/64"]),
            (["10.1.0.0/16"], ["10.1.0.0/16"]),
        ];
        for (one, other) in overlapping {
            let sets = [networks(&one), networks(&[]), networks(&other)];
            let refused = Ranges::new(sets.iter().map(|set| &**set)).unwrap_err();
            assert_eq!(refused, (0, 2));
        }
        assert!(Ranges::new([&*networks(&["10.0.0.0/8", "10.1.0.0/16"])]).is_ok());
        assert!(Ranges::new([&*networks(&["10.0.0.0/9"]), &*networks(&["10.128.0.0/9"])]).is_ok());
    }
}
