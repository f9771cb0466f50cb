//! Invariant: RTP packets with any sequence number, time and payload, at any time, become one
//! unbroken line of PCM, of bounded length for each packet, and never a panic.
//!
//! Input: packets, each four bytes of how, the length of its payload, and the payload.

#![no_main]

use std::time::{Duration, Instant};

use firsthop_engine::codec::Codec;
use firsthop_engine::listen::Listener;
use libfuzzer_sys::fuzz_target;

const RATES: [u32; 5] = [8_000, 12_000, 16_000, 24_000, 48_000];
const CODECS: [Codec; 3] = [Codec::Opus, Codec::Pcmu, Codec::Pcma];
const FRAME: Duration = Duration::from_millis(20);
/// What one packet may bring about at most: waiting packets at 120 ms each, silence of 1.5 s
/// before each, and 25 concealed.
const MOST: Duration = Duration::from_secs(25);

fuzz_target!(|input: &[u8]| {
    let Some((&first, mut rest)) = input.split_first() else {
        return;
    };
    let rate = RATES[usize::from(first) % RATES.len()];
    let codec = CODECS[usize::from(first) / RATES.len() % CODECS.len()];
    let mut listener = Listener::new(codec, rate, FRAME);
    let most = u64::from(rate) * MOST.as_secs();
    let mut now = Instant::now();
    // In the middle of what 48 bits hold, as the extended numbers of a call are.
    let (mut sequence, mut rtp_time) = (1_u64 << 32, 1_u64 << 40);
    let mut position = 0;
    while let [how, wait, forward, clock, length, packet @ ..] = rest {
        let (payload, next) = packet.split_at(packet.len().min(usize::from(*length)));
        rest = next;
        now += Duration::from_millis(u64::from(*wait));
        // Small steps mostly, and leaps.
        let scale = [0, 0, 8, 24][usize::from(how & 3)];
        sequence = sequence.wrapping_add_signed(i64::from(*forward as i8) << scale) & (1 << 48) - 1;
        rtp_time =
            rtp_time.wrapping_add_signed(i64::from(*clock as i8) * 480 << scale) & (1 << 48) - 1;
        match how >> 2 & 7 {
            0 => listener.restart(),
            1 => listener.handle_timeout(now),
            2 => {
                if let Some(deadline) = listener.deadline() {
                    now = now.max(deadline);
                    listener.handle_timeout(now);
                }
            }
            _ => listener.push(now, sequence, rtp_time, payload.into()),
        }
        let before = position;
        while let Some(frame) = listener.poll() {
            assert_eq!(frame.position, position);
            assert_eq!(frame.pcm.len(), rate as usize / 50);
            position += frame.pcm.len() as u64;
        }
        assert!(
            position - before <= most,
            "{} samples at once",
            position - before
        );
    }
    // A sender that says no more is waited for, and not for ever.
    for _ in 0..200 {
        let Some(deadline) = listener.deadline() else {
            return;
        };
        now = now.max(deadline);
        listener.handle_timeout(now);
    }
    panic!("never at rest");
});
