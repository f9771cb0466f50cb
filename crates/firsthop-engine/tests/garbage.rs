//! *No byte from the network can panic*: whatever arrives at whatever stage of a call, no session
//! ends by an internal error, and no other call notices.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Arrival, Dice, World, address, opus_packets, sweep};
use firsthop_engine::{CloseReason, DropReason};
use str0m::config::DtlsVersion;

/// Something made of a real packet, or of nothing.
fn garbage(dice: &mut Dice, real: &[Arrival]) -> Vec<u8> {
    let mut bytes = real[dice.below(real.len() as u64) as usize].bytes.clone();
    match dice.below(5) {
        0 => {
            let length = dice.below(1500) as usize;
            bytes = dice.bytes(length);
        }
        1 => bytes.truncate(dice.below(bytes.len() as u64 + 1) as usize),
        2 => {
            let more = dice.below(100) as usize;
            bytes.extend(dice.bytes(more));
        }
        _ => {
            for _ in 0..=dice.below(3) {
                let bit = dice.below(bytes.len() as u64 * 8) as usize;
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
    bytes
}

/// Every packet that a client sends in a call of two seconds.
fn real_packets(world: &mut World) -> Vec<Arrival> {
    world.recorded = Some(Vec::new());
    let client = world.connected_call();
    world.send_text(client, "hello");
    world.speak(client, &opus_packets(&sweep(500)));
    world.run(Duration::from_secs(2));
    world.hang_up(client);
    world.run(Duration::from_secs(1));
    world.recorded.take().unwrap()
}

fn worlds() -> [World; 2] {
    [World::direct(), World::relayed()]
}

#[test]
fn garbage_at_every_stage_of_a_call_harms_no_other() {
    for (seed, mut world) in worlds().into_iter().enumerate() {
        world.flow_cache = true;
        let mut dice = Dice::new(seed as u64);
        let bystander = world.connected_call();
        world.play(bystander, 200_000);
        world.run(Duration::from_secs(1));
        let start = world.now;
        for round in 0..30 {
            let real = real_packets(&mut world);
            let version = [DtlsVersion::Dtls12, DtlsVersion::Dtls13, DtlsVersion::Auto][round % 3];
            let client = world.call(version);
            world.recorded = Some(real);
            let stranger = SocketAddr::from(([203, 0, 113, round as u8], 1000));
            for _ in 0..100 {
                // What this call has sent so far is the most dangerous material.
                let real = world.recorded.as_ref().unwrap();
                let recent = &real[real.len().saturating_sub(60)..].to_vec();
                for from in [world.clients[client].address, stranger] {
                    let bytes = garbage(&mut dice, recent);
                    let mut recorded = world.recorded.take();
                    world.inject(from, &bytes);
                    std::mem::swap(&mut world.recorded, &mut recorded);
                }
                world.run(Duration::from_millis(1));
            }
            world.recorded = None;
            world.hang_up(client);
            world.clients[client].off = true;
            let reason = world.closed(world.clients[client].session);
            assert_ne!(reason, Some(CloseReason::InternalError), "round {round}");
        }
        world.run(Duration::from_secs(60));
        assert_eq!(world.sessions(), 1);
        assert_eq!(world.closed(world.clients[bystander].session), None);
        assert_eq!(world.gaps(bystander), 0);
        let heard = world.clients[bystander].heard.len() as u128;
        assert!(heard * 20 + 100 > (world.now - start).as_millis());
        // A relay spares the shard the worst of it.
        assert!(world.via.is_some() || world.dropped(DropReason::Malformed) > 100);
    }
}

#[test]
fn a_connected_call_survives_garbage_from_its_own_address() {
    for (seed, mut world) in worlds().into_iter().enumerate() {
        let mut dice = Dice::new(100 + seed as u64);
        let real = real_packets(&mut world);
        let client = world.connected_call();
        world.play(client, 20_000);
        let from = world.clients[client].address;
        for _ in 0..5_000 {
            let bytes = garbage(&mut dice, &real);
            world.inject(from, &bytes);
            world.run(Duration::from_millis(2));
        }
        assert_eq!(world.closed(world.clients[client].session), None);
        world.send_text(client, "still here");
        world.run(Duration::from_secs(1));
        assert_eq!(world.gaps(client), 0);
        assert_eq!(world.said(client).len(), 4, "{:?}", world.said(client));
    }
}

/// A ClientHello in the clear asks for a renegotiation, a record of an old epoch for patience.
#[test]
fn what_a_client_sent_before_may_come_again() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13, DtlsVersion::Auto] {
        for mut world in worlds() {
            let mut material = real_packets(&mut world);
            world.recorded = Some(Vec::new());
            let client = world.call(version);
            world.connect(client);
            world.run(Duration::from_secs(1));
            material.extend(world.recorded.take().unwrap());
            world.play(client, 5_000);
            let from = world.clients[client].address;
            for packet in material.iter().chain(material.iter().rev()) {
                world.inject(from, &packet.bytes);
                world.run(Duration::from_millis(1));
            }
            world.send_text(client, "still here");
            world.run(Duration::from_secs(5));
            assert_eq!(
                world.closed(world.clients[client].session),
                None,
                "{version}"
            );
            assert_eq!(world.gaps(client), 0);
            assert_eq!(world.said(client).len(), 5, "{:?}", world.said(client));
        }
    }
}

/// One packet in the clear, which needs no key but only the client's address, ends no call.
#[test]
fn a_forged_handshake_message_or_alert_ends_no_call() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13, DtlsVersion::Auto] {
        for mut world in worlds() {
            world.recorded = Some(Vec::new());
            let client = world.call(version);
            world.connect(client);
            let recorded = world.recorded.take().unwrap();
            let is_hello = |arrival: &&Arrival| arrival.bytes[0] == 22 && arrival.bytes[13] == 1;
            let mut forged = recorded.iter().find(is_hello).unwrap().bytes.clone();
            let from = world.clients[client].address;
            for number in 0..200 {
                // The record's sequence number, and the message's.
                forged[9..11].copy_from_slice(&[1, number]);
                forged[18] = number;
                world.inject(from, &forged);
                let alert = [21, 254, 253, 0, 0, 0, 0, 0, 0, 2, number, 0, 2, 2, number];
                world.inject(from, &alert);
                world.run(Duration::from_millis(1));
            }
            world.send_text(client, "still here");
            world.run(Duration::from_secs(1));
            assert_eq!(
                world.closed(world.clients[client].session),
                None,
                "{version}"
            );
            assert_eq!(world.said(client).len(), 3, "{:?}", world.said(client));
        }
    }
}

#[test]
fn garbage_between_relay_and_shard_is_counted_by_reason() {
    let mut world = World::relayed();
    let client = world.connected_call();
    let mut dice = Dice::new(9);
    let mut output = firsthop_engine::shard::Output::default();
    for _ in 0..20_000 {
        let length = dice.below(100) as usize;
        let mut bytes = dice.bytes(length);
        if dice.percent(80) && bytes.len() > 24 {
            // The shape of a header, with a length that fits.
            bytes[..3].copy_from_slice(&[0xE5, 0x20, 0x40]);
            bytes[10..12].copy_from_slice(&[0, length as u8 - 24]);
        }
        let clock = world.clock();
        let source = address("10.1.255.1:3500");
        world.shard.receive(clock, source, &bytes, &mut output);
        assert!(output.packets.is_empty());
    }
    for reason in [
        DropReason::Malformed,
        DropReason::NotFromRelay,
        DropReason::HopMac,
    ] {
        assert!(world.dropped(reason) > 100, "{reason:?}");
    }
    world.play(client, 1000);
    world.run(Duration::from_secs(2));
    assert_eq!(world.clients[client].heard.len(), 55);
}
