//! Invariant: whatever clients, owners, edges and relays send a relay, nothing panics; a client's
//! packet leaves only for an owner inside the networks of a cluster that it reaches, or for a relay
//! of another one; a packet for a client comes only from an owner, or from a relay, whose MAC is
//! right; what an edge sends goes to owners that it reaches, and what they answer to an edge; and no
//! more flows are kept than there is room for.
//!
//! Input: steps of four bytes (what happens, to whom, flags or time, a length) and as many bytes
//! of payload. Tokens and headers are sealed here: no fuzzer guesses a tag.

#![no_main]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use firsthop_relay::forwarder::{Delivery, Now, Transit, Verdict};
use firsthop_relay::{Cluster, Counters, DEFAULT_FLOW_IDLE, Forwarder, Notice, Reach, RelayConfig};
use firsthop_wire::edge::EdgeKey;
use firsthop_wire::hop::{self, Direction, EdgeHopKeys, Flags, Header, HopSecrets};
use firsthop_wire::token::{self, Claims, Owner, TokenKeys};
use libfuzzer_sys::fuzz_target;

const START: u64 = 1_800_000_000;
const CAPACITY: usize = 4;

fn address(a: u8, b: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([a, 0, 0, b], port))
}

/// Eight clients, more than there is room for.
fn client(who: u8) -> SocketAddr {
    address(198, 1 + who % 8, 50_000)
}

/// The first octet of each kind of hop.
const OWNER: u8 = 10;
const OUTSIDER: u8 = 11;
const FAR_OWNER: u8 = 20;
const FAR_RELAY: u8 = 30;
const EDGE: u8 = 40;

/// Two owners of cluster 1, which the relay reaches itself; an outsider; an owner and the relay of
/// cluster 2, which is behind relays; and an edge.
fn hop(who: u8) -> SocketAddr {
    let (kind, number, port) = [
        (OWNER, 1, 4000),
        (OWNER, 2, 4000),
        (OUTSIDER, 3, 4000),
        (FAR_OWNER, 1, 4000),
        (FAR_RELAY, 1, 3479),
        (EDGE, 1, 3479),
    ][usize::from(who % 6)];
    address(kind, number, port)
}

fn master(cluster: u16) -> [u8; token::MASTER_LEN] {
    [cluster as u8; token::MASTER_LEN]
}

fn secrets(cluster: u16) -> HopSecrets {
    let mut secrets = HopSecrets::default();
    secrets.insert(0, &master(cluster));
    secrets
}

fn edge_keys(cluster: u16) -> EdgeHopKeys {
    let mut keys = EdgeHopKeys::default();
    keys.insert(0, &EdgeKey::derive(&master(cluster)));
    keys
}

fn cluster(id: u16, reach: Reach) -> Cluster {
    let mut token_keys = TokenKeys::default();
    token_keys.insert_edge(0, &EdgeKey::derive(&master(id)));
    let first = if id == 1 { OWNER } else { FAR_OWNER };
    Cluster {
        id,
        prefix: None,
        networks: vec![format!("{first}.0.0.0/8").parse().expect("a network")],
        ports: 4000..=4000,
        token_keys,
        key_id: 0,
        reach,
    }
}

/// Cluster 1 alone, or both.
fn clusters(both: bool) -> Vec<Cluster> {
    let mut all = vec![cluster(1, Reach::Direct(secrets(1)))];
    if both {
        let (addresses, keys) = (vec![hop(4)], edge_keys(2));
        all.push(cluster(2, Reach::Relays { addresses, keys }));
    }
    all
}

fn config() -> RelayConfig {
    RelayConfig {
        site: 0,
        listen: vec![address(192, 1, 3478)],
        tcp_listen: Vec::new(),
        tcp_connections: 100,
        tcp_connections_per_address: 10,
        upstream: address(10, 9, 3479),
        workers: 1,
        pin: false,
        busy_poll: Duration::ZERO,
        flow_capacity: CAPACITY,
        flow_idle: DEFAULT_FLOW_IDLE,
        look_up: true,
        edges: vec![format!("{EDGE}.0.0.0/8").parse().expect("a network")],
        clusters: clusters(true),
    }
}

/// A binding request whose USERNAME begins with a token for `owner`, sealed by its cluster.
fn binding_request(owner: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(owner) = owner else {
        unreachable!("owners are IPv4")
    };
    let cluster_id = if first_octet(owner.into()) == FAR_OWNER {
        2
    } else {
        1
    };
    let expiry_slot = token::slot_at(START + 3600);
    let claims = Claims {
        cluster: cluster_id,
        owner: Owner::V4(owner),
        expiry_slot,
    };
    let mut keys = TokenKeys::default();
    keys.insert(0, &master(cluster_id));
    let ufrag = keys.seal(0, &claims, [0; 6]).expect("key 0 is there");
    let username = format!("{ufrag}:abc");
    let length = username.len() as u16;
    let mut message = vec![0, 1, 0, 4 + length as u8, 0x21, 0x12, 0xA4, 0x42];
    message.extend([7; 12]);
    message.extend([0, 6, 0, length as u8]);
    message.extend(username.bytes());
    message
}

/// What a record says besides, and under which key it is.
struct Record {
    source: SocketAddr,
    client: SocketAddr,
    /// The lower six bits are the flags; the two above say what else is unusual.
    bits: u8,
    named: Option<SocketAddr>,
}

impl Record {
    fn direction(&self) -> Direction {
        match (first_octet(self.source) == EDGE) != (self.bits & 0x80 != 0) {
            true => Direction::Up,
            false => Direction::Down,
        }
    }

