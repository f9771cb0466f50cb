//! *A binding request follows its own token; everything else follows the flow.* Nobody takes a
//! flow away by sending from its address.

mod common;

use common::*;
use firsthop_relay::DropReason;
use firsthop_wire::hop::Flags;

#[test]
fn a_spoofed_binding_request_with_a_valid_token_moves_no_flow() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    let attack = binding_request(&ufrag(other_owner()));
    for _ in 0..1000 {
        assert_eq!(scene.routed(client(), &attack), Ok(other_owner()));
        assert_eq!(
            scene.routed(client(), &rtp()),
            Ok(owner()),
            "the victim lost a packet"
        );
    }
    assert_eq!(scene.counters().flows_moved, 0);
}

#[test]
fn a_confirm_of_another_owner_neither_moves_the_flow_nor_is_delivered() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    for flags in [Flags::default(), Flags::CONFIRM, Flags::PATH] {
        assert!(!scene.answer(other_owner(), client(), flags, &binding_success()));
        assert_eq!(scene.routed(client(), &rtp()), Ok(owner()));
    }
    assert_eq!(scene.drops(), [(DropReason::NotOwner, 3)]);
}

#[test]
fn an_address_that_proved_nothing_pins_no_flow() {
    let mut scene = Scene::new();
    // Somebody with a session of their own spoofs the client's address before the client calls.
    assert!(scene.answer(other_owner(), client(), Flags::CONFIRM, &binding_success()));
    assert_eq!(scene.routed(client(), &rtp()), Ok(other_owner()));
    // The client's own check moves the flow, so that its answer can prove the path.
    assert!(scene.answer(owner(), client(), Flags::CONFIRM, &binding_success()));
    assert_eq!(scene.routed(client(), &binding_success()), Ok(owner()));
    let proof = Flags::CONFIRM | Flags::PATH;
    assert!(scene.answer(owner(), client(), proof, &rtp()));
    assert!(!scene.answer(other_owner(), client(), Flags::CONFIRM, &binding_success()));
    assert_eq!(scene.routed(client(), &rtp()), Ok(owner()));
}

#[test]
fn another_owner_cannot_end_a_flow() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    let all = Flags::CONFIRM | Flags::PATH;
    let attempts = [
        Flags::RELEASE,
        Flags::RELEASE | all,
        Flags::NO_SESSION,
        Flags::NO_SESSION | all,
    ];
    for flags in attempts {
        assert!(!scene.answer(other_owner(), client(), flags, b""));
        assert!(!scene.answer(other_owner(), client(), flags, b"bye"));
        assert_eq!(scene.routed(client(), &rtp()), Ok(owner()));
    }
    assert_eq!(scene.drops(), [(DropReason::NotOwner, 8)]);
}

#[test]
fn a_proved_path_moves_the_flow_to_its_new_owner() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    let proof = Flags::CONFIRM | Flags::PATH;
    assert!(scene.answer(other_owner(), client(), proof, &binding_success()));
    assert_eq!(scene.routed(client(), &rtp()), Ok(other_owner()));
    assert!(
        !scene.answer(owner(), client(), Flags::CONFIRM, &rtp()),
        "the old owner is out"
    );
    let counters = scene.counters();
    assert_eq!(
        (counters.flows, counters.flows_created, counters.flows_moved),
        (1, 1, 1)
    );
}

#[test]
fn requests_for_another_owner_do_not_keep_a_silent_flow_alive() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    for _ in 0..40 {
        assert_eq!(
            scene.routed(client(), &binding_request(&ufrag(other_owner()))),
            Ok(other_owner())
        );
        scene.wait(1);
    }
    assert_eq!(scene.forwarder.flows(), 0);
}
