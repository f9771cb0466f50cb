//! Listens for marks: finds the packet in which a burst of tone begins, and where in it. No I/O.
//!
//! The sound is decoded at 8 kHz, where 16 samples hold three periods of the tone. Each millisecond
//! is correlated with it once; every window below is a sum of such milliseconds.

use std::collections::VecDeque;
use std::f64::consts::TAU;
use std::time::Instant;

/// Frequency of a mark, in Hz.
pub const MARK_HERTZ: u32 = 1_500;
/// How long a mark sounds, in milliseconds.
pub const MARK_MS: u32 = 60;

const RATE: u32 = 8_000;
/// Samples of a millisecond.
const STEP: usize = RATE as usize / 1000;
/// The tone repeats after so many samples.
const PERIOD: usize = 16;
/// Longest Opus packet (RFC 6716 §2).
const MAX_SAMPLES: usize = RATE as usize * 120 / 1000;

/// A tone is one once it has sounded for so many milliseconds.
const PLATEAU: usize = 20;
/// The part of the power that is the tone's, from 0 to 1: speech has less at any one frequency.
const PURE: f64 = 0.7;
/// Least amplitude of a tone: -26 dBFS. Marks have -6.
const LOUD: f64 = 0.05 * 32_768.0;
/// The onset is looked for so many milliseconds back.
const RISE: usize = PLATEAU + 20;
/// Of the silence before a mark, so many milliseconds are checked.
const SILENCE: usize = 60;
/// ... up to so many before the onset, which codecs smear.
const SMEAR: usize = 10;
/// The silence has less than this part of the tone's power.
const QUIET: f64 = 0.02;
const HISTORY: usize = RISE + SMEAR + SILENCE + 8;

/// One millisecond: its correlation with the tone, and its power.
#[derive(Debug, Default, Clone, Copy)]
struct Step {
    re: f64,
    im: f64,
    power: f64,
}

impl Step {
    fn sum<'a>(steps: impl IntoIterator<Item = &'a Self>) -> (Self, usize) {
        let add = |(sum, count): (Self, usize), step: &Self| {
            let sum = Self {
                re: sum.re + step.re,
                im: sum.im + step.im,
                power: sum.power + step.power,
            };
            (sum, count + 1)
        };
        steps.into_iter().fold((Self::default(), 0), add)
    }
}

/// Amplitude of the tone in some steps, and its part of their power.
fn tone<'a>(steps: impl IntoIterator<Item = &'a Step>) -> (f64, f64) {
    let (sum, count) = Step::sum(steps);
    let samples = (count * STEP).max(1) as f64;
    let amplitude = 2.0 * sum.re.hypot(sum.im) / samples;
    let part = amplitude * amplitude / 2.0 * samples / sum.power.max(1.0);
    (amplitude, part)
}

/// Where a mark was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Onset {
    /// When the packet with the onset arrived.
    pub at: Instant,
    /// Samples, at 8 kHz, of everything that was heard before the onset.
    pub position: f64,
}

/// A decoder, and what it heard last.
pub struct Ear {
    decoder: opus::Decoder,
    pcm: Vec<i16>,
    /// (cosine, sine) of one repetition of the tone.
    wave: [(f64, f64); PERIOD],
    /// The step that is not full yet, and how many samples it has.
    begun: (Step, usize),
    steps: VecDeque<Step>,
    /// Steps heard, full ones.
    heard: u64,
    /// First sample of each recent packet, and when the packet arrived.
    packets: VecDeque<(u64, Instant)>,
    samples: u64,
    in_tone: bool,
}

impl Ear {
    /// An ear that has heard nothing.
    ///
    /// # Errors
    /// When libopus is out of memory.
    pub fn new() -> Result<Self, opus::Error> {
        let angle = |n| TAU * f64::from(MARK_HERTZ) / f64::from(RATE) * n as f64;
        Ok(Self {
            decoder: opus::Decoder::new(RATE, opus::Channels::Mono)?,
            pcm: vec![0; MAX_SAMPLES],
            wave: std::array::from_fn(|n| (angle(n).cos(), angle(n).sin())),
            begun: (Step::default(), 0),
            steps: VecDeque::with_capacity(HISTORY + 1),
            heard: 0,
            packets: VecDeque::new(),
            samples: 0,
            in_tone: false,
        })
    }

