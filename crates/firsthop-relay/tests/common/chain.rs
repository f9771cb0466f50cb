//! A client, an edge relay, two clusters with relays of their own, and their owners: plain calls on
//! one stepped clock.

use std::net::SocketAddr;
use std::time::Duration;

use firsthop_relay::forwarder::Verdict;
use firsthop_relay::{Cluster, DropReason, Reach, RelayConfig};
use firsthop_wire::edge::EdgeKey;
use firsthop_wire::hop::{self, Direction, EdgeHopKeys, Flags, Header, HopSecrets, PairKey};
use firsthop_wire::token::{self, Claims, Owner, TokenKeys};

use super::*;

/// The site of the edge: clients that use its first socket have the ingress id 0x0300.
pub(crate) const SITE: u8 = 3;
pub(crate) const INGRESS: u16 = 0x0300;
/// The key under which everybody seals, unless a test says otherwise.
pub(crate) const KEY: u8 = 1;

/// The upstream socket of the edge.
pub(crate) fn edge() -> SocketAddr {
    address("192.0.2.10:3479")
}

/// Cluster `a`, behind two relays, and cluster `b`, behind one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    A,
    B,
}

impl Name {
    pub(crate) fn id(self) -> u16 {
        match self {
            Self::A => 7,
            Self::B => 8,
        }
    }

    pub(crate) fn owner(self) -> SocketAddr {
        match self {
            Self::A => address("10.1.0.5:4000"),
            Self::B => address("10.2.0.5:4000"),
        }
    }

    pub(crate) fn relays(self) -> Vec<SocketAddr> {
        match self {
            Self::A => vec![address("10.1.255.1:3479"), address("10.1.255.2:3479")],
            Self::B => vec![address("10.2.255.1:3479")],
        }
    }

    /// The cluster's master key `id`.
    pub(crate) fn master(self, id: u8) -> [u8; 32] {
        [self.id() as u8 ^ id << 4; 32]
    }

    pub(crate) fn of_owner(owner: SocketAddr) -> Self {
        let all = [Self::A, Self::B];
        all.into_iter().find(|name| name.owner() == owner).unwrap()
    }

    /// The pair key of `owner` under key `id`.
    pub(crate) fn pair(self, id: u8, owner: SocketAddr) -> PairKey {
        secrets(self, &[id]).pair(id, owner).unwrap()
    }

    /// Seals `header` as an edge or a relay of this cluster does, and puts `payload` behind it.
    pub(crate) fn edge_sealed(self, header: &Header, payload: &[u8]) -> Vec<u8> {
        let keys = edge_keys(self, &[header.key_id]).1;
        let sealed = header.seal(keys.get(header.key_id).unwrap());
        let mut datagram = Vec::new();
        sealed.write_record(payload, &mut datagram);
        datagram
    }
}

pub(crate) fn secrets(name: Name, ids: &[u8]) -> HopSecrets {
    let mut secrets = HopSecrets::default();
    for &id in ids {
        secrets.insert(id, &name.master(id));
    }
    secrets
}

/// What an edge has: it never sees a master.
pub(crate) fn edge_keys(name: Name, ids: &[u8]) -> (TokenKeys, EdgeHopKeys) {
    let (mut token_keys, mut hop_keys) = (TokenKeys::default(), EdgeHopKeys::default());
    for &id in ids {
        let bytes = EdgeKey::derive(&name.master(id)).to_bytes();
        let key = EdgeKey::from_bytes(&bytes);
        token_keys.insert_edge(id, &key);
        hop_keys.insert(id, &key);
    }
    (token_keys, hop_keys)
}

fn cluster(name: Name, token_keys: TokenKeys, key_id: u8, reach: Reach) -> Cluster {
    Cluster {
        id: name.id(),
        prefix: None,
        networks: vec![format!("{}/16", name.owner().ip()).parse().unwrap()],
        ports: 4000..=4010,
        token_keys,
        key_id,
        reach,
    }
}

