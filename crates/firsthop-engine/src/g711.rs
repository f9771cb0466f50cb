//! Telephone sound: ITU-T G.711, a byte per sample at 8 kHz.

use crate::repeat::Repeater;
use crate::resample::Resampler;

/// Samples per second.
pub(crate) const RATE: u32 = 8_000;

/// How a sample becomes a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Law {
    /// µ-law: North America, Japan.
    Mu,
    /// A-law: elsewhere.
    A,
}

/// µ-law: what is added to the magnitude, so that each segment is twice the one below.
const BIAS: i32 = 0x84;
/// µ-law: the largest magnitude that has a code.
const MU_CLIP: i32 = 0x7FFF - BIAS;
/// A-law: every other bit is turned.
const A_MASK: u8 = 0x55;
const SIGN: u8 = 0x80;

impl Law {
    /// The byte nearest to a sample of PCM16.
    pub(crate) fn encode(self, sample: i16) -> u8 {
        let sample = i32::from(sample);
        match self {
            Self::Mu => {
                let magnitude = sample.abs().min(MU_CLIP) + BIAS;
                let segment = magnitude.ilog2() - 7;
                let step = (magnitude >> (segment + 3)) as u8 & 0x0F;
                let sign = if sample < 0 { SIGN } else { 0 };
                !(sign | (segment as u8) << 4 | step)
            }
            Self::A => {
                let (sign, magnitude) = if sample < 0 {
                    (0, !sample)
                } else {
                    (SIGN, sample)
                };
                let segment = (magnitude | 0xFF).ilog2() - 7;
                let step = (magnitude >> (segment.max(1) + 3)) as u8 & 0x0F;
                (sign | (segment as u8) << 4 | step) ^ A_MASK
            }
        }
    }

    /// The sample that a byte stands for, in PCM16.
    pub(crate) fn decode(self, byte: u8) -> i16 {
        let (byte, negative) = match self {
            Self::Mu => (!byte, !byte & SIGN != 0),
            Self::A => (byte ^ A_MASK, (byte ^ A_MASK) & SIGN == 0),
        };
        let (segment, step) = (byte >> 4 & 0x07, i32::from(byte & 0x0F));
        let magnitude = match (self, segment) {
            (Self::Mu, _) => (((step << 3) + BIAS) << segment) - BIAS,
            (Self::A, 0) => (step << 4) + 8,
            (Self::A, _) => ((step << 4) + 0x108) << (segment - 1),
        };
        (if negative { -magnitude } else { magnitude }) as i16
    }
}

/// Bytes into PCM of another rate.
pub(crate) struct Decoder {
    law: Law,
    rate: u32,
    repeater: Repeater,
    up: Option<Resampler>,
}

impl Decoder {
    pub(crate) fn new(law: Law, rate: u32) -> Self {
        Self {
            law,
            rate,
            repeater: Repeater::default(),
            up: (rate != RATE).then(|| Resampler::new(RATE, rate)),
        }
    }

    pub(crate) fn decode(&mut self, payload: &[u8]) -> Vec<i16> {
        let pcm = payload.iter().map(|&byte| self.law.decode(byte));
        let mut pcm: Vec<i16> = pcm.collect();
        self.repeater.heard(&mut pcm);
        self.raise(pcm)
    }

    /// Something like what was heard last, fading; `samples` at the decoder's rate.
    pub(crate) fn conceal(&mut self, samples: usize) -> Vec<i16> {
        let count = samples as u64 * u64::from(RATE) / u64::from(self.rate);
        let pcm = self.repeater.repeat(count as usize);
        let mut pcm = self.raise(pcm);
        pcm.resize(samples, 0);
        pcm
    }

    fn raise(&mut self, pcm: Vec<i16>) -> Vec<i16> {
        match &mut self.up {
            Some(up) => up.resample(&pcm),
            None => pcm,
        }
    }
}

/// PCM of another rate into bytes.
pub(crate) struct Encoder {
    law: Law,
    down: Option<Resampler>,
}

impl Encoder {
    pub(crate) fn new(law: Law, rate: u32) -> Self {
        Self {
            law,
            down: (rate != RATE).then(|| Resampler::new(rate, RATE)),
        }
    }

    pub(crate) fn encode(&mut self, pcm: &[i16]) -> Vec<u8> {
        let bytes = |pcm: &[i16]| pcm.iter().map(|&sample| self.law.encode(sample)).collect();
        match &mut self.down {
            Some(down) => bytes(&down.resample(pcm)),
            None => bytes(pcm),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_recommendation() {
        // (sample, µ-law, A-law): zero, the ends, and decision values of tables 1 and 2.
        for (sample, mu, a) in [
            (0, 0xFF, 0xD5),
            (-1, 0x7F, 0x55),
            (i16::MAX, 0x80, 0xAA),
            (i16::MIN, 0x00, 0x2A),
            (1000, 0xCE, 0xFA),
            (-1000, 0x4E, 0x7A),
            (8031, 0xA0, 0x8A),
            (-8031, 0x20, 0x0A),
        ] {
            assert_eq!(Law::Mu.encode(sample), mu, "{sample}");
            assert_eq!(Law::A.encode(sample), a, "{sample}");
        }
        for (byte, sample) in [(0x00, -32_124), (0x80, 32_124), (0x8F, 16_764), (0xF0, 120)] {
            assert_eq!(Law::Mu.decode(byte), sample);
        }
        for (byte, sample) in [(0x2A, -32_256), (0xAA, 32_256), (0xD5, 8), (0x55, -8)] {
            assert_eq!(Law::A.decode(byte), sample);
        }
        assert_eq!((Law::Mu.decode(0xFF), Law::Mu.decode(0x7F)), (0, 0));
    }

    #[test]
    fn a_byte_comes_back_as_itself() {
        for law in [Law::Mu, Law::A] {
            for byte in 0..=255 {
                let again = law.encode(law.decode(byte));
                // Minus zero is zero.
                let zero = law == Law::Mu && byte == 0x7F;
                assert_eq!(again, if zero { 0xFF } else { byte }, "{law:?}");
            }
        }
    }

    #[test]
    fn a_sample_comes_back_within_half_a_step() {
        for law in [Law::Mu, Law::A] {
            for sample in i16::MIN..=i16::MAX {
                let error = i32::from(law.decode(law.encode(sample))) - i32::from(sample);
                let magnitude = i32::from(sample).abs();
                // A step is at most a sixteenth of what it is a step of; the top is clipped.
                let bound = (magnitude / 32 + 8).max(magnitude - 32_124);
                assert!(error.abs() <= bound, "{law:?} {sample}: {error}");
            }
        }
    }
}
