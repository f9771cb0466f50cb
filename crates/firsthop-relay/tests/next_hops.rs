//! A dead relay is left at once, and only its flows move; a dead edge is told to the owner.

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;

use common::chain::*;
use common::*;
use firsthop_relay::DropReason;
use firsthop_wire::hop::{self, Direction, Flags, Header};

fn client_number(port: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], port))
}

const CLIENTS: std::ops::RangeInclusive<u16> = 1..=100;

/// By which relay each client's media goes now; none where it is lost.
fn ways(chain: &mut Chain) -> HashMap<u16, Option<SocketAddr>> {
    CLIENTS
        .map(|port| {
            let arrived = chain.up(client_number(port), &rtp()).unwrap();
            (port, arrived.map(|arrived| arrived.relay))
        })
        .collect()
}

fn states(chain: &mut Chain) -> Option<Vec<(u16, SocketAddr, bool)>> {
    chain.edge.forwarder.changed_next_hops()
}

fn with_calls() -> Chain {
    let mut chain = Chain::new();
    chain.wait_ms(100);
    for port in CLIENTS {
        chain.call(client_number(port), Name::A);
    }
    chain
}

#[test]
fn a_dead_relay_is_left_after_250_ms_and_only_its_flows_move_and_come_back() {
    let mut chain = with_calls();
    let [dead, alive] = Name::A.relays()[..] else {
        unreachable!("two relays")
    };
    let before = ways(&mut chain);
    for relay in [dead, alive] {
        let share = before.values().filter(|way| **way == Some(relay)).count();
        assert!((20..=80).contains(&share), "{share} of 100 by {relay}");
    }
    states(&mut chain);

    chain.relay(dead).dead = true;
    chain.wait_ms(140);
    assert_eq!(states(&mut chain), None);
    for (port, way) in ways(&mut chain) {
        let expected = before[&port].filter(|relay| *relay != dead);
        assert_eq!(way, expected, "those of the dead relay are lost so far");
    }
    chain.wait_ms(110);
    let seen = states(&mut chain).unwrap();
    assert!(seen.contains(&(Name::A.id(), dead, false)));
    assert!(seen.contains(&(Name::A.id(), alive, true)));
    assert!(seen.contains(&(Name::B.id(), Name::B.relays()[0], true)));
    assert!(ways(&mut chain).values().all(|way| *way == Some(alive)));

    chain.relay(dead).dead = false;
    chain.wait_ms(60);
    assert_eq!(ways(&mut chain), before);
    assert!(
        states(&mut chain)
            .unwrap()
            .contains(&(Name::A.id(), dead, true))
    );
    assert_eq!(chain.drops(), []);
}

#[test]
fn the_answer_of_a_relay_that_the_edge_has_left_still_counts() {
    // Each way chooses for itself: what an owner sends by the other relay is as good.
    let mut chain = with_calls();
    let arrived = chain.up(client_number(1), &rtp()).unwrap().unwrap();
    for relay in Name::A.relays() {
        let arrived = Arrived {
            relay,
            ..arrived.clone()
        };
        assert_eq!(chain.answer(&arrived, Flags::default(), &rtp()).len(), 1);
    }
    assert_eq!(chain.drops(), []);
}

#[test]
fn when_no_relay_answers_all_are_tried() {
    let mut chain = with_calls();
    let before = ways(&mut chain);
    // Probes are lost, and nothing else is.
    chain.probing = false;
    chain.wait_ms(300);
    let seen = states(&mut chain).unwrap();
    assert!(seen.iter().all(|(_, _, alive)| !alive), "{seen:?}");
    assert_eq!(ways(&mut chain), before);
    assert_eq!(chain.drops(), []);
}

