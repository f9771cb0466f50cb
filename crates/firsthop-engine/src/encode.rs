//! PCM into packets.

use std::sync::Arc;

use crate::adapt::Setting;
use crate::codec::Codec;
use crate::g711::{self, Law};

/// Largest Opus packet that we make; at speech bit rates 20 ms take about 80 bytes.
const MAX_PACKET_BYTES: usize = 400;

/// How speech is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// Highest bit rate in bit/s; G.711 takes 64,000.
    pub bitrate: i32,
    /// libopus complexity, 0–10: CPU against quality.
    pub complexity: i32,
}

/// The encoder of one stream.
pub(crate) enum Encoder {
    /// Follows the path.
    Opus(opus::Encoder, Setting),
    /// Cannot.
    G711(g711::Encoder),
}

impl Encoder {
    /// An encoder for PCM16 mono at `rate` Hz (8, 12, 16, 24 or 48 kHz).
    ///
    /// # Errors
    /// When libopus refuses a value or is out of memory.
    pub(crate) fn new(codec: Codec, rate: u32, encoding: Encoding) -> Result<Self, opus::Error> {
        let law = match codec {
            Codec::Opus => return Self::opus(rate, encoding),
            Codec::Pcmu => Law::Mu,
            Codec::Pcma => Law::A,
        };
        Ok(Self::G711(g711::Encoder::new(law, rate)))
    }

    fn opus(rate: u32, encoding: Encoding) -> Result<Self, opus::Error> {
        let mode = opus::Application::Voip;
        let mut encoder = opus::Encoder::new(rate, opus::Channels::Mono, mode)?;
        let bitrate = encoding.bitrate;
        encoder.set_bitrate(opus::Bitrate::Bits(bitrate))?;
        encoder.set_complexity(encoding.complexity)?;
        let setting = Setting {
            bitrate,
            loss_percent: 0,
        };
        Ok(Self::Opus(encoder, setting))
    }

    /// Encodes for another path from the next packet on.
    ///
    /// # Errors
    /// When libopus refuses a value.
    pub(crate) fn adapt(&mut self, new: Setting) -> Result<(), opus::Error> {
        let Self::Opus(encoder, setting) = self else {
            return Ok(());
        };
        if new == *setting {
            return Ok(());
        }
        *setting = new;
        encoder.set_bitrate(opus::Bitrate::Bits(new.bitrate))?;
        encoder.set_inband_fec(new.loss_percent > 0)?;
        encoder.set_packet_loss_perc(new.loss_percent)
    }

    /// The packet of 20 ms.
    ///
    /// # Errors
    /// When libopus fails, which it does not for frames of the right size.
    pub(crate) fn encode(&mut self, frame: &[i16]) -> Result<Arc<[u8]>, opus::Error> {
        Ok(match self {
            Self::Opus(encoder, _) => encoder.encode_vec(frame, MAX_PACKET_BYTES)?.into(),
            Self::G711(encoder) => encoder.encode(frame).into(),
        })
    }
}
