//! *No lookup on the packet path*: packets of unknown flows wait, within bounds, while others go on.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::*;
use firsthop_relay::forwarder::{Ready, Verdict};
use firsthop_relay::{DropReason, FlowBytes, Notice};
use firsthop_wire::hop::Flags;

fn asking() -> Scene {
    let mut config = config();
    config.look_up = true;
    Scene::with(&config)
}

/// The flows that the relay asks for.
fn asked(scene: &mut Scene) -> Vec<FlowBytes> {
    let notices = scene.forwarder.take_notices();
    notices
        .filter_map(|notice| match notice {
            Notice::LookUp { flow } => Some(flow),
            Notice::Kept { .. } | Notice::Gone { .. } => None,
        })
        .collect()
}

fn ready(scene: &mut Scene) -> Vec<Ready> {
    scene.forwarder.take_ready().collect()
}

fn numbered(number: u8) -> Vec<u8> {
    let mut packet = rtp();
    packet[3] = number;
    packet
}

#[test]
fn parked_packets_go_on_in_order_when_the_owner_is_found() {
    let mut scene = asking();
    for number in 0..3 {
        assert_eq!(scene.up(client(), &numbered(number)), Verdict::Parked);
    }
    let flows = asked(&mut scene);
    assert_eq!(flows.len(), 1, "one question for one flow");
    scene.forwarder.answer(scene.now, &flows[0], Some(owner()));
    let ready = ready(&mut scene);
    assert!(ready.iter().all(|packet| packet.to == owner()));
    let numbers: Vec<u8> = ready.iter().map(|packet| packet.packet[3]).collect();
    assert_eq!(numbers, [0, 1, 2]);
    // From now on the flow is known, and nobody is asked.
    assert_eq!(scene.routed(client(), &rtp()), Ok(owner()));
    assert!(asked(&mut scene).is_empty());
    assert_eq!((scene.counters().flows_found, scene.drops()), (1, vec![]));
}

#[test]
fn the_return_path_answers_too() {
    let mut scene = asking();
    scene.up(client(), &numbered(1));
    let flows = asked(&mut scene);
    assert!(scene.answer(owner(), client(), Flags::CONFIRM | Flags::PATH, &rtp()));
    assert_eq!(ready(&mut scene).len(), 1);
    // A late answer, and a wrong one, changes nothing.
    scene
        .forwarder
        .answer(scene.now, &flows[0], Some(other_owner()));
    assert_eq!(scene.routed(client(), &rtp()), Ok(owner()));
    assert_eq!(scene.counters().flows_found, 0);
}

#[test]
fn a_lie_about_the_owner_leads_nowhere() {
    for lie in [
        "192.0.2.9:4000",
        "10.1.0.5:9",
        "127.0.0.1:4000",
        "[::1]:4000",
    ] {
        let mut scene = asking();
        scene.up(client(), &rtp());
        let flows = asked(&mut scene);
        scene
            .forwarder
            .answer(scene.now, &flows[0], Some(address(lie)));
        assert!(ready(&mut scene).is_empty());
        scene.wait(1);
        assert_eq!(scene.drops(), [(DropReason::UnknownFlow, 1)]);
        assert_eq!(scene.forwarder.flows(), 0);
    }
}

#[test]
fn a_flow_that_nobody_knows_is_not_asked_for_again_at_once() {
    let mut scene = asking();
    scene.up(client(), &rtp());
    let flows = asked(&mut scene);
    scene.forwarder.answer(scene.now, &flows[0], None);
    assert_eq!(scene.up(client(), &rtp()), Verdict::Parked);
    assert!(asked(&mut scene).is_empty());
    scene.wait(2);
    assert_eq!(scene.up(client(), &rtp()), Verdict::Parked);
    assert_eq!(asked(&mut scene).len(), 1);
}

