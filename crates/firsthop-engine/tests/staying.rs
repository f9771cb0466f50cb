//! A call stays up while its client moves, mutes, changes its microphone or says nothing, whatever
//! others send in its name; and when the client is gone, so is the session, within half a minute.

mod common;

use std::time::{Duration, Instant};

use common::{Dice, FRAME, RATE, World, best_shift, opus_packets, sweep};
use firsthop_engine::shard::Command;
use firsthop_engine::{CloseReason, DropReason, Event};
use firsthop_wire::demux::{self, Kind};
use str0m::config::DtlsVersion;

/// RFC 7675: consent expires 30 s after the last answer. That may be on its way when the client
/// goes, and then there is a goodbye.
const CONSENT: Duration = Duration::from_millis(30_220);
const SECOND: usize = RATE as usize;

fn worlds() -> [World; 2] {
    [World::direct(), World::relayed()]
}

/// When `client` was heard last, and what was heard since `since`.
fn voice_since(world: &World, client: usize, since: Instant) -> Vec<i16> {
    let id = world.clients[client].session;
    let said = |(at, event): &(Instant, Event)| match event {
        Event::Audio { session, pcm, .. } if *session == id && *at >= since => pcm.clone(),
        _ => Vec::new(),
    };
    world.events.iter().flat_map(said).collect()
}

/// How much of it is more than silence, in milliseconds.
fn audible_ms(pcm: &[i16]) -> usize {
    let loud = |piece: &&[i16]| piece.iter().any(|sample| sample.abs() > 1000);
    pcm.chunks(SECOND / 100).filter(loud).count() * 10
}

/// Opus packets of `ms` each, of as many channels as are named.
fn packets_of(ms: usize, pcm: &[i16], channels: opus::Channels) -> Vec<Vec<u8>> {
    let mut encoder = opus::Encoder::new(RATE, channels, opus::Application::Voip).unwrap();
    let both = match channels {
        opus::Channels::Mono => pcm.to_vec(),
        opus::Channels::Stereo => pcm.iter().flat_map(|&sample| [sample, sample]).collect(),
    };
    let frames = both.chunks_exact(SECOND * ms / 1000 * channels as usize);
    frames
        .map(|frame| encoder.encode_vec(frame, 1200).unwrap())
        .collect()
}

/// `packets` so many times.
fn looped(packets: &[Vec<u8>], times: usize) -> Vec<Vec<u8>> {
    let all = packets.iter().cycle().take(times * packets.len());
    all.cloned().collect()
}

#[test]
fn a_client_that_is_gone_ends_its_session_within_30_s() {
    for mut world in worlds() {
        for moment in [0, 1900, 3300] {
            let client = world.connected_call();
            let session = world.clients[client].session;
            world.command(Command::Play {
                session,
                utterance: 1,
                pcm: sweep(500),
                complete: false,
            });
            world.run(Duration::from_millis(moment));
            world.clients[client].off = true;
            let ended = |world: &World| world.closed(session).is_some();
            assert!(world.run_until(CONSENT, ended), "{moment} ms into the call");
            assert_eq!(world.closed(session), Some(CloseReason::ConsentLost));
            // The backend hears what became of its words, and then that the call is over.
            let told = world.said(client);
            let last_but_one = told[told.len() - 2];
            assert!(matches!(
                last_but_one,
                Event::PlayoutEnded {
                    interrupted: true,
                    ..
                }
            ));
        }
        assert_eq!(world.shard.remembered(), [0; 4]);
        assert_eq!(world.sessions(), 0);
        assert_eq!(world.relays[0].flows(), 0);
    }
}

