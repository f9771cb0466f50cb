//! *The middle keeps no state*: a client, an edge relay, a cluster's relay, and an owner.

mod common;

use common::chain::*;
use common::*;
use firsthop_relay::forwarder::Verdict;
use firsthop_relay::{DropReason, RelayConfig};
use firsthop_wire::hop::{self, Direction, Flags, Header};

/// A record as the edge sends it up to a relay of `name`.
fn up(name: Name) -> Header {
    Header {
        direction: Direction::Up,
        flags: Flags::default(),
        key_id: KEY,
        hop_limit: hop::HOP_LIMIT,
        tick: hop::tick_at(START_UNIX),
        client: client(),
        ingress: INGRESS,
        return_hop: Some(name.owner()),
    }
}

/// The same as the relay of `name` sends it down to the edge.
fn down_to_edge(name: Name, flags: Flags) -> Header {
    Header {
        direction: Direction::Down,
        flags,
        hop_limit: hop::HOP_LIMIT - 1,
        ..up(name)
    }
}

#[test]
fn a_packet_reaches_its_owner_and_the_answer_its_client_through_two_relays() {
    let mut chain = Chain::new();
    for (name, port) in [(Name::A, 1000), (Name::B, 2000), (Name::A, 3000)] {
        let client = address(&format!("198.51.100.9:{port}"));
        let request = request_to(name);
        let arrived = chain.up(client, &request).unwrap().unwrap();
        assert_eq!(arrived.owner, name.owner());
        assert!(name.relays().contains(&arrived.relay));
        assert_eq!(arrived.payload, request);
        let expected = Header {
            client,
            hop_limit: hop::HOP_LIMIT - 1,
            return_hop: Some(edge()),
            ..up(name)
        };
        assert_eq!(arrived.header, expected);
        assert_eq!(
            chain.up(client, &rtp()),
            Err(DropReason::UnknownFlow),
            "no state before an answer"
        );

        let flags = Flags::CONFIRM | Flags::PATH;
        let delivered = chain.answer(&arrived, flags, &binding_success());
        let expected = Delivered {
            ingress: 0,
            client,
            payload: binding_success(),
        };
        assert_eq!(delivered, [expected]);

        let media = chain.up(client, &rtp()).unwrap().unwrap();
        assert_eq!((media.owner, media.payload.clone()), (name.owner(), rtp()));
        assert_eq!(
            media.header, arrived.header,
            "the same header as for the first packet"
        );
        assert_eq!(chain.answer(&media, Flags::default(), &rtp()).len(), 1);
    }
    assert_eq!(chain.edge.counters().flows, 3);
    // A packet of an unknown flow waits, and is given up; nothing else was lost.
    chain.edge.wait(1);
    assert_eq!(chain.drops(), []);
}

#[test]
fn flags_of_the_owner_arrive_at_the_edge() {
    let mut chain = Chain::new();
    let arrived = chain.call(client(), Name::A);
    assert_eq!(chain.answer(&arrived, Flags::RELEASE, &rtp()).len(), 1);
    assert_eq!(chain.edge.counters().flows_released, 1);
    assert_eq!(chain.up(client(), &rtp()), Err(DropReason::UnknownFlow));

    let arrived = chain.call(client(), Name::A);
    assert_eq!(chain.answer(&arrived, Flags::NO_SESSION, &[]), []);
    assert_eq!(chain.edge.counters().flows_released, 2);
    assert_eq!(chain.drops().last(), Some(&(DropReason::NoSession, 1)));
}

#[test]
fn losing_everything_in_the_middle_changes_nothing() {
    let mut chain = Chain::new();
    let mut calls = Vec::new();
    for port in 1..=20 {
        let client = address(&format!("198.51.100.9:{port}"));
        calls.push((client, chain.call(client, Name::A)));
    }
    for relay in &mut chain.relays {
        // As after a restart.
        let now = relay.scene.now;
        relay.scene = Scene::with(&relay_config(relay.name));
        relay.scene.now = now;
    }
    for (client, arrived) in calls {
        assert_eq!(
            chain.up(client, &rtp()).unwrap().unwrap().owner,
            Name::A.owner()
        );
        assert_eq!(chain.answer(&arrived, Flags::default(), &rtp()).len(), 1);
    }
    assert_eq!(chain.drops(), []);
}

#[test]
fn a_bundle_of_an_edge_is_passed_on_record_by_record() {
    let mut chain = Chain::new();
    let mut datagram = Vec::new();
    for port in 1..=5 {
        let header = Header {
            client: address(&format!("198.51.100.9:{port}")),
            ..up(Name::A)
        };
        datagram.extend(Name::A.edge_sealed(&header, &rtp()));
    }
    datagram.extend([0; 100]);
    let (arrived, _) = chain.at_relay(Name::A.relays()[0], edge(), &datagram);
    let ports: Vec<_> = arrived.iter().map(|one| one.header.client.port()).collect();
    assert_eq!(ports, [1, 2, 3, 4, 5]);
}

