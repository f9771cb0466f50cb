//! Speech both ways: what the client says arrives as it was said, what the agent says leaves in
//! time, and what is reported as played is what the client got.

mod common;

use std::time::Duration;

use common::{Heard, RATE, TICK_SAMPLES, World, best_shift, opus_packets, sweep};
use firsthop_engine::Event;
use firsthop_engine::shard::Command;
use str0m::config::DtlsVersion;

const TICK: Duration = Duration::from_millis(20);

/// All that `client` was heard saying, once it is sure that positions leave no hole.
fn pcm_of(world: &World, client: usize) -> Vec<i16> {
    let mut pcm = Vec::new();
    for (position, samples) in world.audio_of(client) {
        assert_eq!(position, pcm.len() as u64);
        pcm.extend_from_slice(samples);
    }
    pcm
}

/// What a client makes of the packets that it heard, lost ones as silence.
fn decode(heard: &[Heard]) -> Vec<i16> {
    let mut decoder = opus::Decoder::new(RATE, opus::Channels::Mono).unwrap();
    let first = heard[0].packet.header.timestamp;
    let mut pcm = Vec::new();
    for heard in heard {
        let position = (heard.packet.header.timestamp - first) as usize * RATE as usize / 48_000;
        pcm.resize(position, 0);
        let mut frame = vec![0; TICK_SAMPLES];
        decoder
            .decode(&heard.packet.payload, &mut frame, false)
            .unwrap();
        pcm.extend(frame);
    }
    pcm
}

/// Calls through a network as it is after connecting: (loss in percent, jitter in ms).
fn call(loss_percent: u64, jitter_ms: u64) -> (World, usize) {
    let mut world = World::relayed();
    let client = world.connected_call();
    world.link.loss_percent = loss_percent;
    world.link.jitter = Duration::from_millis(jitter_ms);
    (world, client)
}

#[test]
fn what_the_client_says_arrives_as_it_was_said() {
    let (mut world, client) = call(0, 0);
    let said = sweep(3000);
    world.speak(client, &opus_packets(&said));
    world.run(Duration::from_millis(3020));
    let heard = pcm_of(&world, client);
    assert_eq!(heard.len(), said.len());
    // Opus itself takes a few milliseconds.
    let (shift, likeness) = best_shift(&said, &heard, TICK_SAMPLES);
    assert!(likeness > 0.9, "{likeness} at {shift}");
    assert!(shift < RATE as usize / 100, "{shift}");
}

#[test]
fn jitter_and_reordering_change_nothing() {
    let said = opus_packets(&sweep(3000));
    let (mut smooth, client) = call(0, 0);
    smooth.speak(client, &said);
    smooth.run(Duration::from_millis(3020));
    let (mut rough, client) = call(0, 45);
    rough.speak(client, &said);
    rough.run(Duration::from_millis(3070));
    assert_eq!(pcm_of(&rough, client), pcm_of(&smooth, client));
}

#[test]
fn lost_packets_are_concealed_without_shifting_time() {
    for percent in [5, 10, 20] {
        let (mut world, client) = call(percent, 0);
        let said = sweep(6000);
        world.speak(client, &opus_packets(&said));
        world.run(Duration::from_millis(6100));
        let heard = pcm_of(&world, client);
        // Silence follows what was said.
        let more = heard.len() as i64 - said.len() as i64;
        let ticks = more / TICK_SAMPLES as i64;
        assert!((-3..=5).contains(&ticks), "{ticks} ticks at {percent} %");
        // The first and the last second stand where they were said.
        let second = RATE as usize;
        for at in [0, said.len() - 2 * second] {
            let end = (at + second + TICK_SAMPLES).min(heard.len());
            let (shift, likeness) =
                best_shift(&said[at..at + second], &heard[at..end], TICK_SAMPLES);
            assert!(likeness > 0.6, "{likeness} at {percent} %, from {at}");
            assert!(shift < RATE as usize / 100, "{shift} at {percent} %");
        }
    }
}

#[test]
fn a_client_that_falls_silent_is_heard_as_silence() {
    let (mut world, client) = call(0, 0);
    world.speak(client, &opus_packets(&sweep(400)));
    world.run(Duration::from_secs(1));
    let heard = pcm_of(&world, client);
    let second = RATE as usize;
    assert!(heard.len() > second - 3 * TICK_SAMPLES && heard.len() <= second);
    assert!(heard[second / 2..].iter().all(|&sample| sample == 0));
    assert!(heard[..second / 5].iter().any(|&sample| sample != 0));
}

