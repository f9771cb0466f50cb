//! Forty agents that begin to speak at one moment: each caller hears what it would hear if it were
//! the only one, on a thread that is in time, and on one that is late at every turn.

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{Dice, FRAME, RATE, TICK_SAMPLES, World, opus_packets, sweep};
use firsthop_engine::Event;
use firsthop_engine::codec::Codec;
use firsthop_engine::packet::OpusPacket;
use firsthop_engine::playout::{Encoding, Playout, TICK};
use firsthop_engine::shard::{Command, Output};
use firsthop_engine::sound::{AudioFormat, Sound};
use firsthop_wire::demux::{self, Kind};
use str0m::config::DtlsVersion;

const CALLS: usize = 40;
/// Packets of what is said, and of the silence after it.
const SAID: usize = 60;
const SILENCE: usize = 5;
/// How late a turn is at most: a tick's worth of encoding may take longer than a tick, now and then.
const LATE: Duration = Duration::from_millis(50);

const ENCODING: Encoding = Encoding {
    bitrate: 32_000,
    complexity: 2,
};
const PCM: Sound = Sound::Pcm(AudioFormat {
    rate: RATE,
    frame: FRAME,
    encoding: ENCODING,
});
const OPUS: Sound = Sound::Opus { batch: FRAME };

/// What the agent of `client` says: no two say the same.
fn said(client: usize) -> Vec<i16> {
    let from = client * TICK_SAMPLES;
    sweep((CALLS + SAID) * 20)[from..from + SAID * TICK_SAMPLES].to_vec()
}

fn is_pcm(sound: Sound) -> bool {
    matches!(sound, Sound::Pcm(_))
}

/// The packets in which it leaves where nobody else speaks.
fn alone(client: usize, sound: Sound) -> Vec<Vec<u8>> {
    if !is_pcm(sound) {
        return opus_packets(&said(client));
    }
    let mut playout = Playout::new(Codec::Opus, RATE, ENCODING).unwrap();
    playout
        .push(Instant::now(), 1, &said(client), true)
        .unwrap();
    let mut packets = Vec::new();
    while let Some(due) = playout.deadline() {
        let packet = playout.tick(due).unwrap();
        packets.extend(packet.map(|packet| packet.payload.to_vec()));
    }
    packets.truncate(SAID);
    packets
}

/// Has the agent of `client` say it.
fn say(world: &World, client: usize, sound: Sound) -> Command {
    let (session, utterance, complete) = (world.clients[client].session, 1, true);
    if is_pcm(sound) {
        return Command::Play {
            session,
            utterance,
            pcm: said(client),
            complete,
        };
    }
    let packet = |packet: Vec<u8>| OpusPacket::new(&packet[..]).unwrap();
    Command::PlayOpus {
        session,
        utterance,
        packets: alone(client, sound).into_iter().map(packet).collect(),
        complete,
    }
}

/// Forty calls that clients reach directly.
fn connected(sound: Sound) -> World {
    let mut world = World::direct();
    world.sound = sound;
    for _ in 0..CALLS {
        world.call(DtlsVersion::Auto);
    }
    for client in 0..CALLS {
        world.connect(client);
    }
    world
}

fn says_that_all_was_played(event: &Event) -> bool {
    matches!(
        *event,
        Event::PlayoutEnded { played_ms, interrupted: false, .. } if played_ms == SAID as u64 * 20
    )
}

#[test]
fn everybody_hears_what_it_would_hear_alone_20_ms_apart() {
    for sound in [PCM, OPUS] {
        let mut world = connected(sound);
        for client in 0..CALLS {
            world.command(say(&world, client, sound));
        }
        world.run(TICK * (SAID + 2 * SILENCE) as u32);
        for client in 0..CALLS {
            let heard = &world.clients[client].heard;
            assert_eq!(heard.len(), SAID + SILENCE, "{client}");
            let alone = alone(client, sound);
            for (n, (heard, alone)) in heard.iter().zip(&alone).enumerate() {
                assert_eq!(
                    heard.packet.payload[..],
                    alone[..],
                    "packet {n} of {client}"
                );
            }
            for (n, pair) in heard.windows(2).enumerate() {
                let (one, next) = (&pair[0].packet.header, &pair[1].packet.header);
                assert_eq!(*pair[1].packet.seq_no, *pair[0].packet.seq_no + 1);
                assert_eq!(next.timestamp.wrapping_sub(one.timestamp), 960);
                assert_eq!(pair[1].at - pair[0].at, TICK, "packet {n} of {client}");
            }
            let said = world.said(client);
            assert!(said.into_iter().any(says_that_all_was_played), "{client}");
        }
    }
}

