//! Two edge relays in front of two cluster relays: what they say on the wire, and no more.

use std::net::SocketAddr;

use firsthop_wire::demux::{self, Kind};
use firsthop_wire::hop::{self, Direction, Flags, HOP_LIMIT, Header, HopSecrets};

use super::{KEY_ID, World, address, hop_secrets, shard_address, upstream_address};
use firsthop_engine::shard::Output;

/// The public address of each.
pub(crate) fn edge_addresses() -> [SocketAddr; 2] {
    [address("192.0.2.1:3478"), address("192.0.2.2:3478")]
}

/// What each calls the public socket that it has: its site, and the socket's number.
const INGRESS: [u16; 2] = [0x100, 0x200];

/// By which address each is known to cluster relays.
fn hop_address(edge: usize) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 1 + edge as u8], 3500))
}

/// What stands between clients and the shard.
pub(crate) struct Edges {
    /// Which of the edge relays are there.
    pub(crate) alive: [bool; 2],
    /// Packets of clients that each of them has brought.
    pub(crate) brought: [u64; 2],
    /// The cluster relay by which edge relays send now; the other one is gone.
    pub(crate) relay: usize,
    /// The secrets under which cluster relays take records, and the one under which they seal.
    pub(crate) secrets: HopSecrets,
    pub(crate) key_id: u8,
    /// How often the shard was told that an edge relay is silent.
    pub(crate) told: u64,
    /// Records of the shard's under a secret that cluster relays do not have.
    pub(crate) refused: u64,
}

impl Edges {
    pub(crate) fn new() -> Self {
        Self {
            alive: [true; 2],
            brought: [0; 2],
            relay: 0,
            secrets: hop_secrets(),
            key_id: KEY_ID,
            told: 0,
            refused: 0,
        }
    }

    /// What the cluster relay says to the shard of a client that came by `edge`.
    fn up(&self, world: &World, edge: usize, client: SocketAddr, flags: Flags) -> Header {
        Header {
            direction: Direction::Up,
            flags,
            key_id: self.key_id,
            hop_limit: HOP_LIMIT - 1,
            tick: hop::tick_at(world.clock().unix_seconds),
            client,
            ingress: INGRESS[edge],
            return_hop: Some(hop_address(edge)),
        }
    }

    fn record(&self, header: &Header, payload: &[u8]) -> Vec<u8> {
        let key = self.secrets.pair(header.key_id, shard_address()).unwrap();
        let mut datagram = Vec::new();
        header.seal(&key).write_record(payload, &mut datagram);
        datagram
    }
}

impl World {
    /// The edge relays, of a world that has some.
    pub(crate) fn edges(&mut self) -> &mut Edges {
        self.edges.as_mut().expect("the world has edge relays")
    }

    /// Takes a packet of `client` from an edge relay to the shard.
    pub(super) fn up_by_edge(&mut self, edge: usize, client: SocketAddr, packet: &[u8]) -> Output {
        let edges = self.edges.as_ref().expect("the world has edge relays");
        let mut output = Output::default();
        if edges.alive[edge] {
            let header = edges.up(self, edge, client, Flags::default());
            let datagram = edges.record(&header, packet);
            let source = upstream_address(edges.relay);
            let clock = self.clock();
            self.shard.receive(clock, source, &datagram, &mut output);
            self.edges().brought[edge] += 1;
        }
        output
    }

    /// Tells the shard, by the cluster relay, that an edge relay is silent.
    pub(crate) fn tell_of(&mut self, edge: usize, client: SocketAddr) {
        let edges = self.edges.as_ref().expect("the world has edge relays");
        let header = edges.up(self, edge, client, Flags::EDGE_LOST);
        let (datagram, source) = (edges.record(&header, &[]), upstream_address(edges.relay));
        self.edges().told += 1;
        self.fly(source, shard_address(), datagram);
    }

    /// Takes what the shard sent to cluster relay `relay` to the edge relays, and to clients.
    pub(super) fn down_by_edges(&mut self, relay: usize, datagram: &[u8]) {
        let edges = self.edges.as_ref().expect("the world has edge relays");
        if relay != edges.relay {
            return;
        }
        let (secrets, alive) = (edges.secrets.clone(), edges.alive);
        for record in hop::records(datagram).map(Result::unwrap) {
            let header = record.header;
            let Some(key) = secrets.pair(header.key_id, shard_address()) else {
                self.edges().refused += 1;
                continue;
            };
            record.verify(&key, self.clock().unix_seconds).unwrap();
            let edge = (0..2).find(|&edge| header.return_hop == Some(hop_address(edge)));
            let edge = edge.expect("it goes back to who brought it");
            assert_eq!(header.ingress, INGRESS[edge]);
            if !alive[edge] {
                self.tell_of(edge, header.client);
            } else if !record.payload.is_empty() {
                self.passed_down[relay] += 1;
                let media = demux::kind(record.payload) != Some(Kind::Stun);
                self.media_by_socket[edge] += u64::from(media);
                self.leave_edge(edge, header.client, record.payload.to_vec());
            }
        }
    }
}
