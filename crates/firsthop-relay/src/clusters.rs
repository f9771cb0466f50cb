//! The clusters that a relay serves: whose an address is, how it is reached, and under which keys.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use firsthop_wire::hop::{EdgeHopKeys, HopError, PairKey, Record};
use firsthop_wire::token::{Sealed, TokenError};
use ipnet::IpNet;

use crate::config::{Cluster, Reach, canonical};
use crate::drop_reason::DropReason;
use crate::next_hops::NextHops;
use crate::pairs::PairKeys;
use crate::ranges::Ranges;

/// All clusters. Each is named by its index, good until the clusters are replaced.
pub(crate) struct Clusters {
    all: Vec<Served>,
    owners: Ranges,
    /// The cluster and the number of each relay that we send to.
    relays: HashMap<SocketAddr, (usize, usize)>,
    edges: Ranges,
}

struct Served {
    cluster: Cluster,
    way: Way,
}

/// As [`Reach`], with what is found out on the way.
#[allow(clippy::large_enum_variant)] // Mostly there is one, and it is the large one.
enum Way {
    Direct(PairKeys),
    Relays(NextHops),
}

impl Clusters {
    /// The configuration was checked. What `before` knows of relays is kept.
    pub(crate) fn new(
        now: Duration,
        clusters: &[Cluster],
        edges: &[IpNet],
        before: Option<Self>,
    ) -> Self {
        let before = before.map(|before| before.all).unwrap_or_default();
        let mut before: HashMap<_, _> = before
            .into_iter()
            .filter_map(|served| match served.way {
                Way::Relays(next) => Some((served.cluster.id, next)),
                Way::Direct(_) => None,
            })
            .collect();
        let mut relays = HashMap::new();
        let all = clusters.iter().enumerate().map(|(index, cluster)| {
            let way = match &cluster.reach {
                Reach::Direct(secrets) => Way::Direct(PairKeys::new(secrets.clone())),
                Reach::Relays { addresses, .. } => {
                    let known = before.remove(&cluster.id);
                    let addresses: Vec<_> = addresses.iter().copied().map(canonical).collect();
                    let numbered = addresses.iter().zip(0..);
                    relays.extend(numbered.map(|(&address, number)| (address, (index, number))));
                    Way::Relays(NextHops::new(now, &addresses, known))
                }
            };
            let cluster = cluster.clone();
            Served { cluster, way }
        });
        let all = all.collect();
        Self {
            all,
            owners: Ranges::of_clusters(clusters).unwrap_or_default(),
            relays,
            edges: Ranges::new([edges]).unwrap_or_default(),
        }
    }

    /// Whose transceiver may be at `address`.
    pub(crate) fn of_owner(&self, address: SocketAddr) -> Option<usize> {
        let index = self.owners.find(address.ip())?;
        let ports = &self.all[index].cluster.ports;
        // Nothing listens on port 0; a range that begins there means "any".
        (address.port() != 0 && ports.contains(&address.port())).then_some(index)
    }

    /// The same for the transceivers that this relay reaches itself.
    pub(crate) fn of_reached_owner(&self, address: SocketAddr) -> Option<usize> {
        self.of_owner(address)
            .filter(|&index| matches!(self.all[index].way, Way::Direct(_)))
    }

    /// The cluster whose relay is at `address`, and its number there.
    pub(crate) fn of_relay(&self, address: SocketAddr) -> Option<(usize, usize)> {
        // Most relays are no edges, and need not hash.
        if self.relays.is_empty() {
            return None;
        }
        self.relays.get(&address).copied()
    }

    /// The cluster `id`, if this relay reaches its transceivers itself.
    pub(crate) fn reached(&self, id: u16) -> Option<usize> {
        self.all
            .iter()
            .position(|served| served.cluster.id == id && matches!(served.way, Way::Direct(_)))
    }

    pub(crate) fn is_edge(&self, ip: IpAddr) -> bool {
        self.edges.find(ip).is_some()
    }

    /// The owner that a server ufrag names, and its cluster: the one that it claims, and whose key
    /// opens it.
    ///
    /// # Errors
    /// Why there is none: there is no default target.
    pub(crate) fn open(
        &self,
        ufrag: &[u8],
        unix_seconds: u64,
    ) -> Result<(usize, SocketAddr), DropReason> {
        let token = Sealed::parse(ufrag)?;
        let mut refused = TokenError::UnknownKey.into();
        for (index, Served { cluster, .. }) in self.all.iter().enumerate() {
            match token.open(&cluster.token_keys, unix_seconds) {
                Ok(claims) if claims.cluster == cluster.id => {
                    let owner = cluster.owner(claims.owner);
                    return Ok((index, owner.ok_or(DropReason::OwnerNotAllowed)?));
                }
                // Clusters may share a key: then another one's turn comes yet.
                Ok(_) => refused = DropReason::UnknownCluster,
                Err(TokenError::UnknownKey) => {}
                Err(_) if refused == DropReason::UnknownCluster => {}
                Err(TokenError::Tag) if refused == DropReason::TokenExpired => {}
                Err(error) => refused = error.into(),
            }
        }
        Err(refused)
    }

