//! *A cluster is an island*: with the keys of one, nobody gets anywhere in another; and from a wrong
//! source no key helps.

mod common;

use std::net::SocketAddr;

use common::chain::*;
use common::*;
use firsthop_relay::{DropReason, RelayConfig};
use firsthop_wire::hop::{self, Direction, Flags, Header, PairKey};

fn header(direction: Direction, hop: Option<SocketAddr>) -> Header {
    Header {
        direction,
        flags: Flags::default(),
        key_id: KEY,
        hop_limit: hop::HOP_LIMIT,
        tick: hop::tick_at(START_UNIX),
        client: client(),
        ingress: INGRESS,
        return_hop: hop,
    }
}

fn under(key: &PairKey, header: &Header) -> Vec<u8> {
    let mut datagram = Vec::new();
    header.seal(key).write_record(&rtp(), &mut datagram);
    datagram
}

/// A key that somebody may have, and what to call it.
fn keys() -> Vec<(&'static str, PairKey)> {
    let edge_key = |name| edge_keys(name, &[KEY]).1.get(KEY).unwrap().clone();
    let relay = Name::A.relays()[0];
    vec![
        ("edge key of a", edge_key(Name::A)),
        ("edge key of b", edge_key(Name::B)),
        ("a's owner's", Name::A.pair(KEY, Name::A.owner())),
        ("b's owner's", Name::B.pair(KEY, Name::B.owner())),
        ("another owner's of a", Name::A.pair(KEY, other_owner())),
        (
            "what b's master gives a's owner",
            Name::B.pair(KEY, Name::A.owner()),
        ),
        (
            "as if the edge were an owner of a",
            Name::A.pair(KEY, edge()),
        ),
        (
            "as if the relay were an owner of a",
            Name::A.pair(KEY, relay),
        ),
    ]
}

fn sources() -> Vec<(&'static str, SocketAddr)> {
    vec![
        ("the edge", edge()),
        ("another edge", address("192.0.2.77:1")),
        ("a's relay", Name::A.relays()[0]),
        ("b's relay", Name::B.relays()[0]),
        ("a port beside a's relay", address("10.1.255.1:3480")),
        ("a's owner", Name::A.owner()),
        ("another owner of a", other_owner()),
        ("b's owner", Name::B.owner()),
        ("a stranger", address("203.0.113.9:3479")),
    ]
}

fn hops() -> Vec<(&'static str, Option<SocketAddr>)> {
    vec![
        ("none", None),
        ("a's owner", Some(Name::A.owner())),
        ("another owner of a", Some(other_owner())),
        ("b's owner", Some(Name::B.owner())),
        ("a's owner's machine", Some(address("10.1.0.5:22"))),
        ("the edge", Some(edge())),
        ("another edge", Some(address("192.0.2.77:1"))),
        ("an edge's port 0", Some(address("192.0.2.77:0"))),
        ("a's relay", Some(Name::A.relays()[0])),
        ("a stranger", Some(address("203.0.113.9:3479"))),
    ]
}

/// Every combination of key, source, hop and direction, of which `good` names those that may pass.
fn every_combination(
    config: &RelayConfig,
    good: &[(&str, &str, &str, Direction)],
    mut outcome: impl FnMut(&mut Scene, SocketAddr, &[u8]) -> bool,
) {
    let mut passed = Vec::new();
    let mut tried = 0;
    for (key_name, key) in keys() {
        for (source_name, source) in sources() {
            for (hop_name, hop) in hops() {
                for direction in [Direction::Up, Direction::Down] {
                    let mut header = header(direction, hop);
                    if direction == Direction::Down {
                        header.flags = Flags::CONFIRM | Flags::PATH;
                    }
                    let mut scene = Scene::with(config);
                    let datagram = under(&key, &header);
                    tried += 1;
                    if outcome(&mut scene, source, &datagram) {
                        passed.push((key_name, source_name, hop_name, direction));
                        assert_eq!(scene.drops(), []);
                    } else {
                        let drops = scene.drops();
                        assert_eq!(drops.len(), 1, "{key_name}, {source_name}: {drops:?}");
                        assert_eq!(drops[0].1, 1);
                        assert_eq!(scene.forwarder.flows(), 0);
                    }
                }
            }
        }
    }
    assert_eq!(tried, 8 * 9 * 10 * 2);
    assert_eq!(passed, good);
}