#[test]
fn both_are_heard_again_soon_after_the_client_has_another_address() {
    for mut world in worlds() {
        let client = world.connected_call();
        world.speak(client, &looped(&opus_packets(&sweep(1000)), 16));
        world.play(client, 16_000);
        world.run(Duration::from_secs(1));
        // Another port; another address; and back to where it was.
        let first = world.clients[client].address;
        let others = ["198.51.100.20:50001", "[2001:db8::9]:50003"];
        for address in others.into_iter().map(common::address).chain([first]) {
            let moved = world.now;
            world.clients[client].address = address;
            let heard = |world: &World| {
                let ledger = world.ledgers.get(&address).copied().unwrap_or_default();
                assert!(
                    ledger.answered || ledger.media == 0,
                    "{address} proved nothing"
                );
                let ours = voice_since(world, client, moved + Duration::from_millis(200));
                heard_last(world, client) > moved + FRAME && audible_ms(&ours) > 0
            };
            // One interval between checks.
            assert!(
                world.run_until(Duration::from_millis(3500), heard),
                "{address}"
            );
        }
        world.run(Duration::from_secs(1));
        let (gaps, since) = (world.gaps(client), world.now);
        world.run(Duration::from_secs(2));
        assert_eq!(world.gaps(client), gaps, "it hears everything");
        let said = audible_ms(&voice_since(&world, client, since));
        assert!(said >= 1_900, "it is heard all the time: {said} ms");
        assert_eq!(world.closed(world.clients[client].session), None);
    }
}

#[test]
fn a_new_microphone_is_heard_at_once() {
    let mut world = World::relayed();
    let client = world.connected_call();
    let words = opus_packets(&sweep(1000));
    for round in 0..4 {
        let since = world.now;
        world.speak(client, &words);
        world.run(Duration::from_millis(1020));
        let heard = audible_ms(&voice_since(&world, client, since));
        assert!(heard >= 950, "microphone {round}: {heard} ms");
        world.change_microphone(client);
    }
}

#[test]
fn nobody_takes_a_callers_voice_away_by_naming_another_stream() {
    let mut world = World::relayed();
    let client = world.connected_call();
    let from = world.clients[client].address;
    world.speak(client, &looped(&opus_packets(&sweep(1000)), 6));
    // The client learns that its SSRC is known, and names its m-line no more.
    world.run(Duration::from_secs(3));
    for ssrc in 1..20_u32 {
        let forged = named_rtp(&world, client, ssrc);
        world.inject(from, &forged);
        world.run(FRAME);
    }
    let since = world.now;
    world.run(Duration::from_secs(2));
    let heard = audible_ms(&voice_since(&world, client, since));
    assert!(heard >= 1_950, "{heard} ms of 2 s are heard");
}

#[test]
fn a_client_that_sends_nothing_for_long_is_heard_when_it_speaks_again() {
    let mut world = World::relayed();
    let client = world.connected_call();
    let words = sweep(500);
    for pause in [0, 35] {
        world.run(Duration::from_secs(pause));
        let since = world.now;
        world.speak(client, &opus_packets(&words));
        world.run(Duration::from_millis(530));
        let heard = voice_since(&world, client, since);
        // Some silence may be in front of the words, nothing behind them; but not all that was
        // not sent.
        let from = heard.len().saturating_sub(words.len() + SECOND / 20);
        let (_, likeness) = best_shift(&words, &heard[from..], SECOND / 10);
        assert!(likeness > 0.9, "{likeness} after {pause} s");
        assert!(heard.len() <= words.len() + SECOND * 16 / 10);
    }
    assert_eq!(world.closed(world.clients[client].session), None);
}

#[test]
fn a_muted_client_is_silence_all_the_time() {
    let mut world = World::relayed();
    let client = world.connected_call();
    let silence = packets_of(20, &vec![0; SECOND], opus::Channels::Mono);
    world.speak(client, &looped(&silence, 10));
    world.run(Duration::from_secs(10));
    let heard = voice_since(&world, client, world.start);
    assert!(heard.len() > SECOND * 98 / 10);
    assert_eq!(audible_ms(&heard), 0);
    let (words, since) = (sweep(500), world.now);
    world.speak(client, &opus_packets(&words));
    world.run(Duration::from_millis(530));
    let (_, likeness) = best_shift(&words, &voice_since(&world, client, since), SECOND / 20);
    assert!(likeness > 0.9, "{likeness}");
}