#[test]
fn a_relay_may_be_edge_of_one_cluster_and_relay_of_another() {
    let mut both = Scene::with(&RelayConfig {
        site: SITE,
        edges: vec!["192.0.2.0/24".parse().unwrap()],
        clusters: vec![reached(Name::A, &[KEY], KEY), behind(Name::B, &[KEY], KEY)],
        ..config()
    });
    let forward = |verdict| match verdict {
        Verdict::Forward { to, header } => (to, header.len()),
        other => panic!("{other:?}"),
    };
    // Its own clients, near and far: the header that goes further names the owner.
    let near = forward(both.up(client(), &request_to(Name::A)));
    assert_eq!(near, (Name::A.owner(), 24));
    let far = forward(both.up(client(), &request_to(Name::B)));
    assert_eq!(far, (Name::B.relays()[0], 30));
    // Another edge's clients: near only.
    both.down(edge(), &Name::A.edge_sealed(&up(Name::A), &rtp()));
    assert_eq!(both.passed.len(), 1);
    assert_eq!(both.passed[0].0, Name::A.owner());
    both.down(edge(), &Name::B.edge_sealed(&up(Name::B), &rtp()));
    assert_eq!(both.drops(), [(DropReason::OwnerNotReached, 1)]);
    // And answers of either kind.
    let confirm = Flags::CONFIRM | Flags::PATH;
    let answer = down_to_edge(Name::B, confirm);
    let answer = Name::B.edge_sealed(&answer, &rtp());
    assert_eq!(both.down(Name::B.relays()[0], &answer).len(), 1);
    let header = Header {
        ingress: INGRESS,
        key_id: KEY,
        ..down(client(), confirm, START_UNIX)
    };
    let mut datagram = Vec::new();
    let key = Name::A.pair(KEY, Name::A.owner());
    header.seal(&key).write_record(&rtp(), &mut datagram);
    assert_eq!(both.down(Name::A.owner(), &datagram).len(), 1);
    assert_eq!(both.counters().flows_moved, 1);
}

#[test]
fn each_relay_lowers_the_hop_limit_and_sends_none_with_zero() {
    for limit in 0..=u8::MAX {
        let mut chain = Chain::new();
        let header = Header {
            hop_limit: limit,
            ..up(Name::A)
        };
        let relay = Name::A.relays()[0];
        let datagram = Name::A.edge_sealed(&header, &rtp());
        let (arrived, _) = chain.at_relay(relay, edge(), &datagram);
        if limit < 2 {
            assert_eq!(arrived, []);
            assert_eq!(chain.drops(), [(DropReason::HopLimit, 1)]);
        } else {
            assert_eq!(arrived[0].header.hop_limit, limit - 1);
        }

        // Down: the cluster's relay lowers it, the edge has no further hop.
        let mut chain = Chain::new();
        let mut header = Header {
            hop_limit: limit,
            direction: Direction::Down,
            flags: Flags::CONFIRM,
            return_hop: Some(edge()),
            ..up(Name::A)
        };
        let key = Name::A.pair(KEY, Name::A.owner());
        let mut datagram = Vec::new();
        header.seal(&key).write_record(&rtp(), &mut datagram);
        let (_, delivered) = chain.at_relay(relay, Name::A.owner(), &datagram);
        assert_eq!(delivered.len(), usize::from(limit >= 2), "{limit}");

        header.return_hop = Some(Name::A.owner());
        let datagram = Name::A.edge_sealed(&header, &rtp());
        let delivered = chain.edge.down(relay, &datagram);
        assert_eq!(delivered.len(), usize::from(limit >= 1), "{limit}");
    }
}

#[test]
fn relays_that_name_each_other_do_not_pass_a_packet_round() {
    // Both take themselves for edges of cluster A, and the other for its relay.
    let one = address("10.1.255.1:3479");
    let other = address("192.0.2.10:3479");
    let config = |relay| {
        let mut cluster = behind(Name::A, &[KEY], KEY);
        if let firsthop_relay::Reach::Relays { addresses, .. } = &mut cluster.reach {
            *addresses = vec![relay];
        }
        RelayConfig {
            edges: vec!["0.0.0.0/0".parse().unwrap()],
            clusters: vec![cluster],
            ..edge_config()
        }
    };
    let mut scene = Scene::with(&config(other));
    let Verdict::Forward { to, header } = scene.up(client(), &request_to(Name::A)) else {
        panic!("it is not forwarded")
    };
    assert_eq!(to, other);
    let mut datagram = Vec::new();
    header.write_record(&rtp(), &mut datagram);
    let mut scene = Scene::with(&config(one));
    assert_eq!(scene.down(one, &datagram), []);
    assert_eq!(scene.passed, []);
    assert_eq!(scene.drops(), [(DropReason::OwnerNotReached, 1)]);
}