#[test]
fn the_flow_keeps_its_header_when_it_moves_to_another_relay() {
    let mut chain = with_calls();
    let first = chain.up(client_number(1), &rtp()).unwrap().unwrap();
    chain.relay(first.relay).dead = true;
    chain.wait_ms(300);
    let moved = chain.up(client_number(1), &rtp()).unwrap().unwrap();
    assert_ne!(moved.relay, first.relay);
    assert_eq!(moved.header, first.header);
}

#[test]
fn what_is_known_of_relays_outlives_a_change_of_the_clusters() {
    let mut chain = with_calls();
    let dead = Name::A.relays()[0];
    chain.relay(dead).dead = true;
    chain.wait_ms(300);
    let both = [Name::B, Name::A].map(|name| behind(name, &[KEY], KEY));
    let now = chain.edge.now;
    chain.edge.forwarder.set_clusters(now, &both, &[]);
    assert!(
        states(&mut chain)
            .unwrap()
            .contains(&(Name::A.id(), dead, false))
    );
    assert!(ways(&mut chain).values().all(Option::is_some));
}

#[test]
fn an_owner_is_told_of_an_edge_that_fell_silent_and_its_packet_is_sent_all_the_same() {
    let mut chain = Chain::new();
    chain.wait_ms(100);
    let arrived = chain.call(client(), Name::A);
    // Media flows down all the time; the edge stops probing, and comes back.
    let mut told_at = Vec::new();
    for ms in 0..600 {
        chain.probing = !(100..400).contains(&ms);
        chain.wait_ms(1);
        if ms % 20 == 0 {
            assert_eq!(chain.answer(&arrived, Flags::default(), &rtp()).len(), 1);
            if let Some(told) = chain.told.pop() {
                let expected = Header {
                    flags: Flags::EDGE_LOST,
                    hop_limit: hop::HOP_LIMIT,
                    direction: Direction::Up,
                    ..arrived.header
                };
                assert_eq!((told.owner, told.header), (arrived.owner, expected));
                assert!(told.payload.is_empty());
                told_at.push(ms);
            }
        }
    }
    let (first, last) = (told_at[0], told_at[told_at.len() - 1]);
    assert!((260..=320).contains(&first), "{told_at:?}");
    assert!((380..=460).contains(&last), "{told_at:?}");
    assert_eq!(told_at.len(), (last - first) / 20 + 1, "each time");
    let lost = chain.relay(arrived.relay).scene.counters().edge_lost;
    assert_eq!(lost, told_at.len() as u64);
    assert_eq!(chain.drops(), []);
}

#[test]
fn an_edge_that_never_probed_is_not_missed() {
    let mut chain = Chain::new();
    chain.probing = false;
    let arrived = chain.call(client(), Name::A);
    for _ in 0..100 {
        chain.wait_ms(20);
        assert_eq!(chain.answer(&arrived, Flags::default(), &rtp()).len(), 1);
    }
    assert_eq!(chain.told, []);
}

/// A probe as the edge seals it for `name`.
fn probe(name: Name) -> Header {
    Header {
        direction: Direction::Up,
        flags: Flags::PROBE,
        key_id: KEY,
        hop_limit: hop::HOP_LIMIT,
        tick: hop::tick_at(START_UNIX),
        client: address("0.0.0.0:0"),
        ingress: name.id(),
        return_hop: None,
    }
}

