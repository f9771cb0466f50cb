//! A client that arrives through another relay is answered through that one, once a packet that
//! only the client can have made came that way.

mod common;

use std::time::Duration;

use common::{World, opus_packets, sweep};
use firsthop_engine::DropReason;
use firsthop_wire::demux::{self, Kind};

/// A client in a call through relay 0, the agent talking for half a minute.
fn call(world: &mut World) -> usize {
    let client = world.connected_call();
    world.play(client, 30_000);
    world.run(Duration::from_secs(1));
    assert_eq!(world.passed_down[1], 0);
    client
}

#[test]
fn answers_follow_the_clients_next_check() {
    let mut world = World::relayed();
    let client = call(&mut world);
    world.via = Some(1);
    assert!(world.run_until(Duration::from_millis(3100), |w| w.passed_down[1] > 0));
    world.run(Duration::from_millis(100));
    let (old, new) = (world.passed_down[0], world.passed_down[1]);
    world.run(Duration::from_secs(5));
    assert_eq!(world.passed_down[0], old, "nothing goes the old way");
    assert!(world.passed_down[1] > new + 240);
    assert_eq!(world.gaps(client), 0);
}

#[test]
fn answers_follow_the_first_srtp_packet_when_the_new_relay_knows_the_flow() {
    let mut world = World::relayed();
    let client = call(&mut world);
    world.flow_cache = true;
    world.via = Some(1);
    world.speak(client, &opus_packets(&sweep(200)));
    world.run(Duration::from_millis(100));
    let old = world.passed_down[0];
    world.run(Duration::from_secs(1));
    assert_eq!(world.passed_down[0], old);
    assert!(world.passed_down[1] > 49);
    assert_eq!(world.gaps(client), 0);
}

#[test]
fn what_the_relay_before_passed_on_in_vain_comes_by_the_new_one() {
    let mut world = World::relayed();
    let client = call(&mut world);
    world.flow_cache = true;
    world.speak(client, &opus_packets(&sweep(25_000)));
    for step in 0..20 {
        let (old, new) = (step % 2, (step + 1) % 2);
        world.via = Some(new);
        world.forgotten = Some(old);
        // At any moment between two packets, and not again within a second.
        world.run(Duration::from_millis(1001 + step as u64 * 3));
        assert_eq!(world.gaps(client), 0, "move {step}");
    }
}

#[test]
fn what_only_claims_to_be_the_client_moves_nothing() {
    let mut world = World::relayed();
    let client = call(&mut world);
    let from = world.clients[client].address;
    world.recorded = Some(Vec::new());
    world.speak(client, &opus_packets(&sweep(200)));
    world.run(Duration::from_secs(3));
    let recorded = world.recorded.take().unwrap();
    // No STUN comes that way, but everything else: copies, and copies with a bit flipped.
    world.flow_cache = true;
    world.via = Some(1);
    world.lose_up = Some(|_| true);
    for arrival in recorded {
        if demux::kind(&arrival.bytes) == Some(Kind::Stun) {
            continue;
        }
        world.inject(from, &arrival.bytes);
        for bit in [20, 50, 8 * arrival.bytes.len() - 1] {
            let mut flipped = arrival.bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            world.inject(from, &flipped);
        }
        world.run(Duration::from_millis(5));
    }
    assert_eq!(world.passed_down[1], 0);
    assert_eq!(world.gaps(client), 0);
}

#[test]
fn a_header_that_no_relay_of_the_cluster_sealed_is_dropped() {
    let mut world = World::relayed();
    let client = call(&mut world);
    world.recorded = Some(Vec::new());
    world.run(Duration::from_secs(3));
    let from = world.clients[client].address;
    let recorded = world.recorded.take().unwrap();
    for arrival in recorded.iter().filter(|arrival| arrival.from == from) {
        world.inject_forged(1, from, &arrival.bytes);
    }
    world.run(Duration::from_millis(100));
    assert!(world.dropped(DropReason::HopMac) > 0);
    assert_eq!(world.passed_down[1], 0);
}
