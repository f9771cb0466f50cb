//! Packets into PCM, and what stands in for those that are missing.

use crate::packet::has_fec;

/// A payload that is no packet of its codec.
pub(crate) struct Corrupt;

/// The decoder of one stream. Made with its first packet: most of what a listener owns.
pub(crate) struct Decoder {
    rate: u32,
    opus: Option<opus::Decoder>,
}

impl Decoder {
    /// A decoder that yields PCM16, mono, at `rate` Hz (8, 12, 16, 24 or 48 kHz).
    pub(crate) fn new(rate: u32) -> Self {
        Self { rate, opus: None }
    }

    /// Samples in a packet.
    pub(crate) fn samples(&self, payload: &[u8]) -> Result<usize, Corrupt> {
        opus::packet::get_nb_samples(payload, self.rate).map_err(|_| Corrupt)
    }

    /// The sound of a packet.
    pub(crate) fn decode(&mut self, payload: &[u8]) -> Result<Vec<i16>, Corrupt> {
        let samples = self.samples(payload)?;
        self.run(payload, samples, false)
    }

    /// Something like what was heard last, fading.
    pub(crate) fn conceal(&mut self, samples: usize) -> Vec<i16> {
        // libopus conceals in steps of 2.5 ms.
        let whole = samples - samples % (self.rate as usize / 400);
        let mut pcm = self.run(&[], whole, false).unwrap_or_default();
        pcm.resize(samples, 0);
        pcm
    }

    /// How many samples before a packet the packet itself carries.
    pub(crate) fn recoverable(&self, following: &[u8]) -> usize {
        let samples = opus::packet::get_samples_per_frame(following, self.rate);
        samples.ok().filter(|_| has_fec(following)).unwrap_or(0)
    }

    /// The last `samples` before a packet that carries them.
    pub(crate) fn recover(&mut self, following: &[u8], samples: usize) -> Vec<i16> {
        let carried = self.recoverable(following).max(samples);
        let mut pcm = self.run(following, carried, true).unwrap_or_default();
        pcm.resize(carried, 0);
        pcm.split_off(carried - samples)
    }

    /// Expects another stream.
    pub(crate) fn restart(&mut self) {
        self.opus = None;
    }

    fn run(&mut self, payload: &[u8], samples: usize, fec: bool) -> Result<Vec<i16>, Corrupt> {
        let opus = match &mut self.opus {
            Some(opus) => opus,
            None => self
                .opus
                .insert(opus::Decoder::new(self.rate, opus::Channels::Mono).map_err(|_| Corrupt)?),
        };
        let mut pcm = vec![0; samples];
        if samples > 0 {
            let decoded = opus.decode(payload, &mut pcm, fec).map_err(|_| Corrupt)?;
            pcm.truncate(decoded);
        }
        Ok(pcm)
    }
}
