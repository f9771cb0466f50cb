//! *No state before an answer*: a flood of spoofed binding requests allocates nothing.

mod common;

use std::net::{Ipv4Addr, SocketAddr};

use common::*;
use firsthop_relay::DropReason;

fn spoofed(number: u32) -> SocketAddr {
    SocketAddr::new(
        Ipv4Addr::from_bits(0x0B00_0000 + number).into(),
        1024 + (number % 60000) as u16,
    )
}

#[test]
fn a_hundred_thousand_valid_requests_from_everywhere_leave_no_flow() {
    let mut scene = Scene::new();
    let request = binding_request(&ufrag(owner()));
    for number in 0..100_000 {
        assert_eq!(scene.routed(spoofed(number), &request), Ok(owner()));
    }
    assert_eq!(scene.forwarder.flows(), 0);
    assert_eq!(scene.counters().flows_created, 0);
}

#[test]
fn a_flood_of_everything_else_leaves_no_flow_and_reaches_nobody() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    for number in 0..100_000 {
        let packet = if number % 2 == 0 {
            rtp()
        } else {
            binding_request("short")
        };
        assert!(scene.routed(spoofed(number), &packet).is_err());
    }
    assert_eq!(scene.forwarder.flows(), 1);
    let parked = 1024;
    assert_eq!(
        scene.drops(),
        [
            (DropReason::TokenShape, 50_000),
            (DropReason::ParkingFull, 50_000 - parked)
        ]
    );
    scene.wait(1);
    assert_eq!(scene.counters().dropped(DropReason::UnknownFlow), parked);
    assert_eq!(
        scene.routed(client(), &rtp()),
        Ok(owner()),
        "the live call suffers"
    );
}
