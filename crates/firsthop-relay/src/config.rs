//! What a relay is told, and what a cluster may be asked to receive.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use firsthop_wire::hop::{EdgeHopKeys, HopSecrets};
use firsthop_wire::token::{Owner, TokenKeys};
use ipnet::{IpNet, Ipv6Net};

use crate::ranges::Ranges;

/// Relays of one cluster, at most; the clusters of a relay, and the relays of them all.
const MAX_RELAYS: usize = 256;
const MAX_CLUSTERS: usize = 1024;
const MAX_ALL_RELAYS: usize = 1024;

/// How long a flow is remembered after its last packet, unless configured otherwise.
///
/// Above the 30 s after which browsers give a connection up (RFC 7675 §5.1).
pub const DEFAULT_FLOW_IDLE: Duration = Duration::from_secs(35);

/// A cluster of transceivers, and the only places in it where a token may lead.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The id that tokens carry.
    pub id: u16,
    /// The /64 of owners whose token has an interface id only; without it they are refused.
    pub prefix: Option<Ipv6Net>,
    /// Networks in which the cluster's transceivers live. Empty allows none.
    pub networks: Vec<IpNet>,
    /// UDP ports on which they listen.
    pub ports: RangeInclusive<u16>,
    /// Keys that open the cluster's tokens.
    pub token_keys: TokenKeys,
    /// The one of its hop keys under which this relay seals. It takes records under any of them.
    pub key_id: u8,
    /// How its transceivers are reached.
    pub reach: Reach,
}

/// How a relay reaches the transceivers of a cluster.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // Mostly there is one, and it is the large one.
pub enum Reach {
    /// By itself. It also takes records of edge relays for them.
    Direct(HopSecrets),
    /// By the cluster's own relays: this one is an edge.
    Relays {
        /// Where they take records of edges: the upstream address of each of their workers.
        addresses: Vec<SocketAddr>,
        /// What they and the edges share.
        keys: EdgeHopKeys,
    },
}

impl Cluster {
    /// Whether `owner` is in the cluster's networks and ports.
    #[must_use]
    pub fn allows(&self, owner: SocketAddr) -> bool {
        // Nothing listens on port 0; a range that begins there means "any".
        owner.port() != 0
            && self.ports.contains(&owner.port())
            && self
                .networks
                .iter()
                .any(|network| network.contains(&owner.ip()))
    }

    /// The address of an owner that a token of this cluster names, if it is allowed.
    pub(crate) fn owner(&self, owner: Owner) -> Option<SocketAddr> {
        let address = match owner {
            Owner::V4(address) => address.into(),
            Owner::V6 { interface_id, port } => {
                let network = self.prefix?.network().to_bits() >> 64 << 64;
                let ip = Ipv6Addr::from_bits(network | u128::from(interface_id));
                SocketAddr::new(ip.into(), port)
            }
        };
        self.allows(address).then_some(address)
    }

    /// Where its own relays are; none when this relay reaches its transceivers itself.
    fn relays(&self) -> &[SocketAddr] {
        match &self.reach {
            Reach::Direct(_) => &[],
            Reach::Relays { addresses, .. } => addresses,
        }
    }

    fn check(&self) -> Result<(), String> {
        let (id, key_id) = (self.id, self.key_id);
        if self.prefix.is_some_and(|prefix| prefix.prefix_len() != 64) {
            return Err(format!("clusters: the prefix of {id} is not a /64"));
        }
        let anyone = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 1);
        let has_key = match &self.reach {
            Reach::Direct(secrets) => secrets.pair(key_id, anyone).is_some(),
            Reach::Relays { addresses, keys } => {
                if addresses.is_empty() || addresses.len() > MAX_RELAYS {
                    return Err(format!(
                        "clusters: {id} has {} relays, not between 1 and {MAX_RELAYS}",
                        addresses.len()
                    ));
                }
                let nowhere =
                    |relay: &&SocketAddr| relay.port() == 0 || relay.ip().is_unspecified();
                if let Some(relay) = addresses.iter().find(nowhere) {
                    return Err(format!("clusters: the relay {relay} of {id} is no address"));
                }
                keys.get(key_id).is_some()
            }
        };
        if has_key {
            return Ok(());
        }
        Err(format!("clusters: {id} has no key {key_id} to seal with"))
    }
}