    /// Hears the next packet. Returns the mark that it made certain, if there is one; its onset
    /// may lie in an earlier packet.
    pub fn hear(&mut self, at: Instant, payload: &[u8]) -> Option<Onset> {
        let mut pcm = std::mem::take(&mut self.pcm);
        let samples = self.decoder.decode(payload, &mut pcm, false).unwrap_or(0);
        let found = self.listen(at, &pcm[..samples]);
        self.pcm = pcm;
        found
    }

    /// Hears samples that a packet held.
    fn listen(&mut self, at: Instant, pcm: &[i16]) -> Option<Onset> {
        self.packets.push_back((self.samples, at));
        let mut found = None;
        for &sample in pcm {
            let (cos, sin) = self.wave[self.samples as usize % PERIOD];
            self.samples += 1;
            let sample = f64::from(sample);
            let (step, count) = &mut self.begun;
            step.re += sample * cos;
            step.im += sample * sin;
            step.power += sample * sample;
            *count += 1;
            if *count == STEP {
                let (step, _) = std::mem::take(&mut self.begun);
                found = found.or(self.step(step));
            }
        }
        // The packet of the oldest step stays.
        let oldest = self.samples.saturating_sub((HISTORY * STEP) as u64);
        while self
            .packets
            .get(1)
            .is_some_and(|(start, _)| *start <= oldest)
        {
            self.packets.pop_front();
        }
        found
    }

    fn step(&mut self, step: Step) -> Option<Onset> {
        self.steps.push_back(step);
        self.heard += 1;
        if self.steps.len() > HISTORY {
            self.steps.pop_front();
        }
        let plateau = self.steps.len().checked_sub(PLATEAU)?;
        let (amplitude, part) = tone(self.steps.range(plateau..));
        let sounds = amplitude >= LOUD && part >= PURE;
        if !sounds {
            self.in_tone &= amplitude >= LOUD / 2.0;
            return None;
        }
        if std::mem::replace(&mut self.in_tone, true) {
            return None;
        }
        // Of the plateau, the tone may fill no more than the later part yet.
        let late = self.steps.len() - PLATEAU / 2;
        let (amplitude, _) = tone(self.steps.range(late..));
        let onset = self.onset(amplitude)?;
        if !self.is_quiet_before(onset, amplitude) {
            return None;
        }
        let first = self.heard - self.steps.len() as u64;
        self.place((first as f64 + onset) * STEP as f64)
    }

    /// Where the tone passes half its amplitude, in steps from the oldest one.
    fn onset(&self, amplitude: f64) -> Option<f64> {
        // Of two steps, which are three periods, half sound when the onset is in their middle.
        let at = |step: usize| tone(self.steps.range(step..step + 2)).0;
        let from = self.steps.len().saturating_sub(RISE);
        let mut before = 0.0;
        for step in from..self.steps.len() - 1 {
            let now = at(step);
            if now >= amplitude / 2.0 {
                let back = (now - amplitude / 2.0) / (now - before).max(f64::MIN_POSITIVE);
                return Some(step as f64 + 1.0 - back.clamp(0.0, 1.0));
            }
            before = now;
        }
        None
    }

    fn is_quiet_before(&self, onset: f64, amplitude: f64) -> bool {
        let end = (onset as usize).saturating_sub(SMEAR);
        let (sum, count) = Step::sum(self.steps.range(end.saturating_sub(SILENCE)..end));
        let power = sum.power / (count * STEP).max(1) as f64;
        power <= QUIET * amplitude * amplitude / 2.0
    }