#[test]
fn an_edge_serves_the_sockets_of_its_own_site_only() {
    for (ingress, served) in [
        (0x0300, true),
        (0x0301, true),
        (0x0302, false),
        (0x0200, false),
        (0x0000, false),
        (0xFFFF, false),
    ] {
        let mut chain = Chain::new();
        let header = Header {
            ingress,
            ..down_to_edge(Name::A, Flags::CONFIRM)
        };
        let datagram = Name::A.edge_sealed(&header, &rtp());
        let delivered = chain.edge.down(Name::A.relays()[0], &datagram);
        assert_eq!(delivered.len(), usize::from(served), "{ingress:#x}");
        let refused = [(DropReason::UnknownIngress, 1)];
        assert_eq!(chain.drops(), if served { &[][..] } else { &refused });
    }
}

#[test]
fn flows_of_clusters_behind_relays_are_handed_over_and_looked_up() {
    let mut chain = Chain::new();
    let mut config = edge_config();
    config.look_up = true;
    chain.edge = Scene::with(&config);
    let arrived = chain.call(client(), Name::A);
    let notices: Vec<_> = chain.edge.forwarder.take_notices().collect();
    let [firsthop_relay::Notice::Kept { flow, owner }] = notices[..] else {
        panic!("{notices:?}")
    };
    assert_eq!(owner, Name::A.owner());
    assert_eq!(flow[18..], [SITE, 0]);

    // The next process has it, at this site and at no other.
    let now = chain.edge.now;
    let page = chain.edge.forwarder.export(now, 0).unwrap();
    let mut elsewhere = Scene::with(&RelayConfig {
        site: SITE + 1,
        ..config.clone()
    });
    elsewhere.forwarder.restore(now, &page);
    elsewhere.forwarder.answer(now, &flow, Some(owner));
    assert_eq!(elsewhere.forwarder.flows(), 0);
    chain.edge = Scene::with(&config);
    chain.edge.forwarder.restore(now, &page);
    let again = chain.up(client(), &rtp()).unwrap().unwrap();
    assert_eq!((again.owner, again.header), (owner, arrived.header));

    // One that knows nothing is told by the cache; what waited goes to the cluster's relay.
    chain.edge = Scene::with(&config);
    assert_eq!(chain.up(client(), &rtp()), Err(DropReason::UnknownFlow));
    chain.edge.forwarder.answer(now, &flow, Some(owner));
    let ready: Vec<_> = chain.edge.forwarder.take_ready().collect();
    assert_eq!(ready.len(), 1);
    assert!(Name::A.relays().contains(&ready[0].to));
    let mut datagram = Vec::new();
    ready[0]
        .header
        .write_record(&ready[0].packet, &mut datagram);
    let (arrived, _) = chain.at_relay(ready[0].to, edge(), &datagram);
    assert_eq!(arrived[0].owner, Name::A.owner());
    // But nowhere outside its clusters.
    chain.edge = Scene::with(&config);
    chain
        .edge
        .forwarder
        .answer(now, &flow, Some(address("10.9.0.1:4000")));
    assert_eq!(chain.edge.forwarder.flows(), 0);
}

#[test]
fn an_owner_that_is_no_longer_allowed_is_forgotten_when_its_flow_is_used() {
    let mut chain = Chain::new();
    chain.call(client(), Name::A);
    let other = address("198.51.100.9:1");
    let kept = chain.call(other, Name::B);
    let now = chain.edge.now;
    let only_b = [behind(Name::B, &[KEY], KEY)];
    chain.edge.forwarder.set_clusters(now, &only_b, &[]);
    assert_eq!(chain.up(client(), &rtp()), Err(DropReason::UnknownFlow));
    assert_eq!(
        chain.up(other, &rtp()).unwrap().unwrap().owner,
        Name::B.owner()
    );
    assert_eq!(
        chain.up(client(), &request_to(Name::A)),
        Err(DropReason::TokenTag),
        "nor do its tokens lead anywhere"
    );
    let answer = Name::A.edge_sealed(&down_to_edge(Name::A, Flags::CONFIRM), &rtp());
    assert_eq!(chain.edge.down(Name::A.relays()[0], &answer), []);
    assert_eq!(chain.answer(&kept, Flags::default(), &rtp()).len(), 1);
    // Another owner may have the client at once, though its path is not proved: nobody holds it.
    assert_eq!(chain.edge.counters().flows, 2);
    let moved = down_to_edge(Name::B, Flags::CONFIRM);
    let moved = Name::B.edge_sealed(&moved, &rtp());
    assert_eq!(chain.edge.down(Name::B.relays()[0], &moved).len(), 1);
    assert_eq!(
        chain.up(client(), &rtp()).unwrap().unwrap().owner,
        Name::B.owner()
    );
    assert_eq!(chain.edge.counters().flows_moved, 0);
}