#[test]
fn packets_of_any_duration_in_mono_and_stereo_are_heard_as_they_were_said() {
    for channels in [opus::Channels::Mono, opus::Channels::Stereo] {
        for ms in [10, 20, 40, 60] {
            let mut world = World::relayed();
            let client = world.connected_call();
            let words = sweep(1200);
            let step = Duration::from_millis(ms as u64);
            world.speak_in_steps(client, &packets_of(ms, &words, channels), step);
            world.run(Duration::from_millis(1300));
            let heard = voice_since(&world, client, world.start);
            let (shift, likeness) = best_shift(&words, &heard, SECOND / 50);
            assert!(likeness > 0.9, "{likeness}: {channels:?}, {ms} ms");
            assert!(shift < SECOND / 100, "{shift}: {channels:?}, {ms} ms");
            assert!(audible_ms(&heard) >= 1100, "{channels:?}, {ms} ms");
        }
    }
}

#[test]
fn a_duration_that_changes_in_mid_call_loses_nothing() {
    let mut world = World::relayed();
    let client = world.connected_call();
    for ms in [20, 60, 10, 40, 20] {
        let since = world.now;
        let packets = packets_of(ms, &sweep(600), opus::Channels::Mono);
        world.speak_in_steps(client, &packets, Duration::from_millis(ms as u64));
        world.run(Duration::from_millis(600));
        let heard = audible_ms(&voice_since(&world, client, since));
        assert!(heard >= 500, "{heard} ms of 600 in packets of {ms} ms");
    }
}

#[test]
fn a_lost_packet_of_60_ms_is_made_up_for_without_shifting_time() {
    let mut world = World::relayed();
    let client = world.connected_call();
    let words = sweep(2400);
    let packets = packets_of(60, &words, opus::Channels::Mono);
    let step = Duration::from_millis(60);
    world.speak_in_steps(client, &packets, step);
    // The twentieth.
    world.run(step * 19 - Duration::from_millis(30));
    world.link.loss_percent = 100;
    world.run(step);
    world.link.loss_percent = 0;
    world.run(Duration::from_millis(1500));
    let heard = voice_since(&world, client, world.start);
    let tail = &words[SECOND * 3 / 2..];
    let (shift, likeness) = best_shift(tail, &heard[SECOND * 3 / 2..], SECOND / 20);
    assert!(
        likeness > 0.9 && shift < SECOND / 100,
        "{likeness} at {shift}"
    );
}

#[test]
fn a_flood_in_one_callers_name_costs_fifty_others_nothing() {
    let mut world = World::relayed();
    let flooded = world.call(DtlsVersion::Auto);
    let others: Vec<_> = (0..50).map(|_| world.call(DtlsVersion::Auto)).collect();
    world.run(Duration::from_secs(1));
    for &client in &others {
        assert!(world.clients[client].connected);
        world.play(client, 1_500);
    }
    let from = world.clients[flooded].address;
    let mut dice = Dice::new(5);
    for _ in 0..500 {
        for _ in 0..20 {
            let junk = junk(&mut dice, &world, flooded);
            world.inject(from, &junk);
        }
        world.run(Duration::from_millis(2));
    }
    let dropped = world.dropped(DropReason::TooMany);
    assert!(dropped > 2_000, "{dropped}");
    world.run(Duration::from_secs(1));
    for &client in &others {
        assert_eq!(world.gaps(client), 0);
        let heard = &world.clients[client].heard;
        assert!(heard.len() >= 75, "{}", heard.len());
        let even = |pair: &[common::Heard]| pair[1].at - pair[0].at <= FRAME * 11 / 10;
        assert!(heard.windows(2).all(even));
    }
    let [sessions, ufrags, paths, deadlines] = world.shard.remembered();
    assert_eq!((sessions, deadlines), (51, 51));
    assert!(
        ufrags <= 51 && paths <= 102,
        "{ufrags} ufrags, {paths} paths"
    );
}