    /// The record as its source would seal it: an owner under its pair key, a relay or an edge under
    /// that of the hops to the cluster at its end.
    fn seal(&self, now: Now, payload: &[u8]) -> Vec<u8> {
        let flags = Flags::from_bits(self.bits);
        let probe = flags.contains(Flags::PROBE);
        let header = Header {
            direction: self.direction(),
            flags,
            key_id: 0,
            hop_limit: hop::HOP_LIMIT - (self.bits >> 6 & 1) * 2,
            tick: hop::tick_at(now.unix_seconds),
            client: if probe { address(0, 0, 0) } else { self.client },
            ingress: u16::from(probe),
            return_hop: self.named,
        };
        let mut datagram = Vec::new();
        let sealed = match first_octet(self.source) {
            FAR_RELAY => header.seal(edge_keys(2).get(0).expect("key 0 is there")),
            EDGE => header.seal(edge_keys(1).get(0).expect("key 0 is there")),
            _ => header.seal(&secrets(1).pair(0, self.source).expect("secret 0 is there")),
        };
        sealed.write_record(payload, &mut datagram);
        datagram
    }

    /// What is delivered must come from here.
    fn check_delivery(&self, delivery: &Delivery<'_>) {
        assert_eq!(delivery.client, self.client);
        let owner = match first_octet(self.source) {
            FAR_RELAY => self.named.expect("a relay says whose it is"),
            OWNER => self.source,
            other => panic!("{other} has nothing for clients"),
        };
        let expected = if owner == self.source {
            OWNER
        } else {
            FAR_OWNER
        };
        assert_eq!(first_octet(owner), expected);
    }

    /// What is passed on must be for whom it names, or for who asked.
    fn check_transit(&self, transit: &Transit<'_>) {
        let (from, to) = (first_octet(self.source), first_octet(transit.to));
        match (from, to) {
            (EDGE, OWNER) => assert_eq!(Some(transit.to), self.named),
            (EDGE, EDGE) => assert_eq!((transit.to, transit.payload.len()), (self.source, 0)),
            (OWNER, EDGE) => assert_eq!(Some(transit.to), self.named),
            (OWNER, OWNER) => assert_eq!((transit.to, transit.payload.len()), (self.source, 0)),
            other => panic!("passed on from {other:?}"),
        }
    }
}

fn first_octet(address: SocketAddr) -> u8 {
    match address {
        SocketAddr::V4(address) => address.ip().octets()[0],
        SocketAddr::V6(_) => unreachable!("all are IPv4"),
    }
}

/// Where packets of clients may go.
fn check_way(to: SocketAddr) {
    assert!(
        [OWNER, FAR_RELAY].contains(&first_octet(to)),
        "left for {to}"
    );
}

fuzz_target!(|data: &[u8]| {
    let mut forwarder = Forwarder::new(&config(), Arc::new(Counters::default()));
    let mut elapsed = Duration::ZERO;
    let mut rest = data;
    while let Some((&[what, who, bits, length], after)) = rest.split_first_chunk::<4>() {
        let (payload, next) = after.split_at(usize::from(length).min(after.len()));
        rest = next;
        let now = Now {
            elapsed,
            unix_seconds: START + elapsed.as_secs(),
        };
        let (client, source) = (client(who), hop(who >> 4));
        match what % 8 {
            0 | 1 => {
                let packet = match what % 8 {
                    0 => payload.to_vec(),
                    _ => binding_request(source),
                };
                if let Verdict::Forward { to, .. } = forwarder.ingress(now, client, 0, &packet) {
                    check_way(to);
                }
            }
            2 => {
                let nobody = |_: Delivery<'_>| panic!("nobody sealed what was delivered");
                let nowhere = |_: Transit<'_>| panic!("nobody sealed what was passed on");
                forwarder.egress(now, source, payload, nobody, nowhere);
            }
            3 => {
                let named = payload.first().filter(|name| **name < 7).copied();
                let record = Record {
                    source,
                    client,
                    bits,
                    named: named.map(hop),
                };
                forwarder.egress(
                    now,
                    source,
                    &record.seal(now, payload),
                    |delivery| record.check_delivery(&delivery),
                    |transit| record.check_transit(&transit),
                );
            }
            4 => {
                elapsed += Duration::from_millis(50) * u32::from(bits);
                forwarder.give_up_parked(now);
                forwarder.expire(now);
                forwarder.probe(now, |to, _| assert_eq!(to, hop(4)));
            }
            5 => {
                // Somebody answers what was asked, and somebody says what nobody asked.
                let asked: Vec<_> = forwarder.take_notices().collect();
                for notice in asked {
                    if let Notice::LookUp { flow } = notice {
                        forwarder.answer(now, &flow, (bits & 1 == 1).then_some(source));
                    }
                }
                if let Some(flow) = payload.first_chunk() {
                    forwarder.answer(now, flow, Some(source));
                }
            }
            6 => {
                // Another process takes over, and is told nonsense besides.
                let mut next = Forwarder::new(&config(), Arc::new(Counters::default()));
                let page = forwarder.export(now, 0).unwrap_or_default();
                next.restore(now, &page);
                next.restore(now, &forwarder.changes());
                assert!(next.flows() <= forwarder.flows());
                next.restore(now, payload);
                forwarder = next;
            }
            _ => forwarder.set_clusters(now, &clusters(bits & 1 == 1), &config().edges),
        }
        for ready in forwarder.take_ready() {
            check_way(ready.to);
        }
        assert!(forwarder.flows() <= CAPACITY);
    }
});