/// What left for a client: in which turn of the thread, and when.
struct Left {
    turn: usize,
    at: Instant,
    sequence: u16,
    rtp_time: u32,
}

/// A shard's thread, which takes its time.
struct Thread {
    world: World,
    turn: usize,
    left: HashMap<SocketAddr, Vec<Left>>,
    /// Who was served in a turn, in order; those who got several packets, several times.
    served: Vec<Vec<SocketAddr>>,
}

impl Thread {
    fn new(world: World) -> Self {
        Self {
            world,
            turn: 0,
            left: HashMap::new(),
            served: Vec::new(),
        }
    }

    /// Ends a turn: what it put out leaves.
    fn write(&mut self, output: &Output) {
        let mut served = Vec::new();
        for packet in &output.packets {
            // Not RTCP (RFC 5761 §4).
            let is_rtcp = (64..96).contains(&(packet.contents[1] & 0x7F));
            if demux::kind(&packet.contents) != Some(Kind::Rtp) || is_rtcp {
                continue;
            }
            let number = |range: std::ops::Range<usize>| {
                let bytes = packet.contents[range].iter();
                bytes.fold(0, |sum, &byte| sum << 8 | u32::from(byte))
            };
            served.push(packet.to);
            self.left.entry(packet.to).or_default().push(Left {
                turn: self.turn,
                at: self.world.now,
                sequence: number(2..4) as u16,
                rtp_time: number(4..8),
            });
        }
        self.turn += 1;
        if !served.is_empty() {
            self.served.push(served);
        }
    }

    /// The next turn, `late` after it was due.
    fn turn(&mut self, late: Duration) {
        let due = self.world.shard.deadline().expect("there are sessions");
        self.world.now = self.world.now.max(due) + late;
        let mut output = Output::default();
        let clock = self.world.clock();
        self.world.shard.handle_timeout(clock, &mut output);
        self.write(&output);
    }
}

#[test]
fn a_thread_that_is_late_serves_everybody_in_the_same_turns_and_order() {
    for (sound, seed) in [(PCM, 1), (OPUS, 2)] {
        let mut dice = Dice::new(seed);
        let mut thread = Thread::new(connected(sound));
        let start = thread.world.now;
        let mut output = Output::default();
        for client in 0..CALLS {
            let command = say(&thread.world, client, sound);
            let clock = thread.world.clock();
            let shard = &mut thread.world.shard;
            shard.handle_command(clock, command, &mut output);
        }
        thread.write(&output);
        while thread.world.now < start + TICK * (SAID + 2 * SILENCE) as u32 {
            thread.turn(Duration::from_micros(dice.below(LATE.as_micros() as u64)));
        }

        assert_eq!(thread.left.len(), CALLS);
        for served in &thread.served {
            let mut once = served.clone();
            once.dedup();
            assert_eq!(once.len(), CALLS, "each is served once a turn: {served:?}");
            let first = thread.served[0].iter();
            assert!(first.eq(&once), "the order is always the same");
        }
        let one = &thread.left[&thread.world.clients[0].address];
        let turns = |left: &[Left]| left.iter().map(|left| left.turn).collect::<Vec<_>>();
        for (client, left) in &thread.left {
            assert_eq!(turns(left), turns(one), "{client}: nobody is behind others");
            assert_eq!(left.len(), SAID + SILENCE, "{client}: all of it left");
            for (n, packet) in left.iter().enumerate() {
                assert_eq!(packet.sequence, left[0].sequence.wrapping_add(n as u16));
                let clock = packet.rtp_time.wrapping_sub(left[0].rtp_time);
                assert_eq!(clock, n as u32 * 960, "{client}: the RTP clock is time");
                // In the first turn after its time. What falls due within a millisecond of a turn
                // waits for that; a packet of the agent's own may leave 5 ms early.
                let due = start + TICK * n as u32;
                assert!(packet.at + Duration::from_millis(5) >= due);
                assert!(packet.at <= due + Duration::from_millis(1) + LATE);
            }
        }
    }
}