#[test]
fn what_an_owner_says_in_time_saves_what_waits_though_nobody_else_knew() {
    for mut scene in [asking(), Scene::new()] {
        scene.up(client(), &numbered(1));
        for flow in asked(&mut scene) {
            scene.forwarder.answer(scene.now, &flow, None);
        }
        scene.now.elapsed += Duration::from_millis(20);
        scene.up(client(), &numbered(2));
        assert!(scene.answer(owner(), client(), Flags::CONFIRM | Flags::PATH, &rtp()));
        let numbers: Vec<u8> = ready(&mut scene)
            .iter()
            .map(|ready| ready.packet[3])
            .collect();
        assert_eq!((numbers, scene.drops()), (vec![1, 2], vec![]));
    }
}

#[test]
fn without_an_answer_packets_are_given_up_in_time() {
    let mut scene = asking();
    scene.up(client(), &rtp());
    scene.up(client(), &rtp());
    assert_eq!(scene.forwarder.deadline(), Some(Duration::from_millis(50)));
    scene.now.elapsed += Duration::from_millis(50);
    scene.forwarder.give_up_parked(scene.now);
    assert_eq!(scene.drops(), [(DropReason::UnknownFlow, 2)]);
    assert_eq!(scene.forwarder.deadline(), None);
}

#[test]
fn a_flood_of_strangers_neither_grows_nor_touches_known_flows() {
    let mut scene = asking();
    scene.establish(client(), owner());
    let mut parked = 0_u64;
    for port in 1..=60_000 {
        let stranger = SocketAddr::from(([203, 0, 113, 9], port));
        match scene.up(stranger, &rtp()) {
            Verdict::Parked => parked += 1,
            verdict => assert_eq!(verdict, Verdict::Drop(DropReason::ParkingFull)),
        }
        if port % 1000 == 0 {
            assert_eq!(scene.routed(client(), &rtp()), Ok(owner()));
        }
    }
    assert_eq!(parked, 1024);
    assert_eq!(asked(&mut scene).len(), 1024);
    assert_eq!(scene.forwarder.flows(), 1);
}

#[test]
fn the_control_plane_hears_of_proved_flows_only() {
    let mut scene = asking();
    assert!(scene.answer(owner(), client(), Flags::CONFIRM, &binding_success()));
    assert_eq!(scene.forwarder.take_notices().len(), 0);
    assert!(scene.answer(owner(), client(), Flags::CONFIRM | Flags::PATH, &rtp()));
    let notices: Vec<_> = scene.forwarder.take_notices().collect();
    let [Notice::Kept { flow, owner: told }] = notices[..] else {
        panic!("{notices:?}");
    };
    assert_eq!(told, owner());

    // It hears again while the flow lives,
    let mut again = 0;
    for _ in 0..100 {
        scene.wait(1);
        assert_eq!(scene.routed(client(), &rtp()), Ok(owner()));
        again += scene.forwarder.take_notices().len();
    }
    assert!((2..=4).contains(&again), "{again} times in 100 s");

    // when it moves, and when it ends.
    let proved = Flags::CONFIRM | Flags::PATH;
    assert!(scene.answer(other_owner(), client(), proved, &rtp()));
    let moved = Notice::Kept {
        flow,
        owner: other_owner(),
    };
    assert!(scene.forwarder.take_notices().eq([moved]));
    assert!(scene.answer(other_owner(), client(), Flags::RELEASE, &rtp()));
    assert!(scene.forwarder.take_notices().eq([Notice::Gone { flow }]));
    // And what its client still sends is no question to anybody.
    let verdict = scene.up(client(), &rtp());
    assert_eq!(verdict, Verdict::Drop(DropReason::UnknownFlow));
    assert_eq!(scene.forwarder.take_notices().len(), 0);
}

#[test]
fn a_relay_with_nobody_to_ask_tells_nothing() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    scene.up(other_client(), &rtp());
    scene.answer(owner(), client(), Flags::RELEASE, &rtp());
    assert_eq!(scene.forwarder.take_notices().len(), 0);
    scene.wait(1);
    assert_eq!(scene.drops(), [(DropReason::UnknownFlow, 1)]);
}

fn other_client() -> SocketAddr {
    address("198.51.100.21:61000")
}
