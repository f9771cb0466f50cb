//! Opus as it is: what the client sends arrives byte by byte and in order, what the agent sends
//! leaves when it is due, and what is reported as played is what the client got.

mod common;

use std::time::Duration;

use common::{FRAME, Heard, World, opus_packets, sweep};
use firsthop_engine::collect::Received;
use firsthop_engine::packet::{MAX_BYTES, OpusPacket};
use firsthop_engine::shard::Command;
use firsthop_engine::sound::Sound;
use firsthop_engine::{DropReason, Event};

const SILENCE: [u8; 3] = [0xF8, 0xFF, 0xFE];

/// A connected call whose sound is Opus, in batches of `batch`.
fn call(batch: Duration) -> (World, usize) {
    let mut world = World::relayed();
    world.sound = Sound::Opus { batch };
    let client = world.connected_call();
    (world, client)
}

fn speech(ms: usize) -> Vec<Vec<u8>> {
    opus_packets(&sweep(ms))
}

fn parsed(packets: &[Vec<u8>]) -> Vec<OpusPacket> {
    let parse = |packet: &Vec<u8>| OpusPacket::new(&packet[..]).unwrap();
    packets.iter().map(parse).collect()
}

fn forward(world: &mut World, client: usize, packets: &[Vec<u8>], complete: bool) {
    let session = world.clients[client].session;
    let packets = parsed(packets);
    world.command(Command::PlayOpus {
        session,
        utterance: 1,
        packets,
        complete,
    });
}

/// The batches that came from `client`.
fn batches(world: &World, client: usize) -> Vec<&[Received]> {
    let id = world.clients[client].session;
    let batch = |event| match event {
        &Event::Opus {
            session,
            ref packets,
        } if session == id => Some(&packets[..]),
        _ => None,
    };
    let events = world.events.iter().map(|(_, event)| event);
    events.filter_map(batch).collect()
}

fn payloads(received: &[Received]) -> Vec<Vec<u8>> {
    let payload = |received: &Received| received.packet.payload().to_vec();
    received.iter().map(payload).collect()
}

fn heard_payloads(heard: &[Heard]) -> Vec<Vec<u8>> {
    let payload = |heard: &Heard| heard.packet.payload.to_vec();
    heard.iter().map(payload).collect()
}

fn ended(world: &World, client: usize) -> Vec<(u64, bool)> {
    let account = |event: &Event| match *event {
        Event::PlayoutEnded {
            played_ms,
            interrupted,
            ..
        } => Some((played_ms, interrupted)),
        _ => None,
    };
    world.said(client).into_iter().filter_map(account).collect()
}

#[test]
fn what_the_client_sends_arrives_byte_by_byte_and_at_once() {
    let (mut world, client) = call(FRAME);
    let said = speech(1000);
    world.speak(client, &said);
    world.run(Duration::from_millis(1030));
    let batches = batches(&world, client);
    assert!(batches.iter().all(|batch| batch.len() == 1));
    let received = batches.concat();
    assert_eq!(payloads(&received), said);
    for (n, received) in received.iter().enumerate() {
        assert_eq!((received.position, received.missing), (n as u64 * 960, 0));
    }
    assert!(world.audio_of(client).is_empty());
}

#[test]
fn a_longer_batch_makes_fewer_events_and_keeps_nothing_for_longer() {
    let (mut world, client) = call(Duration::from_millis(100));
    let said = speech(1060);
    world.speak(client, &said);
    world.run(Duration::from_secs(2));
    let batches = batches(&world, client);
    let sizes: Vec<_> = batches.iter().map(|batch| batch.len()).collect();
    assert_eq!(sizes, [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 3]);
    assert_eq!(payloads(&batches.concat()), said);
}

#[test]
fn jitter_and_reordering_change_nothing() {
    let (mut world, client) = call(FRAME);
    world.link.jitter = Duration::from_millis(45);
    let said = speech(3000);
    world.speak(client, &said);
    world.run(Duration::from_millis(3100));
    let received = batches(&world, client).concat();
    assert_eq!(payloads(&received), said);
    assert!(received.iter().all(|received| received.missing == 0));
}

#[test]
fn lost_packets_are_told_and_nothing_is_made_up_for_them() {
    let (mut world, client) = call(FRAME);
    world.link.loss_percent = 20;
    let said = speech(6000);
    world.speak(client, &said);
    world.run(Duration::from_millis(6100));
    let received = batches(&world, client).concat();
    assert!(received.len() < said.len());
    let mut next = said.iter();
    let skip = received[0].position / 960;
    next.by_ref().take(skip as usize).for_each(drop);
    for received in &received {
        let lost = next.by_ref().take(received.missing as usize).count();
        assert_eq!(lost, received.missing as usize);
        assert_eq!(next.next(), Some(&received.packet.payload().to_vec()));
    }
}

