//! A client connects, directly and through a relay, whatever the network does to its packets.

mod common;

use std::time::Duration;

use common::{CLEAN, Link, World, shard_address};
use firsthop_engine::shard::Command;
use firsthop_engine::{DropReason, Event};
use firsthop_wire::demux::{self, Kind};
use firsthop_wire::stun::{Binding, Class};
use str0m::config::DtlsVersion;

/// Connects, and sends a message each way.
fn connects(world: &mut World, version: DtlsVersion) {
    let client = world.call(version);
    world.connect(client);
    let session = world.clients[client].session;
    world.send_text(client, "ping");
    world.command(Command::Send(session, "pong".to_owned()));
    let arrived = |world: &World| {
        let ping = Event::Message {
            session,
            text: "ping".to_owned(),
        };
        world.clients[client].messages == ["pong"] && world.said(client).contains(&&ping)
    };
    assert!(world.run_until(Duration::from_secs(5), arrived));
    let connected = world
        .said(client)
        .into_iter()
        .filter(|event| matches!(event, Event::Connected { .. }))
        .count();
    assert_eq!(connected, 1);
}

fn worlds() -> [World; 2] {
    [World::direct(), World::relayed()]
}

#[test]
fn every_dtls_version_connects_directly_and_through_a_relay() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13, DtlsVersion::Auto] {
        for mut world in worlds() {
            connects(&mut world, version);
            assert!(
                world.now - world.start < Duration::from_millis(400),
                "{version} took {:?}",
                world.now - world.start
            );
        }
    }
}

#[test]
fn a_tenth_of_all_packets_lost_is_survived() {
    for seed in 0..8 {
        for mut world in worlds() {
            world.dice = common::Dice::new(seed);
            world.link.loss_percent = 10;
            connects(&mut world, DtlsVersion::Dtls12);
            connects(&mut world, DtlsVersion::Auto);
        }
    }
}

#[test]
fn a_long_way_is_survived() {
    for mut world in worlds() {
        world.link.delay = Duration::from_millis(150);
        connects(&mut world, DtlsVersion::Dtls12);
        connects(&mut world, DtlsVersion::Dtls13);
    }
}

#[test]
fn reordering_is_survived() {
    for seed in 0..8 {
        for mut world in worlds() {
            world.dice = common::Dice::new(seed);
            world.link = Link {
                jitter: Duration::from_millis(60),
                ..CLEAN
            };
            connects(&mut world, DtlsVersion::Dtls12);
            connects(&mut world, DtlsVersion::Auto);
        }
    }
}

/// Answers to our checks are held back, so that the client's ClientHello comes first.
#[test]
fn a_client_hello_that_comes_before_its_address_is_proved_waits_for_the_proof() {
    for mut world in worlds() {
        let client = world.call(DtlsVersion::Auto);
        world.lose_up = Some(|bytes| {
            Binding::parse(bytes).is_ok_and(|binding| binding.class == Class::BindingSuccess)
        });
        world.recorded = Some(Vec::new());
        let hello_came = |world: &World| {
            let recorded = world.recorded.iter().flatten();
            recorded
                .into_iter()
                .any(|arrival| demux::kind(&arrival.bytes) == Some(Kind::Dtls))
        };
        assert!(world.run_until(Duration::from_secs(1), hello_came));
        assert!(!world.clients[client].connected);
        // From here on the client is mute but for its answers: what was parked has to do.
        world.lose_up = Some(|bytes| {
            demux::kind(bytes) == Some(Kind::Dtls) && bytes[0] == 22 && bytes[13] == 1
        });
        world.connect(client);
        assert_eq!(world.dropped(DropReason::Unproved), 0);
    }
}

#[test]
fn two_clients_do_not_hear_each_other() {
    let mut world = World::relayed();
    let (one, two) = (world.connected_call(), world.connected_call());
    world.send_text(one, "from one");
    let session = world.clients[two].session;
    world.command(Command::Send(session, "to two".to_owned()));
    world.run(Duration::from_millis(100));
    assert!(world.clients[one].messages.is_empty());
    assert_eq!(world.clients[two].messages, ["to two"]);
    let heard_of_two = world
        .said(two)
        .into_iter()
        .any(|event| matches!(event, Event::Message { .. }));
    assert!(!heard_of_two);
}

#[test]
fn a_token_that_names_the_shard_is_needed() {
    let mut world = World::relayed();
    let client = world.call(DtlsVersion::Auto);
    world.recorded = Some(Vec::new());
    world.run(Duration::from_millis(50));
    let request = world.recorded.take().unwrap().remove(0);
    assert_eq!(request.from, world.clients[client].address);
    // The same request, sent to the shard's socket by something that is no relay.
    let mut output = firsthop_engine::shard::Output::default();
    let clock = world.clock();
    world
        .shard
        .receive(clock, shard_address(), &request.bytes, &mut output);
    assert!(output.packets.is_empty());
    assert_eq!(world.dropped(DropReason::NotFromRelay), 1);
}

#[test]
fn a_channel_that_both_sides_know_of_opens_without_a_word() {
    let mut world = World::direct();
    world.channel = Some(4);
    let client = world.connected_call();
    let session = world.clients[client].session;
    world.command(Command::Send(session, "first".to_owned()));
    world.send_text(client, "second");
    world.run(Duration::from_millis(100));
    assert_eq!(world.clients[client].messages, ["first"]);
    let heard = world
        .said(client)
        .into_iter()
        .any(|event| matches!(event, Event::Message { text, .. } if text == "second"));
    assert!(heard);
}
