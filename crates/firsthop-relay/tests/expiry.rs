//! *A flow entry is a cache*: it goes when nothing passes, and stays while something does.

mod common;

use common::*;
use firsthop_relay::DropReason;
use firsthop_wire::hop::Flags;

/// 35 seconds, and the two that whole seconds may add.
const IDLE: u64 = 37;

#[test]
fn a_silent_flow_is_forgotten() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    scene.wait(35);
    assert_eq!(scene.forwarder.flows(), 1);
    scene.wait(IDLE - 35);
    assert_eq!(scene.forwarder.flows(), 0);
    assert_eq!(scene.routed(client(), &rtp()), Err(DropReason::UnknownFlow));
    let counters = scene.counters();
    assert_eq!((counters.flows, counters.flows_expired), (0, 1));
}

#[test]
fn a_packet_either_way_keeps_a_flow() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    for _ in 0..5 {
        scene.wait(30);
        assert_eq!(scene.routed(client(), &rtp()), Ok(owner()));
    }
    for _ in 0..5 {
        scene.wait(30);
        assert!(scene.answer(owner(), client(), Flags::default(), &rtp()));
    }
    assert_eq!(scene.counters().flows_expired, 0);
}

#[test]
fn a_binding_request_for_the_flows_owner_keeps_it() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    for _ in 0..5 {
        scene.wait(30);
        assert_eq!(
            scene.routed(client(), &binding_request(&ufrag(owner()))),
            Ok(owner())
        );
    }
    assert_eq!(scene.forwarder.flows(), 1);
}

#[test]
fn a_forgotten_flow_is_learned_again() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    scene.wait(IDLE);
    scene.establish(client(), owner());
    assert_eq!(scene.counters().flows_created, 2);
}