#[test]
fn what_the_agent_sends_leaves_as_it_is_each_packet_in_its_time() {
    let (mut world, client) = call(FRAME);
    // 10 and 60 ms among those of 20, and the largest there is.
    let mut said = speech(380);
    said.insert(3, vec![0x60, 1]);
    said.insert(5, vec![0x08; MAX_BYTES]);
    said.insert(7, vec![0x18, 1, 2]);
    forward(&mut world, client, &said, true);
    world.run(Duration::from_secs(2));
    let heard = &world.clients[client].heard;
    let (words, silence) = heard.split_at(said.len());
    assert_eq!(heard_payloads(words), said);
    assert_eq!(heard_payloads(silence), vec![SILENCE.to_vec(); 5]);
    for (pair, packet) in heard.windows(2).zip(parsed(&said)) {
        let (before, after) = (&pair[0].packet.header, &pair[1].packet.header);
        assert_eq!(*pair[1].packet.seq_no, *pair[0].packet.seq_no + 1);
        assert_eq!(
            after.timestamp.wrapping_sub(before.timestamp),
            packet.ticks()
        );
        let apart = (pair[1].at - pair[0].at).as_micros() as i64;
        // The simulated network moves in steps of 100 µs.
        assert!(
            (apart - i64::from(packet.ticks()) * 125 / 6).abs() <= 200,
            "{apart} µs"
        );
    }
    let marked = heard.iter().filter(|heard| heard.packet.header.marker);
    assert_eq!(marked.count(), 1);
    assert!(heard[0].packet.header.marker);
    assert_eq!(ended(&world, client), [(470, false)]);
}

#[test]
fn a_pause_of_the_agent_is_a_pause_on_the_rtp_clock() {
    let (mut world, client) = call(FRAME);
    let said = speech(100);
    forward(&mut world, client, &said, false);
    world.run(Duration::from_secs(1));
    assert_eq!(
        world.clients[client].heard.len(),
        5,
        "nothing is made up meanwhile"
    );
    forward(&mut world, client, &said, true);
    world.run(Duration::from_secs(1));
    let heard = &world.clients[client].heard;
    let (before, after) = (&heard[4], &heard[5]);
    let apart = (after.at - before.at).as_micros() as i64 * 6 / 125;
    let clock = after.packet.header.timestamp - before.packet.header.timestamp;
    assert!((i64::from(clock) - apart).abs() < 48, "{clock} and {apart}");
    assert!(after.packet.header.marker);
    assert_eq!(ended(&world, client), [(200, false)]);
}

#[test]
fn a_flush_stops_within_a_packet_and_tells_what_the_client_got() {
    for after_ms in [1, 19, 21, 333, 1010] {
        let (mut world, client) = call(FRAME);
        let session = world.clients[client].session;
        forward(&mut world, client, &speech(3000), false);
        world.run(Duration::from_millis(after_ms));
        world.command(Command::Flush(session));
        let flushed = world.now;
        world.run(Duration::from_secs(1));
        let heard = &world.clients[client].heard;
        let sent_before = |heard: &&Heard| heard.at - world.link.delay <= flushed;
        let before = heard.iter().filter(sent_before).count();
        assert_eq!(
            ended(&world, client),
            [(before as u64 * 20, true)],
            "after {after_ms} ms"
        );
        assert_eq!(heard_payloads(&heard[before..]), vec![SILENCE.to_vec(); 5]);
    }
}

#[test]
fn a_client_that_sends_no_opus_is_counted_and_the_call_goes_on() {
    let (mut world, client) = call(FRAME);
    let mut said = speech(100);
    said[2] = vec![0x83, 49];
    world.speak(client, &said);
    world.run(Duration::from_millis(200));
    let received = batches(&world, client).concat();
    said.remove(2);
    assert_eq!(payloads(&received), said);
    let missing: Vec<_> = received.iter().map(|received| received.missing).collect();
    assert_eq!(missing, [0, 0, 1, 0]);
    assert_eq!(world.dropped(DropReason::Malformed), 1);
}

#[test]
fn sound_in_the_wrong_form_is_settled_as_not_played() {
    let (mut world, client) = call(FRAME);
    world.play(client, 1000);
    assert_eq!(ended(&world, client), [(0, true)]);
    world.run(Duration::from_secs(1));
    assert!(world.clients[client].heard.is_empty());

    let mut world = World::relayed();
    let client = world.connected_call();
    forward(&mut world, client, &speech(1000), true);
    assert_eq!(ended(&world, client), [(0, true)]);
    world.run(Duration::from_secs(1));
    assert!(world.clients[client].heard.is_empty());
}

#[test]
fn a_mirrored_client_hears_itself_until_a_flush_and_nobody_else_does() {
    let (mut world, client) = call(FRAME);
    let session = world.clients[client].session;
    world.command(Command::Mirror {
        session,
        utterance: 5,
    });
    let said = speech(1000);
    world.speak(client, &said);
    world.run(Duration::from_millis(1030));
    assert_eq!(heard_payloads(&world.clients[client].heard), said);
    assert!(batches(&world, client).is_empty());
    world.command(Command::Flush(session));
    assert_eq!(ended(&world, client), [(1000, true)]);
    world.speak(client, &said[..10]);
    world.run(Duration::from_millis(230));
    let heard = batches(&world, client).concat();
    assert_eq!(payloads(&heard), said[..10], "the agent hears again");
}

#[test]
fn a_session_of_pcm_mirrors_nothing_and_says_so() {
    let mut world = World::direct();
    let client = world.connected_call();
    world.command(Command::Mirror {
        session: world.clients[client].session,
        utterance: 5,
    });
    assert_eq!(ended(&world, client), [(0, true)]);
    world.speak(client, &speech(200));
    world.run(Duration::from_millis(230));
    assert_eq!(world.audio_of(client).len(), 10);
    assert!(world.clients[client].heard.is_empty());
}
