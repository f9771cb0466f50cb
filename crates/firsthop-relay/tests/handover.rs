//! A flow table moves to another process as it is, though it changes on the way.

mod common;

use std::net::SocketAddr;

use common::*;
use firsthop_relay::{DropReason, Forwarder};
use firsthop_wire::hop::Flags;

fn client_number(number: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], 10_000 + number))
}

/// Everything that `old` exports while it runs goes into `new`.
fn export(old: &mut Scene, new: &mut Scene) {
    let mut first = 0;
    while let Some(page) = old.forwarder.export(old.now, first) {
        new.forwarder.restore(new.now, &page);
        first += Forwarder::PAGE;
    }
}

fn large() -> Scene {
    let mut config = config();
    config.flow_capacity = 10_000;
    Scene::with(&config)
}

#[test]
fn flows_that_come_change_and_go_during_the_handover_arrive_as_they_are() {
    let (mut old, mut new) = (large(), large());
    for number in 0..5000 {
        old.establish(client_number(number), owner());
    }
    let mut page = 0;
    while let Some(bytes) = old.forwarder.export(old.now, page * Forwarder::PAGE) {
        new.forwarder.restore(new.now, &bytes);
        // One moves, one ends and one begins, among those written and those not yet written.
        for (place, number) in [page as u16, 4000 + page as u16].into_iter().enumerate() {
            let proved = Flags::CONFIRM | Flags::PATH;
            assert!(old.answer(other_owner(), client_number(number), proved, &rtp()));
            let ending = client_number(1000 * (1 + place as u16) + page as u16);
            assert!(old.answer(owner(), ending, Flags::RELEASE, &rtp()));
            old.establish(client_number(6000 + number), owner());
        }
        page += 1;
    }
    let changes = old.forwarder.changes();
    new.forwarder.restore(new.now, &changes);

    assert_eq!(new.forwarder.flows(), old.forwarder.flows());
    for number in 0..12_000 {
        let client = client_number(number);
        assert_eq!(
            new.routed(client, &rtp()).ok(),
            old.routed(client, &rtp()).ok(),
            "{client}"
        );
    }
}

#[test]
fn a_flow_is_as_old_after_the_handover_as_before() {
    let (mut old, mut new) = (Scene::new(), Scene::new());
    old.establish(client(), owner());
    old.wait(30);
    new.wait(30);
    export(&mut old, &mut new);
    assert_eq!(new.routed(client(), &rtp()), Ok(owner()));

    let mut silent = Scene::new();
    silent.wait(30);
    export(&mut old, &mut silent);
    silent.wait(7);
    assert_eq!(
        silent.routed(client(), &rtp()),
        Err(DropReason::UnknownFlow)
    );
}

#[test]
fn what_is_proved_stays_proved_and_what_is_not_does_not_become_it() {
    let (mut old, mut new) = (Scene::new(), Scene::new());
    let (proved, claimed) = (client_number(1), client_number(2));
    old.establish(proved, owner());
    assert!(old.answer(owner(), claimed, Flags::CONFIRM, &binding_success()));
    export(&mut old, &mut new);
    assert!(!new.answer(other_owner(), proved, Flags::CONFIRM, &rtp()));
    assert!(new.answer(other_owner(), claimed, Flags::CONFIRM, &rtp()));
}

#[test]
fn garbage_is_passed_over() {
    let mut scene = Scene::new();
    let mut random = Random(7);
    for length in 0..500 {
        let mut bytes = vec![0; length];
        random.fill(&mut bytes);
        scene.forwarder.restore(scene.now, &bytes);
    }
    // An owner outside the clusters is no owner, whoever says so.
    assert_eq!(scene.forwarder.flows(), 0);
}