/// RTP that says which m-line it is for, as a stream's first packets do, in the client's name:
/// whoever sends it has no keys.
fn named_rtp(world: &World, client: usize, ssrc: u32) -> Vec<u8> {
    let answer = &world.clients[client].answer;
    let number = |start: &str, end: &str| -> u8 {
        let found = answer.split(start).skip(1).find_map(|rest| {
            let (value, rest) = rest.split_once(' ')?;
            rest.starts_with(end).then(|| value.parse().unwrap())
        });
        found.unwrap()
    };
    let payload_type = number("a=rtpmap:", "opus");
    let extension = number("a=extmap:", "urn:ietf:params:rtp-hdrext:sdes:mid");
    let mid = world.clients[client].mid.to_string();
    let mut packet = vec![0x90, payload_type];
    packet.extend(7_u16.to_be_bytes());
    packet.extend(48_000_u32.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    let words = (1 + mid.len()).div_ceil(4);
    packet.extend([0xBE, 0xDE, 0, words as u8]);
    packet.push(extension << 4 | (mid.len() - 1) as u8);
    packet.extend(mid.bytes());
    packet.resize(16 + 4 * words, 0);
    packet.extend([0x5A; 60]);
    packet
}

/// A packet of any of the protocols, which only looks right.
fn junk(dice: &mut Dice, world: &World, client: usize) -> Vec<u8> {
    let length = 40 + dice.below(400) as usize;
    let mut junk = dice.bytes(length);
    match dice.below(4) {
        0 => return named_rtp(world, client, dice.below(1 << 32) as u32),
        // STUN: its cookie, the right length, and no attribute that fits.
        1 => {
            junk[..8].copy_from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42]);
            junk.truncate(20 + (length - 20) / 4 * 4);
            let length = (junk.len() - 20) as u16;
            junk[2..4].copy_from_slice(&length.to_be_bytes());
            assert_eq!(demux::kind(&junk), Some(Kind::Stun));
        }
        // A DTLS record.
        2 => {
            junk[..3].copy_from_slice(&[[20, 22, 23, 25, 26][dice.below(5) as usize], 254, 253]);
            let length = (length - 13) as u16;
            junk[11..13].copy_from_slice(&length.to_be_bytes());
        }
        _ => junk[..2].copy_from_slice(&[0x80, [111, 200, 201, 96][dice.below(4) as usize]]),
    }
    junk
}

/// The last moment at which `client` heard something.
fn heard_last(world: &World, client: usize) -> Instant {
    let heard = world.clients[client].heard.last();
    heard.map_or(world.start, |heard| heard.at)
}

#[test]
fn two_callers_whose_nat_swaps_their_ports_both_go_on() {
    for mut world in worlds() {
        let pair = [world.connected_call(), world.connected_call()];
        let addresses = pair.map(|client| world.clients[client].address);
        for client in pair {
            world.play(client, 10_000);
        }
        world.run(Duration::from_secs(1));
        let moved = world.now;
        for (client, address) in pair.into_iter().rev().zip(addresses) {
            world.clients[client].address = address;
        }
        let both_hear = |world: &World| {
            let hears = |client| heard_last(world, client) > moved + Duration::from_millis(100);
            pair.into_iter().all(hears)
        };
        assert!(world.run_until(Duration::from_secs(7), both_hear));
        world.run(Duration::from_millis(500));
        let gaps = pair.map(|client| world.gaps(client));
        world.run(Duration::from_secs(1));
        assert_eq!(pair.map(|client| world.gaps(client)), gaps);
    }
}

#[test]
fn a_caller_who_gets_the_address_of_one_that_died_is_served() {
    for mut world in worlds() {
        let dead = world.connected_call();
        world.clients[dead].off = true;
        let client = world.call(DtlsVersion::Auto);
        world.clients[client].address = world.clients[dead].address;
        world.clients[dead].address = common::address("198.51.100.250:9");
        world.connect(client);
        world.run(CONSENT);
        let reason = world.closed(world.clients[dead].session);
        assert_eq!(reason, Some(CloseReason::ConsentLost));
        // What is released of the dead one is not the other's.
        world.play(client, 500);
        world.run(Duration::from_secs(1));
        assert_eq!(world.gaps(client), 0);
        assert!(world.clients[client].heard.len() >= 25);
    }
}
