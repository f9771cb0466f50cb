//! *A flow entry is a cache*: a relay that lost them all loses no session.

mod common;

use common::*;
use firsthop_relay::DropReason;
use firsthop_wire::hop::Flags;

#[test]
fn a_talking_session_is_learned_again_from_its_next_down_record() {
    let mut before = Scene::new();
    before.establish(client(), owner());

    let mut after = Scene::new();
    assert_eq!(after.routed(client(), &rtp()), Err(DropReason::UnknownFlow));
    assert!(after.answer(owner(), client(), Flags::CONFIRM | Flags::PATH, &rtp()));
    assert_eq!(after.routed(client(), &rtp()), Ok(owner()));
}

#[test]
fn a_silent_session_is_learned_again_from_its_next_check() {
    let mut after = Scene::new();
    assert_eq!(after.routed(client(), &rtp()), Err(DropReason::UnknownFlow));
    assert_eq!(
        after.routed(client(), &binding_request(&ufrag(owner()))),
        Ok(owner())
    );
    assert!(after.answer(
        owner(),
        client(),
        Flags::CONFIRM | Flags::PATH,
        &binding_success()
    ));
    assert_eq!(after.routed(client(), &rtp()), Ok(owner()));
}