#[test]
fn a_probe_is_answered_with_as_many_bytes_to_who_sealed_it_and_to_nobody_else() {
    let mut relay = Scene::with(&relay_config(Name::A));
    let good = Name::A.edge_sealed(&probe(Name::A), &[]);
    assert_eq!(relay.down(edge(), &good), []);
    let [(to, answer)] = &relay.passed[..] else {
        panic!("{:?}", relay.passed)
    };
    assert_eq!((*to, answer.len()), (edge(), good.len()));
    let record = hop::records(answer).next().unwrap().unwrap();
    let expected = Header {
        direction: Direction::Down,
        ..probe(Name::A)
    };
    assert_eq!(record.header, expected);
    assert_eq!(relay.counters().edges, 1);
    relay.passed.clear();

    let outside = address("192.0.3.1:3479");
    let refused = |scene: &mut Scene, source, datagram: &[u8], reason| {
        let before = scene.counters().dropped(reason);
        assert_eq!(scene.down(source, datagram), []);
        assert_eq!(scene.passed, []);
        assert_eq!(scene.counters().dropped(reason), before + 1, "{reason:?}");
        assert_eq!(scene.counters().edges, 1);
    };
    refused(&mut relay, outside, &good, DropReason::SourceNotAllowed);
    let other = Name::B.edge_sealed(&probe(Name::A), &[]);
    refused(&mut relay, edge(), &other, DropReason::HopMac);
    let elsewhere = Name::B.edge_sealed(&probe(Name::B), &[]);
    refused(&mut relay, edge(), &elsewhere, DropReason::UnexpectedProbe);
    let unknown_key = Name::A.edge_sealed(
        &Header {
            key_id: 2,
            ..probe(Name::A)
        },
        &[],
    );
    refused(&mut relay, edge(), &unknown_key, DropReason::HopUnknownKey);
    let stale = Header {
        tick: probe(Name::A).tick.wrapping_sub(3),
        ..probe(Name::A)
    };
    let stale = Name::A.edge_sealed(&stale, &[]);
    refused(&mut relay, edge(), &stale, DropReason::HopTick);
    // Nothing but a probe is a probe: no packet, no client, no hop, no other flag.
    let odd = [
        (probe(Name::A), &[0x80][..]),
        (
            Header {
                client: client(),
                ..probe(Name::A)
            },
            &[],
        ),
        (
            Header {
                return_hop: Some(Name::A.owner()),
                ..probe(Name::A)
            },
            &[],
        ),
        (
            Header {
                flags: Flags::PROBE | Flags::CONFIRM,
                ..probe(Name::A)
            },
            &[],
        ),
    ];
    for (header, payload) in odd {
        let datagram = Name::A.edge_sealed(&header, payload);
        refused(&mut relay, edge(), &datagram, DropReason::UnexpectedProbe);
    }
    // What an edge asks, an edge answers not; nor does an answer make an answer.
    let answer = Name::A.edge_sealed(&expected, &[]);
    refused(&mut relay, edge(), &answer, DropReason::HopDirection);
}

#[test]
fn only_an_authentic_answer_of_the_relay_itself_keeps_it_alive() {
    let answer = Header {
        direction: Direction::Down,
        ..probe(Name::A)
    };
    let [dead, other] = Name::A.relays()[..] else {
        unreachable!("two relays")
    };
    let from = |source: SocketAddr, sealer: Name| {
        let mut chain = Chain::new();
        chain.wait_ms(100);
        chain.relay(dead).dead = true;
        chain.wait_ms(300);
        states(&mut chain);
        chain.edge.down(source, &sealer.edge_sealed(&answer, &[]));
        states(&mut chain).is_some_and(|seen| seen.contains(&(Name::A.id(), dead, true)))
    };
    assert!(from(dead, Name::A));
    assert!(!from(other, Name::A), "another relay speaks for itself");
    assert!(!from(dead, Name::B), "another cluster's key");
    assert!(
        !from(Name::B.relays()[0], Name::B),
        "another cluster's relay"
    );
    assert!(
        !from(address("192.0.2.99:3479"), Name::A),
        "a stranger with the key"
    );
}

#[test]
fn an_owner_cannot_answer_for_its_relay() {
    let mut chain = Chain::new();
    let arrived = chain.call(client(), Name::A);
    // Flags between hops are no owner's to set: the record is for the client like any other.
    for flags in [Flags::PROBE, Flags::EDGE_LOST, Flags::PROBE | Flags::PATH] {
        assert_eq!(chain.answer(&arrived, flags, &rtp()).len(), 1);
    }
    assert_eq!(chain.drops(), []);
}
