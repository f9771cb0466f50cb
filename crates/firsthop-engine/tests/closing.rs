//! Every session ends once, with the right reason; client and relay learn of it; nothing of it
//! stays behind.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{World, opus_packets, session_of, sweep};
use firsthop_engine::shard::Command;
use firsthop_engine::{CloseReason, DropReason, Event};
use str0m::config::DtlsVersion;

fn worlds() -> [World; 2] {
    [World::direct(), World::relayed()]
}

/// Nothing is left in the shard, nor in the relay of what the shard could release.
fn nothing_is_left(world: &World) {
    assert_eq!(world.shard.remembered(), [0; 4]);
    assert_eq!(world.shard.deadline(), None);
    assert_eq!(world.sessions(), 0);
    assert_eq!(world.relays[0].flows(), 0);
}

/// The session of `client` has ended for `reason`, and said nothing after that.
fn ended(world: &World, client: usize, reason: CloseReason) {
    let session = world.clients[client].session;
    assert_eq!(world.closed(session), Some(reason));
    let mut events = world.events.iter().rev().map(|(_, event)| event);
    let last = events.find(|event| session_of(event) == session).unwrap();
    assert!(matches!(last, Event::Closed { .. }), "{last:?}");
}

#[test]
fn a_client_learns_that_the_server_hung_up() {
    for mut world in worlds() {
        let client = world.connected_call();
        let session = world.clients[client].session;
        world.play(client, 1000);
        world.speak(client, &opus_packets(&sweep(1000)));
        world.run(Duration::from_millis(500));
        world.command(Command::Close(session));
        // Twice is once, and a session that is gone takes no more.
        world.command(Command::Close(session));
        world.play(client, 1000);
        world.run(Duration::from_millis(300));
        assert!(world.clients[client].closed);
        ended(&world, client, CloseReason::HungUp);
        let account = |event: &&Event| {
            matches!(
                event,
                Event::PlayoutEnded {
                    played_ms: 500..=520,
                    interrupted: true,
                    ..
                }
            )
        };
        assert_eq!(world.said(client).iter().filter(|e| account(e)).count(), 1);
        nothing_is_left(&world);
    }
}

#[test]
fn a_client_that_closes_is_let_go() {
    for mut world in worlds() {
        let client = world.connected_call();
        world.play(client, 1000);
        world.hang_up(client);
        world.run(Duration::from_millis(300));
        ended(&world, client, CloseReason::ClientClosed);
        nothing_is_left(&world);
    }
}

#[test]
fn a_call_without_a_data_channel_closes_from_either_side() {
    for by_client in [false, true] {
        for mut world in worlds() {
            let client = world.call_with(DtlsVersion::Auto, false);
            let session = world.clients[client].session;
            world.run(Duration::from_millis(200));
            assert!(world.clients[client].connected);
            if by_client {
                world.hang_up(client);
            } else {
                world.command(Command::Close(session));
            }
            world.run(Duration::from_millis(300));
            let reason = if by_client {
                CloseReason::ClientClosed
            } else {
                CloseReason::HungUp
            };
            ended(&world, client, reason);
            assert!(by_client || world.clients[client].closed);
            nothing_is_left(&world);
        }
    }
}

#[test]
fn a_client_that_never_comes_times_out() {
    for mut world in worlds() {
        let client = world.call(DtlsVersion::Auto);
        world.clients[client].off = true;
        world.run(Duration::from_millis(14_990));
        assert_eq!(world.closed(world.clients[client].session), None);
        world.run(Duration::from_millis(300));
        ended(&world, client, CloseReason::SetupTimeout);
        nothing_is_left(&world);
    }
}

#[test]
fn a_client_that_stops_half_way_times_out() {
    for milliseconds in 0..60 {
        for mut world in worlds() {
            let client = world.call(DtlsVersion::Dtls12);
            world.run(Duration::from_millis(milliseconds));
            world.clients[client].off = true;
            world.run(Duration::from_secs(16));
            let connected = |event: &&Event| matches!(event, Event::Connected { .. });
            if !world.said(client).iter().any(connected) {
                ended(&world, client, CloseReason::SetupTimeout);
                nothing_is_left(&world);
            }
        }
    }
}

#[test]
fn a_client_that_refuses_the_handshake_ends_the_session_at_once() {
    for mut world in worlds() {
        let client = world.call(DtlsVersion::Dtls12);
        let from = world.clients[client].address;
        world.recorded = Some(Vec::new());
        let hello = |world: &World| world.recorded.iter().flatten().any(|a| a.bytes[0] == 22);
        assert!(world.run_until(Duration::from_secs(1), hello));
        world.run(Duration::from_millis(1));
        // A fatal handshake_failure, as when no cipher suite suits.
        world.inject(from, &[21, 254, 253, 0, 0, 0, 0, 0, 0, 2, 0, 0, 2, 2, 40]);
        world.clients[client].off = true;
        world.run(Duration::from_millis(300));
        ended(&world, client, CloseReason::ProtocolError);
        nothing_is_left(&world);
    }
}