#[test]
fn what_the_agent_says_leaves_every_20_ms_with_the_right_clock() {
    let (mut world, client) = call(0, 0);
    let said = sweep(1000);
    world.play(client, 1000);
    world.run(Duration::from_millis(2345));
    let first = world.clients[client].heard.len();
    world.play(client, 500);
    world.run(Duration::from_secs(2));

    let heard = &world.clients[client].heard;
    let second = first;
    assert_eq!(
        second,
        50 + 5,
        "a second of speech, and five packets of silence"
    );
    assert_eq!(heard.len(), second + 25 + 5);
    for (n, pair) in heard.windows(2).enumerate() {
        let (before, after) = (&pair[0].packet.header, &pair[1].packet.header);
        assert_eq!(*pair[1].packet.seq_no, *pair[0].packet.seq_no + 1);
        let apart = pair[1].at - pair[0].at;
        let clock = after.timestamp.wrapping_sub(before.timestamp);
        assert_eq!(u128::from(clock), apart.as_micros() * 48 / 1000, "{n}");
        assert!(n + 1 == second || apart == TICK, "{n}: {apart:?}");
        assert_eq!(after.marker, n + 1 == second, "{n}");
    }
    assert!(heard[0].packet.header.marker);
    let (shift, likeness) = best_shift(&said, &decode(heard), TICK_SAMPLES);
    assert!(likeness > 0.9, "{likeness} at {shift}");

    let ended = world
        .said(client)
        .into_iter()
        .filter_map(|event| match event {
            Event::PlayoutEnded {
                played_ms,
                interrupted,
                ..
            } => Some((*played_ms, *interrupted)),
            _ => None,
        });
    assert_eq!(ended.collect::<Vec<_>>(), [(1000, false), (500, false)]);
}

#[test]
fn a_flush_ends_speech_within_a_tick_and_tells_what_the_client_got() {
    for after_ms in [1, 19, 20, 21, 333, 1010, 1999] {
        let (mut world, client) = call(0, 0);
        let session = world.clients[client].session;
        world.play(client, 5000);
        world.run(Duration::from_millis(after_ms));
        world.command(Command::Flush(session));
        let flushed = world.now;
        let Some(&Event::PlayoutEnded {
            played_ms,
            interrupted: true,
            ..
        }) = world.said(client).last().copied()
        else {
            panic!("no account: {:?}", world.said(client));
        };
        world.run(Duration::from_secs(1));
        let heard = &world.clients[client].heard;
        let sent_before = |heard: &&Heard| heard.at - world.link.delay <= flushed;
        let before = heard.iter().filter(sent_before).count() as u64;
        assert_eq!(before * 20, played_ms, "after {after_ms} ms");
        // A fade of a quarter of a tick, then nothing but silence.
        assert_eq!(heard.len() as u64, before + 6);
        let pcm = decode(heard);
        let quiet = (before as usize + 2) * TICK_SAMPLES;
        let loudest = pcm[quiet..].iter().map(|sample| sample.abs()).max();
        assert!(loudest.unwrap() < 300, "{loudest:?} after {after_ms} ms");
    }
}

#[test]
fn what_is_said_before_the_client_is_connected_waits_for_it() {
    let mut world = World::relayed();
    let client = world.call(DtlsVersion::Auto);
    world.clients[client].off = true;
    world.play(client, 1000);
    world.run(Duration::from_secs(2));
    assert!(world.said(client).is_empty());
    world.clients[client].off = false;
    world.connect(client);
    world.run(Duration::from_secs(2));
    let heard = &world.clients[client].heard;
    assert_eq!(heard.len(), 50 + 5);
    // The first leaves at once, the others on the grid of ticks.
    let mut pairs = heard.windows(2).skip(1);
    assert!(pairs.all(|pair| pair[1].at - pair[0].at == TICK));
    let (shift, likeness) = best_shift(&sweep(1000), &decode(heard), TICK_SAMPLES);
    assert!(likeness > 0.9, "{likeness} at {shift}");
    let played = |event: &&Event| {
        matches!(
            event,
            Event::PlayoutEnded {
                played_ms: 1000,
                ..
            }
        )
    };
    assert!(world.said(client).iter().any(played));
}