#[test]
fn a_clusters_relay_passes_on_what_an_edge_sealed_for_its_owners_and_what_they_answer() {
    let (up, down) = (Direction::Up, Direction::Down);
    let a = "edge key of a";
    let good = [
        (a, "the edge", "a's owner", up),
        (a, "the edge", "another owner of a", up),
        (a, "another edge", "a's owner", up),
        (a, "another edge", "another owner of a", up),
        ("a's owner's", "a's owner", "the edge", down),
        ("a's owner's", "a's owner", "another edge", down),
        (
            "another owner's of a",
            "another owner of a",
            "the edge",
            down,
        ),
        (
            "another owner's of a",
            "another owner of a",
            "another edge",
            down,
        ),
    ];
    // An owner's answer without a hop would be for a client of its own, and those are of site 0.
    every_combination(&relay_config(Name::A), &good, |scene, source, datagram| {
        assert_eq!(scene.down(source, datagram), []);
        !scene.passed.is_empty()
    });
}

#[test]
fn an_edge_delivers_what_a_clusters_relay_sealed_for_an_owner_of_that_cluster() {
    let down = Direction::Down;
    let good = [
        ("edge key of a", "a's relay", "a's owner", down),
        ("edge key of a", "a's relay", "another owner of a", down),
        ("edge key of b", "b's relay", "b's owner", down),
    ];
    every_combination(&edge_config(), &good, |scene, source, datagram| {
        let delivered = scene.down(source, datagram);
        assert_eq!(scene.passed, []);
        !delivered.is_empty()
    });
}

#[test]
fn every_single_bit_flip_of_a_hop_header_is_refused() {
    let edge_key = edge_keys(Name::A, &[KEY]).1;
    let edge_key = edge_key.get(KEY).unwrap();
    let pair = Name::A.pair(KEY, Name::A.owner());
    let confirmed = Header {
        flags: Flags::CONFIRM,
        ..header(Direction::Down, Some(Name::A.owner()))
    };
    let answered = header(Direction::Down, Some(edge()));
    let cases = [
        (
            relay_config(Name::A),
            edge(),
            under(edge_key, &header(Direction::Up, Some(Name::A.owner()))),
        ),
        (
            relay_config(Name::A),
            Name::A.owner(),
            under(&pair, &answered),
        ),
        (
            edge_config(),
            Name::A.relays()[0],
            under(edge_key, &confirmed),
        ),
    ];
    for (config, source, datagram) in cases {
        let mut scene = Scene::with(&config);
        let delivered = scene.down(source, &datagram);
        assert_eq!(delivered.len() + scene.passed.len(), 1);
        for bit in 0..(datagram.len() - rtp().len()) * 8 {
            // The length is not under the MAC.
            if (80..96).contains(&bit) {
                continue;
            }
            let mut forged = datagram.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let mut scene = Scene::with(&config);
            assert_eq!(scene.down(source, &forged), [], "bit {bit}");
            assert_eq!(scene.passed, [], "bit {bit}");
            assert!(!scene.drops().is_empty(), "bit {bit}");
        }
    }
}

#[test]
fn a_token_leads_only_into_the_cluster_whose_key_opens_it_and_that_it_claims() {
    let lead = |sealer: Name, cluster: u16, owner: SocketAddr| {
        let mut chain = Chain::new();
        let request = binding_request(&token_of(sealer, KEY, cluster, owner));
        chain
            .up(client(), &request)
            .map(|arrived| arrived.unwrap().owner)
    };
    let (a, b) = (Name::A, Name::B);
    assert_eq!(lead(a, a.id(), a.owner()), Ok(a.owner()));
    assert_eq!(lead(b, b.id(), b.owner()), Ok(b.owner()));
    // A cluster that claims to be another, or names an owner of another.
    for owner in [a.owner(), b.owner()] {
        assert_eq!(lead(b, a.id(), owner), Err(DropReason::UnknownCluster));
        assert_eq!(lead(a, b.id(), owner), Err(DropReason::UnknownCluster));
        assert_eq!(lead(a, 99, owner), Err(DropReason::UnknownCluster));
    }
    assert_eq!(lead(b, b.id(), a.owner()), Err(DropReason::OwnerNotAllowed));
    assert_eq!(lead(a, a.id(), b.owner()), Err(DropReason::OwnerNotAllowed));
}