    fn place(&self, position: f64) -> Option<Onset> {
        let holds = |&&(start, _): &&(u64, Instant)| start as f64 <= position;
        let &(_, at) = self.packets.iter().rev().find(holds)?;
        Some(Onset { at, position })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tone(ms: usize, hertz: f64, amplitude: f64) -> Vec<i16> {
        (0..ms * STEP)
            .map(|n| ((TAU * hertz * n as f64 / f64::from(RATE)).sin() * amplitude) as i16)
            .collect()
    }

    fn mark() -> Vec<i16> {
        tone(60, MARK_HERTZ.into(), 16_384.0)
    }

    fn silence(ms: usize) -> Vec<i16> {
        vec![0; ms * STEP]
    }

    /// A sweep and hum: no speech, but as loud.
    fn speech(ms: usize) -> Vec<i16> {
        let voice = tone(ms, 180.0, 6000.0);
        let sweep = (0..ms * STEP).map(|n| {
            let t = n as f64 / f64::from(RATE);
            ((TAU * (500.0 + 900.0 * (7.0 * t).sin()) * t).sin() * 6000.0) as i16
        });
        voice.into_iter().zip(sweep).map(|(a, b)| a + b).collect()
    }

    /// What an ear finds in `pcm` that comes in packets of `packet_ms`: where, in milliseconds, and
    /// when its packet arrived.
    fn found(pcm: &[i16], packet_ms: usize) -> Vec<(f64, u128)> {
        let mut ear = Ear::new().unwrap();
        let start = Instant::now();
        let packets = pcm.chunks(packet_ms * STEP).enumerate();
        let found = packets.filter_map(|(number, packet)| {
            let at = start + Duration::from_millis((number * packet_ms) as u64);
            ear.listen(at, packet)
        });
        found
            .map(|onset| (onset.position / STEP as f64, (onset.at - start).as_millis()))
            .collect()
    }

    #[test]
    fn the_onset_is_found_to_the_millisecond_wherever_it_is() {
        for extra in 0..40 {
            // Steps of a quarter of a millisecond.
            let mut pcm = silence(300);
            pcm.extend(vec![0; extra * 2]);
            pcm.extend(mark());
            pcm.extend(silence(200));
            let onset = 300.0 + extra as f64 / 4.0;
            for packet_ms in [10, 20, 60] {
                let found = found(&pcm, packet_ms);
                let [(at, arrived)] = found[..] else {
                    panic!("{found:?}")
                };
                assert!((at - onset).abs() < 1.0, "{at} for {onset}");
                let packet = at as usize / packet_ms * packet_ms;
                assert_eq!(arrived, packet as u128);
            }
        }
    }

    #[test]
    fn every_mark_is_found_once_and_speech_is_none() {
        let pcm = [
            speech(1500),
            silence(200),
            mark(),
            silence(100),
            speech(700),
            silence(250),
            mark(),
            silence(150),
            speech(500),
        ];
        let found = found(&pcm.concat(), 20);
        let places: Vec<_> = found.iter().map(|(at, _)| at.round()).collect();
        assert_eq!(places, [1700.0, 2810.0]);
    }

    #[test]
    fn a_tone_that_does_not_come_out_of_silence_is_no_mark() {
        let pcm = [silence(300), speech(300), mark(), silence(300)];
        assert_eq!(found(&pcm.concat(), 20), []);
        let neighbours = [1300.0, 1700.0, 750.0, 3000.0];
        for hertz in neighbours {
            let pcm = [silence(300), tone(60, hertz, 16_384.0), silence(300)];
            assert_eq!(found(&pcm.concat(), 20), [], "{hertz}");
        }
        let soft = [silence(300), tone(60, 1500.0, 800.0), silence(300)];
        assert_eq!(found(&soft.concat(), 20), []);
    }

    #[test]
    fn a_mark_is_found_in_noise_and_at_half_its_loudness() {
        let mut number = 1_u32;
        let mut noise = |amplitude: i32| {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (number >> 16) as i32 % (2 * amplitude) - amplitude
        };
        let pcm = [silence(300), tone(60, 1500.0, 8_000.0), silence(300)].concat();
        let pcm: Vec<_> = pcm.iter().map(|&s| s + noise(600) as i16).collect();
        let found = found(&pcm, 20);
        let [(at, _)] = found[..] else {
            panic!("{found:?}")
        };
        assert!((at - 300.0).abs() < 1.0, "{at}");
    }

    #[test]
    fn through_opus_the_onset_stays_in_its_packet() {
        let mut encoder =
            opus::Encoder::new(RATE, opus::Channels::Mono, opus::Application::Voip).unwrap();
        let pcm = [silence(300), mark(), silence(300)].concat();
        for packet_ms in [10, 20, 60] {
            let mut ear = Ear::new().unwrap();
            let start = Instant::now();
            let mut found = Vec::new();
            for (number, frame) in pcm.chunks_exact(packet_ms * STEP).enumerate() {
                let packet = encoder.encode_vec(frame, 1276).unwrap();
                let at = start + Duration::from_millis((number * packet_ms) as u64);
                found.extend(ear.hear(at, &packet));
            }
            let [onset] = found[..] else {
                panic!("{found:?}")
            };
            // The codec's own delay is 6.5 ms.
            let at = onset.position / STEP as f64;
            assert!((304.0..309.0).contains(&at), "{at} with {packet_ms} ms");
            assert_eq!((onset.at - start).as_millis(), 300);
        }
    }

    #[test]
    fn what_is_no_opus_is_not_heard() {
        let mut ear = Ear::new().unwrap();
        for payload in [&[][..], &[0xFF], &[0x0B; 3], &[0x08; 1000]] {
            assert_eq!(ear.hear(Instant::now(), payload), None);
        }
    }
}
