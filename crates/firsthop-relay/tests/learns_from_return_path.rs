//! *No state before an answer*: flows are learned from what owners send back, and from nothing else.

mod common;

use common::*;
use firsthop_relay::DropReason;
use firsthop_relay::forwarder::Verdict;
use firsthop_wire::hop::{self, Flags};

#[test]
fn a_binding_request_goes_to_the_owner_that_its_token_names_and_leaves_nothing_behind() {
    let mut scene = Scene::new();
    for owner in [owner(), other_owner(), address("[fd00:1::ab]:4010")] {
        assert_eq!(
            scene.routed(client(), &binding_request(&ufrag(owner))),
            Ok(owner)
        );
    }
    assert_eq!(scene.forwarder.flows(), 0);
    assert_eq!(scene.drops(), []);
}

#[test]
fn a_flow_is_created_by_a_confirm_of_the_owner() {
    let mut scene = Scene::new();
    assert_eq!(scene.routed(client(), &rtp()), Err(DropReason::UnknownFlow));
    assert!(scene.answer(owner(), client(), Flags::CONFIRM, &binding_success()));
    assert_eq!(scene.routed(client(), &rtp()), Ok(owner()));
    let counters = scene.counters();
    assert_eq!((counters.flows, counters.flows_created), (1, 1));
}

#[test]
fn an_answer_without_confirm_creates_nothing_and_is_not_delivered() {
    let mut scene = Scene::new();
    for flags in [Flags::default(), Flags::PATH, Flags::RELEASE] {
        assert!(!scene.answer(owner(), client(), flags, &binding_success()));
    }
    assert_eq!(scene.forwarder.flows(), 0);
    assert_eq!(scene.drops(), [(DropReason::NoFlow, 3)]);
}

#[test]
fn a_confirm_may_come_without_a_packet() {
    let mut scene = Scene::new();
    assert!(!scene.answer(owner(), client(), Flags::CONFIRM, &[]));
    assert_eq!(scene.routed(client(), &rtp()), Ok(owner()));
    assert_eq!(scene.drops(), []);
}

#[test]
fn everything_but_a_binding_request_follows_the_flow() {
    let mut scene = Scene::new();
    let dtls = [22, 254, 253, 0];
    let messages = [
        binding_success(),
        stun(0x0111, None),
        stun(0x0011, None),
        dtls.to_vec(),
        rtp(),
    ];
    for message in &messages {
        assert_eq!(
            scene.routed(client(), message),
            Err(DropReason::UnknownFlow)
        );
    }
    scene.establish(client(), owner());
    for message in &messages {
        assert_eq!(scene.routed(client(), message), Ok(owner()));
    }
}

#[test]
fn a_flow_belongs_to_the_public_socket_that_the_client_used() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    let elsewhere = scene.forwarder.ingress(scene.now, client(), 1, &rtp());
    assert_eq!(elsewhere, Verdict::Parked);
}

#[test]
fn the_return_path_names_the_public_socket() {
    let mut scene = Scene::new();
    let browser = address("[2001:db8:77::9]:50000");
    let mut header = down(browser, Flags::CONFIRM, START_UNIX);
    header.ingress = 1;
    let delivered = scene.down(owner(), &sealed(&header, owner(), &binding_success()));
    let expected = Delivered {
        ingress: 1,
        client: browser,
        payload: binding_success(),
    };
    assert_eq!(delivered, [expected]);
}

#[test]
fn one_datagram_brings_many_records() {
    let mut scene = Scene::new();
    let mut datagram = Vec::new();
    let clients: Vec<_> = (1..=8)
        .map(|port| address(&format!("198.51.100.9:{port}")))
        .collect();
    for &client in &clients {
        let header = down(client, Flags::CONFIRM, START_UNIX);
        datagram.extend(sealed(&header, owner(), &rtp()));
    }
    datagram.extend([0; 100]);
    let delivered: Vec<_> = scene
        .down(owner(), &datagram)
        .into_iter()
        .map(|delivered| delivered.client)
        .collect();
    assert_eq!(delivered, clients);
    assert_eq!(scene.forwarder.flows(), 8);
    assert_eq!(scene.drops(), []);
}

#[test]
fn a_client_behind_a_dual_stack_socket_is_the_same_client() {
    let mut scene = Scene::new();
    scene.establish(address("198.51.100.20:61000"), owner());
    match scene.up(address("[::ffff:198.51.100.20]:61000"), &rtp()) {
        Verdict::Forward { to, header } => {
            assert_eq!(to, owner());
            assert_eq!(header.len(), 24, "an IPv4 header");
        }
        verdict => panic!("{verdict:?}"),
    }
}

#[test]
fn an_owner_that_names_a_client_by_its_mapped_address_means_the_same_client() {
    let mut scene = Scene::new();
    let header = down(
        address("[::ffff:198.51.100.20]:61000"),
        Flags::CONFIRM,
        START_UNIX,
    );
    let delivered = scene.down(owner(), &sealed(&header, owner(), &binding_success()));
    assert_eq!(delivered[0].client, client());
    assert_eq!(scene.routed(client(), &rtp()), Ok(owner()));
}

#[test]
fn the_header_of_a_flow_is_sealed_anew_each_tick() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    let mut headers = std::collections::HashSet::new();
    for _ in 0..3 * hop::TICK_SECONDS {
        // `routed` verifies the header under the present tick.
        assert_eq!(scene.routed(client(), &rtp()), Ok(owner()));
        if let Verdict::Forward { header, .. } = scene.up(client(), &rtp()) {
            let mut bytes = Vec::new();
            header.write_record(&[], &mut bytes);
            headers.insert(bytes);
        }
        scene.wait(1);
    }
    assert!(
        (3..=4).contains(&headers.len()),
        "{} headers in three ticks",
        headers.len()
    );
}

#[test]
fn a_release_delivers_its_packet_and_ends_the_flow() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    assert!(scene.answer(owner(), client(), Flags::RELEASE, &[21, 254, 253]));
    assert_eq!(scene.routed(client(), &rtp()), Err(DropReason::UnknownFlow));
    assert_eq!(scene.counters().flows_released, 1);
}

#[test]
fn a_release_creates_no_flow() {
    let mut scene = Scene::new();
    let flags = Flags::CONFIRM | Flags::RELEASE;
    assert!(scene.answer(owner(), client(), flags, &[21, 254, 253]));
    let counters = scene.counters();
    assert_eq!(
        (
            counters.flows,
            counters.flows_created,
            counters.flows_released
        ),
        (0, 0, 0)
    );
}

#[test]
fn no_session_ends_the_flow_and_delivers_nothing() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    assert!(!scene.answer(owner(), client(), Flags::NO_SESSION, b"ignored"));
    assert_eq!(scene.forwarder.flows(), 0);
    assert!(!scene.answer(owner(), client(), Flags::NO_SESSION, &[]));
    assert_eq!(scene.drops(), [(DropReason::NoSession, 2)]);
}

#[test]
fn a_full_table_refuses_to_remember_and_still_delivers() {
    let mut small = config();
    small.flow_capacity = 2;
    let mut scene = Scene::with(&small);
    for port in 1..=2 {
        scene.establish(address(&format!("198.51.100.9:{port}")), owner());
    }
    assert!(scene.answer(owner(), client(), Flags::CONFIRM, &binding_success()));
    assert_eq!(scene.routed(client(), &rtp()), Err(DropReason::UnknownFlow));
    assert_eq!(scene.counters().dropped(DropReason::FlowTableFull), 1);
    scene.wait(11);
    scene.establish(client(), owner());
    assert_eq!(scene.counters().flows_evicted, 1);
}