/// Finds what no relay could tell apart, or seal for.
pub(crate) fn check_clusters(clusters: &[Cluster]) -> Result<(), String> {
    if clusters.len() > MAX_CLUSTERS {
        return Err(format!("clusters: more than {MAX_CLUSTERS}"));
    }
    let (mut ids, mut relays) = (HashSet::new(), HashSet::new());
    for cluster in clusters {
        cluster.check()?;
        if !ids.insert(cluster.id) {
            return Err(format!("clusters: {} stands there twice", cluster.id));
        }
        for &relay in cluster.relays() {
            if !relays.insert(canonical(relay)) {
                return Err(format!("clusters: the relay {relay} stands there twice"));
            }
        }
    }
    if relays.len() > MAX_ALL_RELAYS {
        return Err(format!("clusters: more than {MAX_ALL_RELAYS} relays"));
    }
    let direct = |cluster: &&Cluster| matches!(cluster.reach, Reach::Direct(_));
    for cluster in clusters.iter().filter(direct) {
        if let Some(relay) = relays.iter().find(|&&relay| cluster.allows(relay)) {
            return Err(format!(
                "clusters: the relay {relay} is where transceivers of {} may be",
                cluster.id
            ));
        }
    }
    Ranges::of_clusters(clusters)
        .map(drop)
        .map_err(|(one, other)| {
            format!(
                "clusters: the networks of {} and {} overlap",
                clusters[one].id, clusters[other].id
            )
        })
}

/// IPv4 from a dual-stack socket is IPv4, and IPv6 has neither flow label nor zone.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What [`crate::Relay::start`] needs.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// The number of the ingress point: the upper byte of its ingress ids. Relays that share public
    /// addresses have the same.
    pub site: u8,
    /// Public addresses; the index of each is the lower byte of its ingress id.
    ///
    /// An IPv6 address serves IPv4 clients too, unless an IPv4 address here has the same port.
    /// With several addresses on one machine name each: answers leave a wildcard socket from
    /// whichever address the route prefers. Port 0 asks for any free port.
    pub listen: Vec<SocketAddr>,
    /// Public TCP addresses, for clients that cannot send UDP (RFC 6544). Their indices follow those
    /// of `listen`.
    pub tcp_listen: Vec<SocketAddr>,
    /// TCP connections that each worker may have open.
    pub tcp_connections: usize,
    /// And those of one IPv4 address, or of one IPv6 /64, among them.
    pub tcp_connections_per_address: usize,
    /// Where owners send to. Worker `i` uses this port plus `i`; with port 0, any free port each.
    pub upstream: SocketAddr,
    /// Threads, each with its own sockets and flows. One per core serves best.
    pub workers: usize,
    /// Pins each worker to a core of its own, as far as there are cores.
    pub pin: bool,
    /// How long a worker asks for the next packet again and again before it sleeps. It spares a
    /// packet the wake-up, and costs the core.
    pub busy_poll: Duration,
    /// Flows that each worker can remember. Each takes 64 bytes and its share of an index, together
    /// 72 at most, once it is used.
    pub flow_capacity: usize,
    /// How long a flow is remembered after its last packet either way; in whole seconds, rounded
    /// up. See [`DEFAULT_FLOW_IDLE`].
    pub flow_idle: Duration,
    /// Whether somebody answers [`crate::Notice::LookUp`]. Without, no notices are made.
    pub look_up: bool,
    /// Networks of the edge relays whose records this relay takes.
    pub edges: Vec<IpNet>,
    /// Where tokens may lead. Their transceivers and relays, and the edges, are the only sources
    /// that the upstream sockets listen to.
    pub clusters: Vec<Cluster>,
}

impl RelayConfig {
    /// How many public sockets a worker has.
    pub(crate) fn ingresses(&self) -> usize {
        self.listen.len() + self.tcp_listen.len()
    }

    /// Finds what no relay could run with.
    pub(crate) fn check(&self) -> io::Result<()> {
        let refuse = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        if self.listen.is_empty() || self.ingresses() > usize::from(u8::MAX) {
            return refuse("listen: between 1 and 255 addresses, with those for TCP".to_owned());
        }
        if self.flow_idle.as_secs() > crate::flow::MAX_IDLE_SECONDS {
            return refuse(format!(
                "flow_idle: at most {} seconds",
                crate::flow::MAX_IDLE_SECONDS
            ));
        }
        if self.workers == 0 {
            return refuse("workers: at least 1".to_owned());
        }
        if self.upstream.port() != 0
            && usize::from(self.upstream.port()) + self.workers - 1 > usize::from(u16::MAX)
        {
            return refuse(format!(
                "upstream: no {} ports from {}",
                self.workers,
                self.upstream.port()
            ));
        }
        if self.flow_capacity == 0 || self.flow_capacity > crate::flow::MAX_CAPACITY {
            return refuse(format!(
                "flow_capacity: between 1 and {}",
                crate::flow::MAX_CAPACITY
            ));
        }
        check_clusters(&self.clusters).or_else(refuse)
    }
}