/// The cluster as its own relays have it, with the keys `ids`, sealing under `key_id`.
pub(crate) fn reached(name: Name, ids: &[u8], key_id: u8) -> Cluster {
    let mut token_keys = TokenKeys::default();
    for &id in ids {
        token_keys.insert(id, &name.master(id));
    }
    let reach = Reach::Direct(secrets(name, ids));
    cluster(name, token_keys, key_id, reach)
}

/// The cluster as an edge has it.
pub(crate) fn behind(name: Name, ids: &[u8], key_id: u8) -> Cluster {
    let (token_keys, keys) = edge_keys(name, ids);
    let addresses = name.relays();
    cluster(name, token_keys, key_id, Reach::Relays { addresses, keys })
}

pub(crate) fn edge_config() -> RelayConfig {
    let clusters = [Name::A, Name::B].map(|name| behind(name, &[KEY], KEY));
    RelayConfig {
        site: SITE,
        clusters: clusters.to_vec(),
        ..config()
    }
}

pub(crate) fn relay_config(name: Name) -> RelayConfig {
    RelayConfig {
        edges: vec!["192.0.2.0/24".parse().unwrap()],
        clusters: vec![reached(name, &[KEY], KEY)],
        ..config()
    }
}

/// A ufrag of a session of `owner`, which claims `cluster` and is sealed under key `id` of `sealer`.
pub(crate) fn token_of(sealer: Name, id: u8, cluster: u16, owner: SocketAddr) -> String {
    let SocketAddr::V4(owner) = owner else {
        unreachable!("owners are IPv4 here")
    };
    let claims = Claims {
        cluster,
        owner: Owner::V4(owner),
        expiry_slot: token::slot_at(START_UNIX + 3600),
    };
    let (keys, _) = edge_keys(sealer, &[id]);
    keys.seal(id, &claims, [1, 2, 3, 4, 5, 6]).unwrap()
}

pub(crate) fn request_to(name: Name) -> Vec<u8> {
    binding_request(&token_of(name, KEY, name.id(), name.owner()))
}

/// A cluster's relay.
pub(crate) struct ClusterRelay {
    pub(crate) name: Name,
    pub(crate) address: SocketAddr,
    pub(crate) scene: Scene,
    /// It answers nothing and passes on nothing.
    pub(crate) dead: bool,
}

/// What reached an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// Which relay it came from.
    pub(crate) relay: SocketAddr,
    pub(crate) owner: SocketAddr,
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
}

/// The edge, and all relays of both clusters.
pub(crate) struct Chain {
    pub(crate) edge: Scene,
    pub(crate) relays: Vec<ClusterRelay>,
    /// The keys that owners have.
    pub(crate) owner_keys: Vec<u8>,
    /// What owners got that nobody asked for.
    pub(crate) told: Vec<Arrived>,
    /// Whether the edge probes.
    pub(crate) probing: bool,
}

impl Chain {
    pub(crate) fn new() -> Self {
        let relays = [Name::A, Name::B].into_iter().flat_map(|name| {
            name.relays().into_iter().map(move |address| ClusterRelay {
                name,
                address,
                scene: Scene::with(&relay_config(name)),
                dead: false,
            })
        });
        Self {
            edge: Scene::with(&edge_config()),
            relays: relays.collect(),
            owner_keys: vec![KEY],
            told: Vec::new(),
            probing: true,
        }
    }

    pub(crate) fn relay(&mut self, address: SocketAddr) -> &mut ClusterRelay {
        let mut relays = self.relays.iter_mut();
        relays.find(|relay| relay.address == address).unwrap()
    }