#[test]
fn a_hang_up_in_the_middle_of_the_handshake_is_final() {
    for milliseconds in 0..60 {
        for mut world in worlds() {
            let client = world.call(DtlsVersion::Auto);
            let session = world.clients[client].session;
            world.run(Duration::from_millis(milliseconds));
            world.command(Command::Close(session));
            world.run(Duration::from_secs(3));
            ended(&world, client, CloseReason::HungUp);
            assert_eq!(world.shard.remembered(), [0; 4]);
        }
    }
}

#[test]
fn a_client_that_falls_off_the_network_loses_consent() {
    for mut world in worlds() {
        let client = world.connected_call();
        world.run(Duration::from_secs(5));
        world.clients[client].off = true;
        let session = world.clients[client].session;
        let start = world.now;
        let gone = |world: &World| world.closed(session).is_some();
        assert!(world.run_until(Duration::from_secs(60), gone));
        let took = world.now - start;
        // Some seconds above the 5 s of silence that clients live with, and about RFC 7675's 30 s.
        assert!(took > Duration::from_secs(15), "{took:?}");
        assert!(took < Duration::from_secs(40), "{took:?}");
        world.run(Duration::from_secs(1));
        ended(&world, client, CloseReason::ConsentLost);
        nothing_is_left(&world);
    }
}

#[test]
fn a_client_that_comes_back_in_time_keeps_its_session() {
    for mut world in worlds() {
        let client = world.connected_call();
        world.run(Duration::from_secs(5));
        world.clients[client].off = true;
        world.run(Duration::from_secs(12));
        world.clients[client].off = false;
        world.run(Duration::from_secs(60));
        assert_eq!(world.closed(world.clients[client].session), None);
        world.play(client, 1000);
        world.run(Duration::from_secs(2));
        assert_eq!(world.clients[client].heard.len(), 55);
    }
}

#[test]
fn a_relay_forgets_the_flow_of_a_session_that_nobody_has() {
    let mut world = World::relayed();
    let client = world.connected_call();
    assert_eq!(world.relays[0].flows(), 1);
    // The transceiver restarts, and has lost its sessions.
    let fresh = World::relayed();
    world.shard = fresh.shard;
    world.counters = Arc::clone(&fresh.counters);
    world.run(Duration::from_secs(4));
    assert!(world.dropped(DropReason::UnknownSession) > 0);
    assert_eq!(world.relays[0].flows(), 0);
    let told = world.relay_counters[0]
        .snapshot()
        .dropped(firsthop_relay::DropReason::NoSession);
    assert!(told > 0);
    assert!(
        !world.clients[client].closed,
        "the client is told by others"
    );
}

#[test]
fn sessions_that_come_and_go_leave_nothing_behind() {
    let mut world = World::relayed();
    for round in 0..100_u64 {
        let client = world.call(DtlsVersion::Auto);
        let session = world.clients[client].session;
        if round % 5 != 0 {
            world.connect(client);
            world.play(client, 200);
            world.speak(client, &opus_packets(&sweep(100)));
            // It moves about, too.
            world.clients[client].address.set_port(1000 + round as u16);
            world.run(Duration::from_millis(10 * round));
        }
        match round % 3 {
            0 => world.command(Command::Close(session)),
            1 => world.hang_up(client),
            _ => {}
        }
        world.run(Duration::from_millis(50));
        // Those of the last round are still closing or about to be missed.
        world.clients[client].off = true;
    }
    world.run(Duration::from_secs(60));
    for client in 0..world.clients.len() {
        let session = world.clients[client].session;
        assert!(world.closed(session).is_some(), "{client}");
    }
    assert_eq!(world.shard.remembered(), [0; 4]);
    assert_eq!(world.sessions(), 0);
}

#[test]
fn a_message_that_cannot_be_sent_is_counted() {
    let mut world = World::direct();
    let client = world.call(DtlsVersion::Auto);
    let session = world.clients[client].session;
    world.command(Command::Send(session, "too early".to_owned()));
    assert_eq!(world.dropped(DropReason::NotSent), 1);
    world.connect(client);
    // The client takes nothing any more: the buffer fills, the session lives.
    world.clients[client].off = true;
    let text = "x".repeat(10_000);
    for _ in 0..200 {
        world.command(Command::Send(session, text.clone()));
    }
    let lost = world.dropped(DropReason::NotSent) - 1;
    assert!((90..=110).contains(&lost), "{lost} of 200");
    assert_eq!(world.closed(session), None);
    world.clients[client].off = false;
    world.run(Duration::from_secs(20));
    assert_eq!(world.clients[client].messages.len() as u64, 200 - lost);
}

#[test]
fn a_message_longer_than_the_client_takes_is_lost_and_nothing_else() {
    let mut world = World::direct();
    let client = world.connected_call();
    let session = world.clients[client].session;
    world.command(Command::Send(session, "x".repeat(600_000)));
    world.command(Command::Send(session, "short".to_owned()));
    world.run(Duration::from_secs(5));
    assert_eq!(world.dropped(DropReason::NotSent), 1);
    assert_eq!(world.clients[client].messages, ["short"]);
}