#[cfg(test)]
mod tests {
    use firsthop_wire::edge::EdgeKey;

    use super::*;

    fn cluster(id: u16) -> Cluster {
        let mut secrets = HopSecrets::default();
        secrets.insert(1, &[1; 32]);
        Cluster {
            id,
            prefix: Some(format!("fd00:1:2:{id}::/64").parse().unwrap()),
            networks: vec![
                format!("10.{id}.0.0/16").parse().unwrap(),
                format!("fd00:1:2:{id}::/64").parse().unwrap(),
            ],
            ports: 4000..=4007,
            token_keys: TokenKeys::default(),
            key_id: 1,
            reach: Reach::Direct(secrets),
        }
    }

    fn behind(id: u16, relays: &[&str]) -> Cluster {
        let mut keys = EdgeHopKeys::default();
        keys.insert(1, &EdgeKey::derive(&[2; 32]));
        let addresses = relays.iter().map(|relay| relay.parse().unwrap()).collect();
        Cluster {
            reach: Reach::Relays { addresses, keys },
            ..cluster(id)
        }
    }

    #[test]
    fn a_token_leads_only_into_its_clusters_networks_and_ports() {
        let lead = |owner: &str| cluster(1).owner(Owner::V4(owner.parse().unwrap()));
        assert_eq!(
            lead("10.1.2.3:4007"),
            Some("10.1.2.3:4007".parse().unwrap())
        );
        for outside in ["10.2.0.1:4007", "10.1.2.3:4008", "10.1.2.3:3999"] {
            assert_eq!(lead(outside), None, "{outside}");
        }
    }

    #[test]
    fn an_interface_id_is_completed_by_the_clusters_prefix() {
        let owner = Owner::V6 {
            interface_id: 0xAB,
            port: 4000,
        };
        let expected = "[fd00:1:2:1::ab]:4000".parse().unwrap();
        assert_eq!(cluster(1).owner(owner), Some(expected));
        let mut bare = cluster(1);
        bare.prefix = None;
        assert_eq!(bare.owner(owner), None);
    }

    #[test]
    fn port_zero_is_never_an_owner() {
        let mut any = cluster(1);
        any.ports = 0..=u16::MAX;
        assert!(!any.allows("10.1.2.3:0".parse().unwrap()));
        assert!(any.allows("10.1.2.3:1".parse().unwrap()));
    }

    #[test]
    fn clusters_that_cannot_be_told_apart_or_sealed_for_are_refused() {
        let relay = "192.0.2.1:3479";
        let good = [
            cluster(1),
            behind(2, &[relay]),
            behind(3, &["[2001:db8::1]:1"]),
        ];
        assert_eq!(check_clusters(&good), Ok(()));

        let mut inside = cluster(4);
        inside.networks = vec!["10.1.200.0/24".parse().unwrap()];
        let mut around = cluster(4);
        around.networks = vec!["10.0.0.0/8".parse().unwrap()];
        let mut wide = cluster(4);
        wide.prefix = Some("fd00::/48".parse().unwrap());
        let mut keyless = cluster(4);
        keyless.key_id = 0;
        let mut keyless_edge = behind(4, &["192.0.2.2:1"]);
        keyless_edge.key_id = 3;
        let many: Vec<_> = (1..=257).map(|port| format!("192.0.2.3:{port}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let wrong = [
            (cluster(1), "1 stands there twice"),
            (inside, "the networks of 1 and 4 overlap"),
            (around, "overlap"),
            (wide, "the prefix of 4 is not a /64"),
            (keyless, "4 has no key 0"),
            (keyless_edge, "4 has no key 3"),
            (behind(4, &[]), "4 has 0 relays"),
            (behind(4, &many), "4 has 257 relays"),
            (
                behind(4, &["192.0.2.2:0"]),
                "192.0.2.2:0 of 4 is no address",
            ),
            (behind(4, &["0.0.0.0:1"]), "0.0.0.0:1 of 4 is no address"),
            (
                behind(4, &[relay]),
                "the relay 192.0.2.1:3479 stands there twice",
            ),
            (
                behind(4, &["[::ffff:192.0.2.1]:3479"]),
                "stands there twice",
            ),
            (
                behind(4, &["10.1.9.9:4000"]),
                "10.1.9.9:4000 is where transceivers of 1",
            ),
        ];
        for (bad, expected) in wrong {
            let mut all = good.to_vec();
            all.push(bad);
            let refused = check_clusters(&all).unwrap_err();
            assert!(refused.starts_with("clusters: "), "{refused}");
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
