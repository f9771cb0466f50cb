//! *Own the path*: media goes where the client was nominated and has proved to receive, and
//! nowhere else.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Dice, World, address};
use firsthop_engine::{DropReason, Event};
use firsthop_wire::demux::{self, Kind};
use firsthop_wire::stun::{Binding, Class};
use str0m::config::DtlsVersion;

fn worlds() -> [World; 2] {
    [World::direct(), World::relayed()]
}

fn is_request(bytes: &[u8]) -> bool {
    Binding::parse(bytes).is_ok_and(|binding| binding.class == Class::BindingRequest)
}

#[test]
fn media_follows_a_client_whose_nat_gives_it_a_new_address() {
    for mut world in worlds() {
        let client = world.connected_call();
        world.play(client, 20_000);
        world.run(Duration::from_secs(2));
        let before = world.clients[client].heard.len();
        assert!(before > 90);
        for port in [50_001, 50_002, 50_003] {
            world.clients[client].address = SocketAddr::from(([198, 51, 100, 99], port));
            let moved = world.now;
            let hears = |world: &World| {
                world.clients[client]
                    .heard
                    .last()
                    .is_some_and(|heard| heard.at > moved + Duration::from_millis(20))
            };
            assert!(world.run_until(Duration::from_millis(3500), hears));
            world.run(Duration::from_secs(1));
        }
        assert_eq!(world.closed(world.clients[client].session), None);
        // It hears everything again, as long as it stays where it is.
        let (heard, gaps) = (world.clients[client].heard.len(), world.gaps(client));
        world.run(Duration::from_secs(2));
        assert!(world.clients[client].heard.len() >= heard + 99);
        assert_eq!(world.gaps(client), gaps);
    }
}

#[test]
fn a_copied_binding_request_gets_no_media_wherever_it_is_sent_from() {
    for mut world in worlds() {
        let client = world.call(DtlsVersion::Auto);
        world.recorded = Some(Vec::new());
        world.connect(client);
        world.run(Duration::from_secs(3));
        let recorded = world.recorded.take().unwrap();
        let requests: Vec<_> = recorded
            .into_iter()
            .filter(|arrival| is_request(&arrival.bytes))
            .collect();
        assert!(requests.len() >= 2);
        world.play(client, 10_000);
        for round in 0..90 {
            for (nth, request) in requests.iter().enumerate() {
                let attacker = SocketAddr::from(([203, 0, 113, nth as u8], 1000));
                world.inject(attacker, &request.bytes);
            }
            world.run(Duration::from_millis(100));
            assert!(round < 2 || !world.clients[client].heard.is_empty());
        }
        for (address, ledger) in &world.ledgers {
            if *address != world.clients[client].address {
                assert_eq!(ledger.media, 0, "{address}");
                assert!(ledger.got <= 3 * ledger.sent, "{address}: {ledger:?}");
                assert!(ledger.got > 0, "the agent answers, it cannot know");
            }
        }
        assert_eq!(world.gaps(client), 0, "the client itself misses nothing");
        assert!(world.clients[client].heard.len() > 440);
    }
}

#[test]
fn copies_from_ten_thousand_addresses_are_neither_remembered_nor_served() {
    for mut world in worlds() {
        let client = world.call(DtlsVersion::Auto);
        world.recorded = Some(Vec::new());
        world.connect(client);
        let recorded = world.recorded.take().unwrap();
        let request = recorded.into_iter().find(|a| is_request(&a.bytes)).unwrap();
        world.play(client, 12_000);
        for round in 0..1000_u16 {
            for nth in 0..10 {
                let [high, low] = round.to_be_bytes();
                world.inject(
                    SocketAddr::from(([203, high, low, nth], 99)),
                    &request.bytes,
                );
            }
            world.run(Duration::from_millis(10));
        }
        let [sessions, _, addresses, deadlines] = world.shard.remembered();
        assert_eq!((sessions, deadlines), (1, 1));
        assert!(addresses <= 8, "{addresses}");
        let answered = world
            .ledgers
            .values()
            .filter(|ledger| ledger.got > 0)
            .count();
        assert!(answered <= 1 + 17, "{answered} addresses got an answer");
        assert!(world.dropped(DropReason::Unproved) > 9_900);
        assert_eq!(world.gaps(client), 0);
        // And the client can still move.
        world.run(Duration::from_secs(10));
        world.clients[client].address = address("198.51.100.99:50001");
        world.play(client, 10_000);
        world.run(Duration::from_secs(5));
        let ledger = world.ledgers[&world.clients[client].address];
        assert!(ledger.media > 50, "{ledger:?}");
    }
}

#[test]
fn dtls_and_rtp_from_addresses_that_proved_nothing_disturb_no_handshake() {
    for mut world in worlds() {
        // Real packets of another call are the most plausible junk.
        world.recorded = Some(Vec::new());
        world.connected_call();
        let junk: Vec<_> = world.recorded.take().unwrap();
        let junk: Vec<_> = junk
            .into_iter()
            .filter(|arrival| demux::kind(&arrival.bytes) != Some(Kind::Stun))
            .collect();
        let mut dice = Dice::new(3);
        // So that packets of unknown flows reach the shard at all.
        world.flow_cache = true;
        for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13, DtlsVersion::Auto].repeat(10) {
            let client = world.call(version);
            let start = world.now;
            while !world.clients[client].connected {
                for _ in 0..2 {
                    let from = SocketAddr::from(([203, 0, 113, dice.below(50) as u8], 1000));
                    let packet = &junk[dice.below(junk.len() as u64) as usize].bytes;
                    world.inject(from, packet);
                }
                world.run(Duration::from_millis(1));
                assert!(world.now - start < Duration::from_millis(400));
            }
            let address = world.clients[client].address;
            assert!(world.ledgers[&address].media > 0);
        }
        let drops = world.dropped(DropReason::UnknownSession) + world.dropped(DropReason::Unproved);
        assert!(drops > 1000, "{drops}");
    }
}

#[test]
fn junk_from_the_clients_own_address_costs_nothing_but_itself() {
    for mut world in worlds() {
        let client = world.connected_call();
        let from = world.clients[client].address;
        world.play(client, 4_000);
        let mut dice = Dice::new(4);
        for _ in 0..2_000 {
            let length = 1 + dice.below(200) as usize;
            let mut junk = dice.bytes(length);
            junk[0] = [20, 22, 23, 25, 40, 128, 144][dice.below(7) as usize];
            if junk.len() > 13 && dice.percent(70) {
                // A record that is as long as it says, of either version.
                junk[1..3].copy_from_slice(&[254, 253]);
                let length = (junk.len() - 13) as u16;
                junk[11..13].copy_from_slice(&length.to_be_bytes());
            }
            world.inject(from, &junk);
            world.run(Duration::from_millis(2));
        }
        assert_eq!(world.closed(world.clients[client].session), None);
        world.send_text(client, "still here");
        world.run(Duration::from_secs(1));
        assert_eq!(world.gaps(client), 0);
        let heard = |event: &&Event| matches!(event, Event::Message { .. });
        assert!(world.said(client).into_iter().any(|event| heard(&event)));
    }
}