#[test]
fn clusters_that_share_a_key_are_told_apart_by_what_tokens_claim() {
    // As relays are set up that reach several clusters of one owner.
    let mut one = reached(Name::A, &[KEY], KEY);
    let mut other = reached(Name::A, &[KEY], KEY);
    other.id = Name::B.id();
    other.networks = reached(Name::B, &[KEY], KEY).networks;
    one.ports = 4000..=4000;
    let mut scene = Scene::with(&RelayConfig {
        clusters: vec![one, other],
        ..config()
    });
    let mut lead = |cluster: u16, owner: SocketAddr| {
        let request = binding_request(&token_of(Name::A, KEY, cluster, owner));
        match scene.up(client(), &request) {
            firsthop_relay::forwarder::Verdict::Forward { to, .. } => Ok(to),
            firsthop_relay::forwarder::Verdict::Drop(reason) => Err(reason),
            parked => panic!("{parked:?}"),
        }
    };
    let (a, b) = (Name::A, Name::B);
    assert_eq!(lead(a.id(), a.owner()), Ok(a.owner()));
    assert_eq!(lead(b.id(), b.owner()), Ok(b.owner()));
    assert_eq!(lead(a.id(), b.owner()), Err(DropReason::OwnerNotAllowed));
    assert_eq!(lead(99, b.owner()), Err(DropReason::UnknownCluster));
}

#[test]
fn an_expired_token_of_any_cluster_is_counted_as_expired() {
    let mut chain = Chain::new();
    chain.edge.now.unix_seconds += 3 * 3600;
    for name in [Name::A, Name::B] {
        let lead = chain.up(client(), &request_to(name));
        assert_eq!(lead, Err(DropReason::TokenExpired));
    }
}

#[test]
fn an_owner_of_one_cluster_takes_no_proved_flow_of_another_without_proof() {
    let mut chain = Chain::new();
    chain.call(client(), Name::A);
    let claim = |flags| Header {
        flags,
        ..header(Direction::Down, Some(Name::B.owner()))
    };
    for flags in [
        Flags::default(),
        Flags::CONFIRM,
        Flags::RELEASE,
        Flags::NO_SESSION,
    ] {
        let datagram = Name::B.edge_sealed(&claim(flags), &rtp());
        assert_eq!(chain.edge.down(Name::B.relays()[0], &datagram), []);
    }
    assert_eq!(chain.edge.drops(), [(DropReason::NotOwner, 4)]);
    let media = chain.up(client(), &rtp()).unwrap().unwrap();
    assert_eq!(media.owner, Name::A.owner());
}

#[test]
fn a_packet_of_an_edge_is_as_long_as_a_clients_and_not_empty() {
    for (length, reason) in [
        (0, DropReason::Empty),
        (1501, DropReason::Oversize),
        (9000, DropReason::Oversize),
    ] {
        let mut relay = Scene::with(&relay_config(Name::A));
        let up = header(Direction::Up, Some(Name::A.owner()));
        relay.down(edge(), &Name::A.edge_sealed(&up, &vec![0x80; length]));
        assert_eq!(relay.passed, []);
        assert_eq!(relay.drops(), [(reason, 1)]);
    }
}

#[test]
fn nothing_that_edges_send_is_remembered() {
    let mut relay = Scene::with(&relay_config(Name::A));
    for port in 1..=10_000 {
        let up = Header {
            client: SocketAddr::from(([198, 51, 100, 7], port)),
            ..header(Direction::Up, Some(Name::A.owner()))
        };
        let from = SocketAddr::from(([192, 0, 2, 10], port));
        relay.down(from, &Name::A.edge_sealed(&up, &rtp()));
    }
    assert_eq!(relay.passed.len(), 10_000);
    assert_eq!(relay.forwarder.flows(), 0);
    assert_eq!(relay.counters().edges, 0);
}
