//! Nobody but the owner speaks for a flow: a wrong source, key, direction, tick or ingress is
//! dropped, and changes nothing.

mod common;

use std::net::SocketAddr;

use common::*;
use firsthop_relay::DropReason;
use firsthop_wire::hop::{Direction, Flags, Header, HopSecrets};

/// Sends a record to a relay with a flow, and to one without; each must drop it for `reason`.
fn refused(source: SocketAddr, datagram: &[u8], reason: DropReason) {
    for established in [true, false] {
        let mut scene = Scene::new();
        if established {
            scene.establish(client(), owner());
        }
        let flows = scene.counters();
        assert_eq!(scene.down(source, datagram), []);
        assert_eq!(scene.drops(), [(reason, 1)]);
        assert_eq!(scene.counters().flows, flows.flows);
        assert_eq!(scene.counters().flows_moved, 0);
    }
}

fn header() -> Header {
    down(client(), Flags::CONFIRM | Flags::PATH, START_UNIX)
}

#[test]
fn a_source_outside_every_cluster_is_not_heard() {
    for source in [
        "203.0.113.1:4000",
        "10.2.0.5:4000",
        "10.1.0.5:3999",
        "[fd00:2::1]:4000",
    ] {
        let source = address(source);
        refused(
            source,
            &sealed(&header(), source, &rtp()),
            DropReason::SourceNotAllowed,
        );
    }
}

#[test]
fn an_owner_cannot_sign_as_another() {
    refused(
        other_owner(),
        &sealed(&header(), owner(), &rtp()),
        DropReason::HopMac,
    );
    refused(
        owner(),
        &sealed(&header(), other_owner(), &rtp()),
        DropReason::HopMac,
    );
}

#[test]
fn another_clusters_secret_is_worth_nothing() {
    let mut secrets = HopSecrets::default();
    secrets.insert(HOP_KEY, &[0xC4; 32]);
    let mut datagram = Vec::new();
    header()
        .seal(&secrets.pair(HOP_KEY, owner()).unwrap())
        .write_record(&rtp(), &mut datagram);
    refused(owner(), &datagram, DropReason::HopMac);
}

#[test]
fn a_key_id_without_a_secret_is_refused() {
    let mut secrets = HopSecrets::default();
    secrets.insert(3, &[0xC3; 32]);
    let mut datagram = Vec::new();
    let header = Header {
        key_id: 3,
        ..header()
    };
    header
        .seal(&secrets.pair(3, owner()).unwrap())
        .write_record(&rtp(), &mut datagram);
    refused(owner(), &datagram, DropReason::HopUnknownKey);
}

#[test]
fn an_up_record_that_comes_back_is_refused() {
    let header = Header {
        direction: Direction::Up,
        ..header()
    };
    refused(
        owner(),
        &sealed(&header, owner(), &rtp()),
        DropReason::HopDirection,
    );
}

#[test]
fn a_record_is_good_for_two_ticks_on_either_side() {
    for off in -5_i16..=5 {
        let header = Header {
            tick: header().tick.wrapping_add_signed(off),
            ..header()
        };
        let datagram = sealed(&header, owner(), &rtp());
        if off.abs() <= 2 {
            assert_eq!(
                Scene::new().down(owner(), &datagram).len(),
                1,
                "{off} ticks off"
            );
        } else {
            refused(owner(), &datagram, DropReason::HopTick);
        }
    }
}

#[test]
fn an_ingress_that_the_relay_does_not_have_is_refused() {
    for ingress in [2, 3, u16::MAX] {
        let header = Header {
            ingress,
            ..header()
        };
        refused(
            owner(),
            &sealed(&header, owner(), &rtp()),
            DropReason::UnknownIngress,
        );
    }
}

#[test]
fn a_return_hop_or_a_spent_hop_limit_is_refused() {
    let hop = Header {
        return_hop: Some(address("192.0.2.200:3478")),
        ..header()
    };
    refused(
        owner(),
        &sealed(&hop, owner(), &rtp()),
        DropReason::UnexpectedHop,
    );
    let spent = Header {
        hop_limit: 0,
        ..header()
    };
    refused(
        owner(),
        &sealed(&spent, owner(), &rtp()),
        DropReason::HopLimit,
    );
}

#[test]
fn a_client_that_no_packet_can_reach_is_refused() {
    for client in ["198.51.100.20:0", "224.0.0.1:5000", "[fe80::1]:5000"] {
        let header = down(address(client), Flags::CONFIRM | Flags::PATH, START_UNIX);
        refused(
            owner(),
            &sealed(&header, owner(), &rtp()),
            DropReason::ClientAddress,
        );
    }
}

#[test]
fn every_single_bit_flip_of_a_header_is_refused() {
    let datagram = sealed(&header(), owner(), &rtp());
    let header_len = datagram.len() - rtp().len();
    for bit in 0..header_len * 8 {
        let mut forged = datagram.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        // The length is not under the MAC: a shorter one delivers less, and leaves a rest that is
        // no record.
        if (80..96).contains(&bit) {
            continue;
        }
        let mut scene = Scene::new();
        scene.establish(client(), owner());
        assert_eq!(scene.down(owner(), &forged), [], "bit {bit}");
        assert_eq!(scene.drops().len(), 1, "bit {bit}");
    }
}

#[test]
fn a_forged_record_ends_its_datagram() {
    let mut datagram = sealed(&header(), owner(), &rtp());
    datagram.extend(sealed(&header(), other_owner(), &rtp()).repeat(5));
    datagram.extend(sealed(&header(), owner(), &rtp()));
    let mut scene = Scene::new();
    assert_eq!(scene.down(owner(), &datagram).len(), 1);
    assert_eq!(scene.drops(), [(DropReason::HopMac, 1)]);
}

#[test]
fn a_stale_record_does_not_hide_the_next() {
    let stale = Header {
        tick: header().tick.wrapping_sub(9),
        ..header()
    };
    let mut datagram = sealed(&stale, owner(), &rtp());
    datagram.extend(sealed(&header(), owner(), &rtp()));
    let mut scene = Scene::new();
    assert_eq!(scene.down(owner(), &datagram).len(), 1);
    assert_eq!(scene.drops(), [(DropReason::HopTick, 1)]);
}
