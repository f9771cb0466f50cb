//! Packets into PCM, and what stands in for those that are missing.

use crate::codec::Codec;
use crate::g711::{self, Law};
use crate::packet::has_fec;

/// A payload that is no packet of its codec.
pub(crate) struct Corrupt;

/// The decoder of one stream. It takes memory from its first packet on: most of what a listener
/// owns.
pub(crate) struct Decoder {
    codec: Codec,
    rate: u32,
    running: Option<Running>,
}

enum Running {
    Opus(opus::Decoder),
    G711(Box<g711::Decoder>),
}

impl Decoder {
    /// A decoder that yields PCM16, mono, at `rate` Hz (8, 12, 16, 24 or 48 kHz).
    pub(crate) fn new(codec: Codec, rate: u32) -> Self {
        Self {
            codec,
            rate,
            running: None,
        }
    }

    /// Samples in a packet.
    pub(crate) fn samples(&self, payload: &[u8]) -> Result<usize, Corrupt> {
        match self.codec {
            Codec::Opus => opus::packet::get_nb_samples(payload, self.rate).map_err(|_| Corrupt),
            Codec::Pcmu | Codec::Pcma => {
                Ok(payload.len() * self.rate as usize / g711::RATE as usize)
            }
        }
    }

    /// The sound of a packet.
    pub(crate) fn decode(&mut self, payload: &[u8]) -> Result<Vec<i16>, Corrupt> {
        let samples = self.samples(payload)?;
        match self.run()? {
            Running::Opus(decoder) => decode(decoder, payload, samples, false),
            Running::G711(decoder) => Ok(decoder.decode(payload)),
        }
    }

    /// Something like what was heard last, fading.
    pub(crate) fn conceal(&mut self, samples: usize) -> Vec<i16> {
        // libopus conceals in steps of 2.5 ms.
        let whole = samples - samples % (self.rate as usize / 400);
        let mut pcm = match self.run() {
            Ok(Running::Opus(decoder)) => decode(decoder, &[], whole, false).unwrap_or_default(),
            Ok(Running::G711(decoder)) => decoder.conceal(samples),
            Err(Corrupt) => Vec::new(),
        };
        pcm.resize(samples, 0);
        pcm
    }

    /// How many samples before a packet the packet itself carries.
    pub(crate) fn recoverable(&self, following: &[u8]) -> usize {
        if self.codec != Codec::Opus || !has_fec(following) {
            return 0;
        }
        opus::packet::get_samples_per_frame(following, self.rate).unwrap_or(0)
    }

    /// The last `samples` before a packet that carries them.
    pub(crate) fn recover(&mut self, following: &[u8], samples: usize) -> Vec<i16> {
        let carried = self.recoverable(following).max(samples);
        let mut pcm = match self.run() {
            Ok(Running::Opus(decoder)) => {
                decode(decoder, following, carried, true).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        pcm.resize(carried, 0);
        pcm.split_off(carried - samples)
    }

    /// Expects another stream.
    pub(crate) fn restart(&mut self) {
        self.running = None;
    }

    fn run(&mut self) -> Result<&mut Running, Corrupt> {
        if self.running.is_none() {
            self.running = Some(match self.codec {
                Codec::Opus => {
                    let decoder = opus::Decoder::new(self.rate, opus::Channels::Mono);
                    Running::Opus(decoder.map_err(|_| Corrupt)?)
                }
                Codec::Pcmu => Running::G711(Box::new(g711::Decoder::new(Law::Mu, self.rate))),
                Codec::Pcma => Running::G711(Box::new(g711::Decoder::new(Law::A, self.rate))),
            });
        }
        self.running.as_mut().ok_or(Corrupt)
    }
}

fn decode(
    decoder: &mut opus::Decoder,
    payload: &[u8],
    samples: usize,
    fec: bool,
) -> Result<Vec<i16>, Corrupt> {
    let mut pcm = vec![0; samples];
    if samples > 0 {
        let decoded = decoder.decode(payload, &mut pcm, fec);
        pcm.truncate(decoded.map_err(|_| Corrupt)?);
    }
    Ok(pcm)
}