    /// Under which of the keys of cluster `index` this relay seals.
    pub(crate) fn key_id(&self, index: usize) -> u8 {
        self.all[index].cluster.key_id
    }

    /// The return hop of what goes towards `owner` in cluster `index`: where relays come in
    /// between, they must be told whose it is.
    pub(crate) fn hop_to(&self, index: usize, owner: SocketAddr) -> Option<SocketAddr> {
        match self.all[index].way {
            Way::Direct(_) => None,
            Way::Relays(_) => Some(owner),
        }
    }

    /// Where a flow with the keyed hash of `hash` goes for `owner` in cluster `index`.
    pub(crate) fn next_hop(
        &self,
        index: usize,
        owner: SocketAddr,
        hash: impl FnOnce() -> u64,
    ) -> SocketAddr {
        match &self.all[index].way {
            Way::Direct(_) => owner,
            Way::Relays(next) => next.pick(hash()),
        }
    }

    /// The key under which this relay seals what goes towards `owner` in cluster `index`.
    pub(crate) fn key(&mut self, index: usize, owner: SocketAddr) -> Option<&PairKey> {
        let Served { cluster, way } = &mut self.all[index];
        match (way, &cluster.reach) {
            (Way::Direct(pairs), _) => pairs.of_owner(cluster.key_id, owner),
            (Way::Relays(_), Reach::Relays { keys, .. }) => keys.get(cluster.key_id),
            (Way::Relays(_), Reach::Direct(_)) => None,
        }
    }

    /// Verifies a record that `owner` in cluster `index` sent.
    pub(crate) fn verify_owner(
        &mut self,
        index: usize,
        owner: SocketAddr,
        record: &Record<'_>,
        unix_seconds: u64,
    ) -> Result<(), HopError> {
        match &mut self.all[index].way {
            Way::Direct(pairs) => pairs.verify(record, owner, unix_seconds),
            Way::Relays(_) => Err(HopError::UnknownKey),
        }
    }

    /// Verifies a record that passed between an edge and a relay of cluster `index`.
    pub(crate) fn verify_hop(
        &self,
        index: usize,
        record: &Record<'_>,
        unix_seconds: u64,
    ) -> Result<(), HopError> {
        let key = self.edge_keys(index).get(record.header.key_id);
        record.verify(key.ok_or(HopError::UnknownKey)?, unix_seconds)
    }

    /// The keys between edges and the relays of cluster `index`.
    pub(crate) fn edge_keys(&self, index: usize) -> &EdgeHopKeys {
        match &self.all[index].cluster.reach {
            Reach::Direct(secrets) => secrets.edge_keys(),
            Reach::Relays { keys, .. } => keys,
        }
    }

    /// Calls `ask` with the cluster and address of every relay that is due for a probe. Returns
    /// whether one was found lost.
    pub(crate) fn probe(
        &mut self,
        now: Duration,
        mut ask: impl FnMut(&Cluster, SocketAddr),
    ) -> bool {
        let mut changed = false;
        for Served { cluster, way } in &mut self.all {
            if let Way::Relays(next) = way {
                changed |= next.probe(now, |relay| ask(cluster, relay));
            }
        }
        changed
    }

    /// A relay answered a probe. Returns whether it was lost before.
    pub(crate) fn answered(&mut self, now: Duration, (index, relay): (usize, usize)) -> bool {
        match &mut self.all[index].way {
            Way::Direct(_) => false,
            Way::Relays(next) => next.answered(now, relay),
        }
    }

    /// When the next probe is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if self.relays.is_empty() {
            return None;
        }
        let next = self.all.iter().filter_map(|served| match &served.way {
            Way::Direct(_) => None,
            Way::Relays(next) => Some(next.deadline()),
        });
        next.min()
    }

    /// Every relay that this one sends to: its cluster, its address, whether it is alive.
    pub(crate) fn next_hops(&self) -> impl Iterator<Item = (u16, SocketAddr, bool)> + '_ {
        self.all.iter().flat_map(|Served { cluster, way }| {
            let states = match way {
                Way::Direct(_) => None,
                Way::Relays(next) => Some(next.states()),
            };
            let states = states.into_iter().flatten();
            states.map(|(address, alive)| (cluster.id, address, alive))
        })
    }
}
