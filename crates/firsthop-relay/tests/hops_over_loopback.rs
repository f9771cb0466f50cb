//! The same on real sockets: a client, an edge relay, two relays of a cluster, and a transceiver.

mod common;

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use common::sockets::*;
use common::*;
use firsthop_relay::{Cluster, DropReason, Reach, Relay, RelayConfig};
use firsthop_wire::edge::EdgeKey;
use firsthop_wire::hop::{EdgeHopKeys, Flags, Header};

const SITE: u8 = 5;

/// A cluster's relay with two workers, which takes records of edges on this machine.
fn cluster_relay(owner: &FakeOwner) -> Relay {
    let config = RelayConfig {
        workers: 2,
        edges: vec!["127.0.0.0/8".parse().unwrap()],
        ..loopback(owner.address())
    };
    Relay::start(&config).unwrap()
}

fn behind(owner: &FakeOwner, relays: &[&Relay]) -> Cluster {
    let mut keys = EdgeHopKeys::default();
    keys.insert(HOP_KEY, &EdgeKey::derive(&[0xC3; 32]));
    let addresses = relays.iter().flat_map(|relay| relay.upstream_addrs());
    let addresses = addresses.copied().collect();
    Cluster {
        reach: Reach::Relays { addresses, keys },
        ..loopback(owner.address()).clusters.remove(0)
    }
}

fn edge(owner: &FakeOwner, relays: &[&Relay]) -> Relay {
    let config = RelayConfig {
        site: SITE,
        workers: 2,
        clusters: vec![behind(owner, relays)],
        ..loopback(owner.address())
    };
    Relay::start(&config).unwrap()
}

/// A browser with a proved flow through `edge`.
fn call(owner: &mut FakeOwner, edge: &Relay) -> (UdpSocket, SocketAddr, Header) {
    let browser = bind();
    let request = binding_request(&ufrag_at(owner.address(), unix_seconds()));
    browser.send_to(&request, edge.local_addrs()[0]).unwrap();
    let (source, records) = owner.receive();
    let header = records[0].0;
    let flags = Flags::CONFIRM | Flags::PATH;
    owner.answer(source, &header, flags, &binding_success());
    let mut buffer = [0; 2048];
    let length = browser.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..length], binding_success());
    (browser, source, header)
}

fn received(browser: &UdpSocket) -> bool {
    match browser.recv(&mut [0; 2048]) {
        Ok(length) => {
            assert_eq!(length, rtp().len());
            true
        }
        Err(error) => {
            assert!(matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut
            ));
            false
        }
    }
}

#[test]
fn calls_go_through_an_edge_and_a_relay_of_the_cluster_which_remembers_nothing() {
    let mut owner = FakeOwner::new();
    let near = cluster_relay(&owner);
    let far = edge(&owner, &[&near]);
    let mut sources = Vec::new();
    for _ in 0..20 {
        let (browser, source, header) = call(&mut owner, &far);
        assert!(near.upstream_addrs().contains(&source));
        assert_eq!(header.client, browser.local_addr().unwrap());
        assert_eq!(header.ingress, u16::from_be_bytes([SITE, 0]));
        let hop = header.return_hop.unwrap();
        assert!(far.upstream_addrs().contains(&hop));
        sources.push(source);

        browser.send_to(&rtp(), far.local_addrs()[0]).unwrap();
        let (again, records) = owner.receive();
        assert_eq!((again, records[0].1.as_slice()), (source, &rtp()[..]));
        owner.answer(again, &records[0].0, Flags::default(), &rtp());
        assert!(received(&browser));
    }
    sources.sort();
    sources.dedup();
    assert_eq!(
        sources.len(),
        2,
        "both workers of the cluster's relay have some"
    );
    eventually("every packet is counted", || {
        let (near, far) = (counters(&near), counters(&far));
        [near, far]
            .iter()
            .all(|seen| (seen.ingress_packets, seen.egress_packets) == (40, 40))
    });
    assert_eq!(counters(&near).flows, 0);
    eventually(
        "both workers of the edge are heard by both of the relay",
        || near.counters().all(|worker| worker.edges == 2),
    );
    eventually("both workers of the relay answer", || {
        let hops = far.next_hops();
        let answers = |&(cluster, _, alive): &_| cluster == CLUSTER && alive;
        hops.len() == 2 && hops.iter().all(answers)
    });
    for relay in [&near, &far] {
        assert_eq!(
            counters(relay).drops().map(|(_, count)| count).sum::<u64>(),
            0
        );
        assert_eq!(relay.failed(), None);
    }
}