    /// Passes time, and probes.
    pub(crate) fn wait_ms(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            let scenes = self.relays.iter_mut().map(|relay| &mut relay.scene);
            for scene in scenes.chain([&mut self.edge]) {
                scene.now.elapsed += Duration::from_millis(1);
                scene.now.unix_seconds = START_UNIX + scene.now.elapsed.as_secs();
            }
            let mut probes = Vec::new();
            self.edge.forwarder.probe(self.edge.now, |relay, header| {
                let mut datagram = Vec::new();
                header.write_record(&[], &mut datagram);
                probes.push((relay, datagram));
            });
            for (to, probe) in probes {
                if self.probing {
                    self.at_relay(to, edge(), &probe);
                }
            }
        }
    }

    /// `datagram` arrives at the relay `at`; what that sends to the edge arrives there. Returns what
    /// reached owners, and what reached clients.
    pub(crate) fn at_relay(
        &mut self,
        at: SocketAddr,
        source: SocketAddr,
        datagram: &[u8],
    ) -> (Vec<Arrived>, Vec<Delivered>) {
        let relay = self.relay(at);
        if relay.dead {
            return (Vec::new(), Vec::new());
        }
        assert_eq!(relay.scene.down(source, datagram), [], "no client is near");
        assert_eq!(
            relay.scene.forwarder.flows(),
            0,
            "the middle keeps no state"
        );
        let passed = std::mem::take(&mut relay.scene.passed);
        let (mut arrived, mut delivered) = (Vec::new(), Vec::new());
        for (to, datagram) in passed {
            if to == edge() {
                delivered.extend(self.edge.down(at, &datagram));
                continue;
            }
            let record = hop::records(&datagram).next().unwrap().unwrap();
            let key_id = record.header.key_id;
            assert!(self.owner_keys.contains(&key_id), "no key {key_id}");
            let key = Name::of_owner(to).pair(key_id, to);
            assert_eq!(record.verify(&key, self.edge.now.unix_seconds), Ok(()));
            arrived.push(Arrived {
                relay: at,
                owner: to,
                header: record.header,
                payload: record.payload.to_vec(),
            });
        }
        (arrived, delivered)
    }

    /// `client` sends `packet` to the edge; what reaches an owner, if anything does.
    pub(crate) fn up(
        &mut self,
        client: SocketAddr,
        packet: &[u8],
    ) -> Result<Option<Arrived>, DropReason> {
        let (to, header) = match self.edge.up(client, packet) {
            Verdict::Forward { to, header } => (to, header),
            Verdict::Parked => return Err(DropReason::UnknownFlow),
            Verdict::Drop(reason) => return Err(reason),
        };
        let mut datagram = Vec::new();
        header.write_record(packet, &mut datagram);
        let (mut arrived, delivered) = self.at_relay(to, edge(), &datagram);
        assert!(delivered.is_empty() && arrived.len() <= 1);
        Ok(arrived.pop())
    }

    /// The owner answers where `arrived` came from, sealing under key `key_id`; what reaches clients.
    /// What it is told besides stands in `told`.
    pub(crate) fn answer_under(
        &mut self,
        key_id: u8,
        arrived: &Arrived,
        flags: Flags,
        payload: &[u8],
    ) -> Vec<Delivered> {
        let header = Header {
            direction: Direction::Down,
            flags,
            key_id,
            hop_limit: hop::HOP_LIMIT,
            tick: hop::tick_at(self.edge.now.unix_seconds),
            ..arrived.header
        };
        let key = Name::of_owner(arrived.owner).pair(key_id, arrived.owner);
        let mut datagram = Vec::new();
        header.seal(&key).write_record(payload, &mut datagram);
        let (told, delivered) = self.at_relay(arrived.relay, arrived.owner, &datagram);
        self.told.extend(told);
        delivered
    }

    pub(crate) fn answer(
        &mut self,
        arrived: &Arrived,
        flags: Flags,
        payload: &[u8],
    ) -> Vec<Delivered> {
        self.answer_under(KEY, arrived, flags, payload)
    }

    /// `client` has a call with the owner of cluster `name`: the flow at the edge is proved.
    pub(crate) fn call(&mut self, client: SocketAddr, name: Name) -> Arrived {
        let arrived = self.up(client, &request_to(name)).unwrap().unwrap();
        let flags = Flags::CONFIRM | Flags::PATH;
        assert_eq!(self.answer(&arrived, flags, &binding_success()).len(), 1);
        arrived
    }

    /// All drops, of the edge and of all relays.
    pub(crate) fn drops(&self) -> Vec<(DropReason, u64)> {
        let relays = self.relays.iter().map(|relay| &relay.scene);
        let scenes = relays.chain([&self.edge]);
        scenes.flat_map(|scene| scene.drops()).collect()
    }
}
