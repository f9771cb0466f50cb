//! From one rate to another, for telephone sound: a filter of 32 taps at the lower rate, 2 ms of
//! delay.

use std::f64::consts::PI;

/// Length of the filter, in samples at the lower rate.
const TAPS: usize = 32;
/// Where it has fallen to a half, as a share of the lower rate: between what a telephone carries,
/// up to 3.4 kHz of 8, and the mirror image of that, from 4.6.
const CUTOFF: f64 = 0.485;
/// Of the Kaiser window: 60 dB.
const BETA: f64 = 5.65;

/// Keeps what the filter still needs of one stream.
pub(crate) struct Resampler {
    up: usize,
    down: usize,
    /// The filter's taps, phase by phase.
    phases: Vec<Vec<f32>>,
    history: Vec<f32>,
    /// Where the next output stands, in steps of 1/`up` of an input sample.
    position: usize,
}

impl Resampler {
    /// From `from` Hz to `to` Hz.
    pub(crate) fn new(from: u32, to: u32) -> Self {
        let common = greatest_common_divisor(from, to);
        let (up, down) = ((to / common) as usize, (from / common) as usize);
        // The filter runs at a rate that is a multiple of both; there it is so long.
        let length = TAPS * up.max(down);
        let taps = length.div_ceil(up);
        let filter = lowpass(length, up);
        let tap = |phase: usize, n: usize| filter.get(n * up + phase).copied().unwrap_or(0.0);
        let phase = |phase| (0..taps).map(|n| tap(phase, n)).collect();
        Self {
            up,
            down,
            phases: (0..up).map(phase).collect(),
            history: vec![0.0; taps - 1],
            position: 0,
        }
    }

    /// The next stretch at the new rate.
    pub(crate) fn resample(&mut self, input: &[i16]) -> Vec<i16> {
        let kept = self.history.len();
        let mut line = std::mem::take(&mut self.history);
        line.extend(input.iter().map(|&sample| f32::from(sample)));
        let end = input.len() * self.up;
        let mut output = Vec::with_capacity((end - self.position.min(end)).div_ceil(self.down));
        while self.position < end {
            let newest = self.position / self.up + kept;
            let taps = &self.phases[self.position % self.up];
            let past = line[newest + 1 - taps.len()..=newest].iter().rev();
            let sum: f32 = past.zip(taps).map(|(sample, tap)| sample * tap).sum();
            // Saturates.
            output.push(sum.round() as i16);
            self.position += self.down;
        }
        self.position -= end;
        line.drain(..line.len() - kept);
        line.shrink_to_fit();
        self.history = line;
        output
    }
}

/// A windowed sinc of `length` taps, so that the sum of each of `phases` is about 1.
fn lowpass(length: usize, phases: usize) -> Vec<f32> {
    let middle = (length - 1) as f64 / 2.0;
    let cutoff = CUTOFF * TAPS as f64 / length as f64;
    let tap = |n| {
        let x = n as f64 - middle;
        let sinc = if x == 0.0 {
            2.0 * cutoff
        } else {
            (2.0 * PI * cutoff * x).sin() / (PI * x)
        };
        let edge = x / (middle + 1.0);
        sinc * bessel(BETA * (1.0 - edge * edge).sqrt())
    };
    let taps: Vec<f64> = (0..length).map(tap).collect();
    let gain = phases as f64 / taps.iter().sum::<f64>();
    taps.iter().map(|tap| (tap * gain) as f32).collect()
}

/// The modified Bessel function of the first kind, order 0.
fn bessel(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..30 {
        term *= (x / 2.0 / f64::from(n)).powi(2);
        sum += term;
    }
    sum
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [u32; 4] = [12_000, 16_000, 24_000, 48_000];

    fn sine(rate: u32, hz: f64, samples: usize) -> Vec<i16> {
        let sample = |n| ((n as f64 * hz * 2.0 * PI / f64::from(rate)).sin() * 12_000.0) as i16;
        (0..samples).map(sample).collect()
    }

    /// Amplitude of `pcm` at `hz`.
    fn amplitude(pcm: &[i16], rate: u32, hz: f64) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, &sample) in pcm.iter().enumerate() {
            let angle = n as f64 * hz * 2.0 * PI / f64::from(rate);
            re += f64::from(sample) * angle.cos();
            im += f64::from(sample) * angle.sin();
        }
        2.0 * re.hypot(im) / pcm.len() as f64
    }

    /// In pieces of 20 ms, without the first two.
    fn resample(from: u32, to: u32, pcm: &[i16]) -> Vec<i16> {
        let mut resampler = Resampler::new(from, to);
        let pieces = pcm.chunks((from / 50) as usize);
        let out: Vec<_> = pieces.map(|piece| resampler.resample(piece)).collect();
        assert!(out.iter().all(|piece| piece.len() == (to / 50) as usize));
        out[2..].concat()
    }

    #[test]
    fn a_voice_passes_and_its_mirror_image_does_not() {
        for rate in RATES {
            for hz in [300.0, 1000.0, 2000.0, 3300.0] {
                let out = resample(8000, rate, &sine(8000, hz, 8000));
                let level = amplitude(&out, rate, hz);
                assert!((level / 12_000.0 - 1.0).abs() < 0.03, "{hz} Hz: {level}");
                if rate > 12_000 {
                    let image = amplitude(&out, rate, 8000.0 - hz);
                    assert!(image < 30.0, "{hz} Hz to {rate}: {image}");
                }
            }
        }
    }

    #[test]
    fn what_a_telephone_cannot_carry_does_not_come_back_as_something_else() {
        for rate in RATES {
            for hz in [300.0, 1000.0, 3300.0] {
                let out = resample(rate, 8000, &sine(rate, hz, rate as usize));
                let level = amplitude(&out, 8000, hz);
                assert!((level / 12_000.0 - 1.0).abs() < 0.03, "{hz} Hz: {level}");
            }
            for hz in [4700.0, 5500.0] {
                let out = resample(rate, 8000, &sine(rate, hz, rate as usize));
                let alias = amplitude(&out, 8000, 8000.0 - hz);
                assert!(alias < 30.0, "{hz} Hz of {rate}: {alias}");
            }
        }
    }

    #[test]
    fn pieces_of_any_length_make_the_same_line() {
        let pcm = sine(8000, 440.0, 4000);
        for rate in RATES {
            let mut whole = Resampler::new(8000, rate);
            let whole = whole.resample(&pcm);
            let mut resampler = Resampler::new(8000, rate);
            let (mut rest, mut out) = (&pcm[..], Vec::new());
            for length in (1..40).cycle() {
                let (piece, more) = rest.split_at(length.min(rest.len()));
                out.extend(resampler.resample(piece));
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
            assert_eq!(out, whole);
        }
    }

    #[test]
    fn the_loudest_is_not_wrapped() {
        let mut resampler = Resampler::new(8000, 48_000);
        let square = [[i16::MAX; 40], [i16::MIN; 40]].concat().repeat(10);
        let out = resampler.resample(&square);
        // Where the input is flat, so is the output.
        assert!(out[6 * 140..6 * 150].iter().all(|&sample| sample < -30_000));
    }
}
