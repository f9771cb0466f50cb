//! An attacker with a valid session of its own cannot take a victim's packets by spoofing the
//! victim's address, nor have the victim's flow forgotten.

mod common;

use std::time::Duration;

use common::{Arrival, World, opus_packets, sweep};
use firsthop_engine::DropReason;
use firsthop_engine::shard::Command;
use firsthop_wire::stun::Binding;
use str0m::config::DtlsVersion;

/// A victim in a call, talking both ways for half a minute.
fn victim(world: &mut World) -> usize {
    let victim = world.connected_call();
    world.play(victim, 30_000);
    world.speak(victim, &opus_packets(&sweep(30_000)));
    world.run(Duration::from_secs(1));
    victim
}

/// The victim lost no packet either way, and stays connected.
fn unharmed(world: &mut World, victim: usize) {
    world.run(Duration::from_secs(2));
    assert_eq!(world.closed(world.clients[victim].session), None);
    assert_eq!(world.gaps(victim), 0);
    let heard = world.clients[victim].heard.len();
    let heard_ms = heard as u128 * 20;
    let elapsed = (world.now - world.clients[victim].heard[0].at).as_millis();
    assert!(
        elapsed.abs_diff(heard_ms) <= 40,
        "{elapsed} ms, {heard_ms} heard"
    );
    let said: usize = world
        .audio_of(victim)
        .iter()
        .map(|(_, pcm)| pcm.len())
        .sum();
    let said_ms = said as u128 * 1000 / u128::from(common::RATE);
    assert!(
        elapsed.abs_diff(said_ms) < 100,
        "{elapsed} ms, {said_ms} said"
    );
    if world.via.is_some() {
        let lost = world.relay_counters[0]
            .snapshot()
            .dropped(firsthop_relay::DropReason::UnknownFlow);
        assert_eq!(lost, 0);
    }
}

fn worlds() -> [World; 2] {
    [World::direct(), World::relayed()]
}

#[test]
fn a_spoofed_binding_request_does_not_take_over_an_address() {
    for mut world in worlds() {
        let victim = victim(&mut world);
        let attacker = world.call(DtlsVersion::Auto);
        // All that the attacker sends seems to come from the victim; all answers go there.
        world.clients[attacker].address = world.clients[victim].address;
        unharmed(&mut world, victim);
        world.run(Duration::from_secs(8));
        unharmed(&mut world, victim);
        assert!(!world.clients[attacker].connected);
    }
}

#[test]
fn a_connected_attacker_that_spoofs_and_hangs_up_does_not_have_the_victim_forgotten() {
    for mut world in worlds() {
        let victim = victim(&mut world);
        let attacker = world.connected_call();
        world.clients[attacker].address = world.clients[victim].address;
        // Two of its checks come from the victim's address.
        world.run(Duration::from_secs(6));
        let session = world.clients[attacker].session;
        world.command(Command::Close(session));
        unharmed(&mut world, victim);
        assert!(world.closed(session).is_some());
    }
}

#[test]
fn a_release_names_no_address_that_another_session_holds() {
    let mut world = World::relayed();
    // Nothing goes down to the victim from which the relay could learn its flow again.
    let victim = world.connected_call();
    world.run(Duration::from_secs(1));
    let attacker = world.connected_call();
    world.clients[attacker].address = world.clients[victim].address;
    world.run(Duration::from_secs(6));
    assert_eq!(world.relays[0].flows(), 2);
    let session = world.clients[attacker].session;
    world.command(Command::Close(session));
    world.run(Duration::from_millis(250));
    assert!(world.closed(session).is_some());
    let released = world.relay_counters[0].snapshot().flows_released;
    assert_eq!(released, 1, "only the attacker's own");
    world.speak(victim, &opus_packets(&sweep(200)));
    world.run(Duration::from_millis(300));
    let dropped = world.relay_counters[0].snapshot();
    assert_eq!(dropped.dropped(firsthop_relay::DropReason::UnknownFlow), 0);
}

#[test]
fn a_dead_token_from_the_victims_address_does_not_have_the_victim_forgotten() {
    for mut world in worlds() {
        let victim = victim(&mut world);
        let dead = world.call(DtlsVersion::Auto);
        world.recorded = Some(Vec::new());
        world.connect(dead);
        let recorded = world.recorded.take().unwrap();
        let address = world.clients[dead].address;
        let names_it = |arrival: &Arrival| {
            arrival.from == address
                && Binding::parse(&arrival.bytes).is_ok_and(|b| b.server_ufrag().is_some())
        };
        let request = recorded.into_iter().rfind(names_it).unwrap();
        let session = world.clients[dead].session;
        world.command(Command::Close(session));
        world.clients[dead].off = true;
        world.run(Duration::from_secs(1));
        for _ in 0..50 {
            world.inject(world.clients[victim].address, &request.bytes);
            world.run(Duration::from_millis(10));
        }
        assert_eq!(world.dropped(DropReason::UnknownSession), 50);
        unharmed(&mut world, victim);
    }
}

#[test]
fn an_attacker_that_comes_first_delays_nobody() {
    for mut world in worlds() {
        // The attacker knows where the victim will come from, and claims it before.
        let victim = world.call(DtlsVersion::Auto);
        let attacker = world.call(DtlsVersion::Auto);
        let address = world.clients[victim].address;
        world.clients[attacker].address = address;
        world.clients[victim].off = true;
        world.run(Duration::from_millis(100));
        world.clients[victim].off = false;
        let start = world.now;
        world.connect(victim);
        assert!(world.now - start < Duration::from_secs(1));
    }
}
