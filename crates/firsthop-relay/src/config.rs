//! What a relay is told, and what a cluster may be asked to receive.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use firsthop_wire::hop::HopSecrets;
use firsthop_wire::token::{Claims, Owner, TokenKeys};
use ipnet::{IpNet, Ipv6Net};

use crate::DropReason;

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

    fn owner(&self, owner: Owner) -> Option<SocketAddr> {
        match owner {
            Owner::V4(address) => Some(address.into()),
            Owner::V6 { interface_id, port } => {
                let network = self.prefix?.network().to_bits() >> 64 << 64;
                let ip = Ipv6Addr::from_bits(network | u128::from(interface_id));
                Some(SocketAddr::new(ip.into(), port))
            }
        }
    }
}

/// Where the claims of a valid token lead.
///
/// # Errors
/// [`DropReason::UnknownCluster`] or [`DropReason::OwnerNotAllowed`]: there is no default target.
pub(crate) fn resolve(clusters: &[Cluster], claims: &Claims) -> Result<SocketAddr, DropReason> {
    let cluster = clusters.iter().find(|cluster| cluster.id == claims.cluster);
    let cluster = cluster.ok_or(DropReason::UnknownCluster)?;
    let owner = cluster
        .owner(claims.owner)
        .filter(|&owner| cluster.allows(owner));
    owner.ok_or(DropReason::OwnerNotAllowed)
}

/// What [`crate::Relay::start`] needs.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Public addresses; the index of each is its ingress id.
    ///
    /// An IPv6 address serves IPv4 clients too, unless an IPv4 address here has the same port.
    /// With several addresses on one machine name each: answers leave a wildcard socket from
    /// whichever address the route prefers. Port 0 asks for any free port.
    pub listen: Vec<SocketAddr>,
    /// Public TCP addresses, for clients that cannot send UDP (RFC 6544). Their ingress ids follow
    /// those of `listen`.
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
    /// Keys that open tokens.
    pub token_keys: TokenKeys,
    /// Cluster secrets. Owners may answer under any of them.
    pub hop_secrets: HopSecrets,
    /// The secret under which this relay seals.
    pub hop_key_id: u8,
    /// Where tokens may lead. Also the only sources that the upstream sockets listen to.
    pub clusters: Vec<Cluster>,
}

impl RelayConfig {
    /// How many public sockets a worker has: ingress ids are below.
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
        let anyone = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 1);
        if self.hop_secrets.pair(self.hop_key_id, anyone).is_none() {
            return refuse(format!("hop_key_id: no secret {}", self.hop_key_id));
        }
        for (index, cluster) in self.clusters.iter().enumerate() {
            if self.clusters[..index]
                .iter()
                .any(|other| other.id == cluster.id)
            {
                return refuse(format!("clusters: {} stands there twice", cluster.id));
            }
            if cluster
                .prefix
                .is_some_and(|prefix| prefix.prefix_len() != 64)
            {
                return refuse(format!(
                    "clusters: the prefix of {} is not a /64",
                    cluster.id
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        Cluster {
            id: 7,
            prefix: Some("fd00:1:2:3::/64".parse().unwrap()),
            networks: vec![
                "10.1.0.0/16".parse().unwrap(),
                "fd00:1:2:3::/64".parse().unwrap(),
            ],
            ports: 4000..=4007,
        }
    }

    fn lead(cluster_id: u16, owner: Owner) -> Result<SocketAddr, DropReason> {
        resolve(
            &[cluster()],
            &Claims {
                cluster: cluster_id,
                owner,
                expiry_slot: 0,
            },
        )
    }

    #[test]
    fn a_token_leads_only_into_its_clusters_networks_and_ports() {
        let v4 = |address: &str| Owner::V4(address.parse().unwrap());
        assert_eq!(
            lead(7, v4("10.1.2.3:4007")),
            Ok("10.1.2.3:4007".parse().unwrap())
        );
        assert_eq!(
            lead(7, v4("10.2.0.1:4007")),
            Err(DropReason::OwnerNotAllowed)
        );
        assert_eq!(
            lead(7, v4("10.1.2.3:4008")),
            Err(DropReason::OwnerNotAllowed)
        );
        assert_eq!(
            lead(7, v4("10.1.2.3:3999")),
            Err(DropReason::OwnerNotAllowed)
        );
        assert_eq!(
            lead(8, v4("10.1.2.3:4007")),
            Err(DropReason::UnknownCluster)
        );
    }

    #[test]
    fn an_interface_id_is_completed_by_the_clusters_prefix() {
        let owner = Owner::V6 {
            interface_id: 0xAB,
            port: 4000,
        };
        assert_eq!(lead(7, owner), Ok("[fd00:1:2:3::ab]:4000".parse().unwrap()));
        let mut bare = cluster();
        bare.prefix = None;
        let claims = Claims {
            cluster: 7,
            owner,
            expiry_slot: 0,
        };
        assert_eq!(resolve(&[bare], &claims), Err(DropReason::OwnerNotAllowed));
    }

    #[test]
    fn port_zero_is_never_an_owner() {
        let mut any = cluster();
        any.ports = 0..=u16::MAX;
        assert!(!any.allows("10.1.2.3:0".parse().unwrap()));
        assert!(any.allows("10.1.2.3:1".parse().unwrap()));
    }
}