#[test]
fn a_call_moves_to_another_relay_when_its_own_dies() {
    let mut owner = FakeOwner::new();
    let (one, other) = (cluster_relay(&owner), cluster_relay(&owner));
    let far = edge(&owner, &[&one, &other]);
    let calls: Vec<_> = (0..8).map(|_| call(&mut owner, &far)).collect();
    let dying = calls[0].1;
    let (dead, alive) = match one.upstream_addrs().contains(&dying) {
        true => (one, other),
        false => (other, one),
    };
    let gone = dead.upstream_addrs().to_vec();
    dead.stop();
    eventually("the edge finds out", || {
        let lost = far.next_hops().into_iter().filter(|(.., alive)| !alive);
        lost.map(|(_, address, _)| address)
            .all(|address| gone.contains(&address))
            && far.next_hops().iter().filter(|(.., alive)| !alive).count() == 2
    });
    for (browser, ..) in &calls {
        let client = browser.local_addr().unwrap();
        // A busy machine may keep an answer to a probe waiting: then a packet is lost, not the call.
        eventually("its media arrives", || {
            browser.send_to(&rtp(), far.local_addrs()[0]).unwrap();
            owner.patience(Duration::from_millis(100));
            let Some((source, records)) = owner.try_receive() else {
                return false;
            };
            let header = &records[0].0;
            if header.client != client || !alive.upstream_addrs().contains(&source) {
                return false;
            }
            owner.answer(source, header, Flags::default(), &rtp());
            received(browser)
        });
    }
}

#[test]
fn an_owner_learns_that_an_edge_died() {
    let mut owner = FakeOwner::new();
    let near = cluster_relay(&owner);
    let far = edge(&owner, &[&near]);
    let (_browser, source, header) = call(&mut owner, &far);
    eventually("the edge is heard", || {
        near.counters().all(|worker| worker.edges == 2)
    });
    far.stop();
    let mut told = None;
    eventually("the owner is told", || {
        owner.answer(source, &header, Flags::default(), &rtp());
        if counters(&near).edge_lost > 0 {
            told = Some(owner.receive());
        }
        told.is_some()
    });
    let (source_of_it, records) = told.unwrap();
    let expected = Header {
        flags: Flags::EDGE_LOST,
        hop_limit: records[0].0.hop_limit,
        tick: records[0].0.tick,
        ..header
    };
    assert_eq!((source_of_it, records[0].0), (source, expected));
    assert_eq!(records[0].1, []);
}

#[test]
fn clusters_change_while_a_relay_runs_and_what_cannot_work_changes_nothing() {
    let mut owner = FakeOwner::new();
    let near = cluster_relay(&owner);
    let far = edge(&owner, &[&near]);
    let (browser, ..) = call(&mut owner, &far);
    let cluster = behind(&owner, &[&near]);
    let twice = vec![cluster.clone(), cluster.clone()];
    let refused = far.set_clusters(Vec::new(), twice).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.to_string().starts_with("clusters"), "{refused}");
    let public = far.local_addrs()[0];
    browser.send_to(&rtp(), public).unwrap();
    assert_eq!(owner.receive().1[0].1, rtp());

    // From afar to near: the same owner, without a relay in between.
    let direct = loopback(owner.address()).clusters;
    far.set_clusters(Vec::new(), direct).unwrap();
    assert_eq!(far.next_hops(), []);
    browser.send_to(&rtp(), public).unwrap();
    let (source, records) = owner.receive();
    assert!(far.upstream_addrs().contains(&source));
    assert_eq!(records[0].0.return_hop, None);
    // And back.
    far.set_clusters(Vec::new(), vec![cluster]).unwrap();
    browser.send_to(&rtp(), public).unwrap();
    let (source, records) = owner.receive();
    assert!(near.upstream_addrs().contains(&source));
    assert!(records[0].0.return_hop.is_some());

    far.set_clusters(Vec::new(), Vec::new()).unwrap();
    browser.send_to(&rtp(), public).unwrap();
    eventually("its owner is no longer known", || {
        counters(&far).dropped(DropReason::UnknownFlow) == 1
    });
    browser
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    assert!(!received(&browser));
}
