//! Opus at a stretch: a whole recording into packets, and back.

use std::fmt;

/// Largest packet that the encoder may make, in bytes: a datagram's.
const MAX_PACKET_BYTES: usize = 1276;
/// Longest packet (RFC 6716 §2), in milliseconds.
const MAX_PACKET_MS: u32 = 120;

/// How a recording is encoded.
#[derive(Debug, Clone, Copy)]
pub struct Encoding {
    /// Sample rate of the PCM, in Hz: 8,000, 12,000, 16,000, 24,000 or 48,000.
    pub rate: u32,
    /// 1 or 2; of two, the samples take turns.
    pub channels: u8,
    /// Bits per second: 6,000 to 510,000.
    pub bitrate: i32,
    /// Effort of the encoder: 0 to 10.
    pub complexity: i32,
    /// Duration of each packet: 10, 20, 40 or 60.
    pub packet_ms: u32,
    /// In-band forward error correction.
    pub fec: bool,
    /// The loss that the encoder is to expect, 0 to 100.
    pub loss_percent: i32,
}

/// Why a recording could not be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodecError {
    /// A setting of [`Encoding`] is out of its range.
    Setting(&'static str),
    /// libopus refused the packet at this index.
    Packet(usize),
    /// libopus said so.
    Opus(String),
}

impl fmt::Display for CodecError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(allowed) => formatter.write_str(allowed),
            Self::Packet(index) => write!(
                formatter,
                "packets[{index}]: not an Opus packet (RFC 6716 section 3)"
            ),
            Self::Opus(said) => write!(formatter, "libopus: {said}"),
        }
    }
}

impl std::error::Error for CodecError {}

impl From<opus::Error> for CodecError {
    fn from(error: opus::Error) -> Self {
        Self::Opus(error.description().to_owned())
    }
}

/// Encodes all of `pcm`; the last packet is filled with silence.
///
/// # Errors
/// [`CodecError`].
pub fn encode(pcm: &[i16], encoding: Encoding) -> Result<Vec<Vec<u8>>, CodecError> {
    check_rate(encoding.rate)?;
    let channels = match encoding.channels {
        1 => opus::Channels::Mono,
        2 => opus::Channels::Stereo,
        _ => return Err(CodecError::Setting("channels: 1 or 2")),
    };
    if ![10, 20, 40, 60].contains(&encoding.packet_ms) {
        return Err(CodecError::Setting("packet_ms: 10, 20, 40 or 60"));
    }
    if !(6_000..=510_000).contains(&encoding.bitrate) {
        return Err(CodecError::Setting("bitrate: 6000 to 510000"));
    }
    if !(0..=10).contains(&encoding.complexity) {
        return Err(CodecError::Setting("complexity: 0 to 10"));
    }
    if !(0..=100).contains(&encoding.loss_percent) {
        return Err(CodecError::Setting("loss_percent: 0 to 100"));
    }
    let mut encoder = opus::Encoder::new(encoding.rate, channels, opus::Application::Voip)?;
    encoder.set_bitrate(opus::Bitrate::Bits(encoding.bitrate))?;
    encoder.set_complexity(encoding.complexity)?;
    encoder.set_inband_fec(encoding.fec)?;
    encoder.set_packet_loss_perc(encoding.loss_percent)?;
    let samples = encoding.rate * encoding.packet_ms / 1000 * u32::from(encoding.channels);
    let mut frame = Vec::new();
    let mut packets = Vec::new();
    for part in pcm.chunks(samples as usize) {
        frame.clear();
        frame.extend_from_slice(part);
        frame.resize(samples as usize, 0);
        packets.push(encoder.encode_vec(&frame, MAX_PACKET_BYTES)?);
    }
    Ok(packets)
}

/// Decodes packets, in order and with none missing, to mono.
///
/// # Errors
/// [`CodecError`].
pub fn decode<'a>(
    packets: impl IntoIterator<Item = &'a [u8]>,
    rate: u32,
) -> Result<Vec<i16>, CodecError> {
    check_rate(rate)?;
    let mut decoder = opus::Decoder::new(rate, opus::Channels::Mono)?;
    let mut frame = vec![0; (rate * MAX_PACKET_MS / 1000) as usize];
    let mut pcm = Vec::new();
    for (index, packet) in packets.into_iter().enumerate() {
        // To libopus an empty packet is one that was lost.
        let malformed = |_| CodecError::Packet(index);
        opus::packet::get_nb_frames(packet).map_err(malformed)?;
        let samples = decoder.decode(packet, &mut frame, false);
        pcm.extend_from_slice(&frame[..samples.map_err(malformed)?]);
    }
    Ok(pcm)
}

fn check_rate(rate: u32) -> Result<(), CodecError> {
    match rate {
        8_000 | 12_000 | 16_000 | 24_000 | 48_000 => Ok(()),
        _ => Err(CodecError::Setting(
            "rate: 8000, 12000, 16000, 24000 or 48000",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Encoding = Encoding {
        rate: 16_000,
        channels: 1,
        bitrate: 24_000,
        complexity: 3,
        packet_ms: 20,
        fec: false,
        loss_percent: 0,
    };

    fn hum(samples: usize) -> Vec<i16> {
        (0..samples)
            .map(|n| ((n as f64 * 0.08).sin() * 9000.0) as i16)
            .collect()
    }

    #[test]
    fn packets_have_the_duration_asked_for_and_hold_everything() {
        for packet_ms in [10, 20, 40, 60] {
            for channels in [1, 2] {
                let encoding = Encoding {
                    packet_ms,
                    channels,
                    ..PLAIN
                };
                // 130 ms are no whole number of packets but of 10 ms.
                let packets = encode(&hum(2080 * usize::from(channels)), encoding).unwrap();
                assert_eq!(packets.len() as u32, 130_u32.div_ceil(packet_ms));
                let parts = packets.iter().map(Vec::as_slice);
                for packet in parts.clone() {
                    let samples = opus::packet::get_nb_samples(packet, 16_000).unwrap();
                    assert_eq!(samples as u32, 16 * packet_ms);
                }
                let pcm = decode(parts, 8_000).unwrap();
                assert_eq!(pcm.len() as u32, 8 * packet_ms * packets.len() as u32);
                let loud = pcm[200..]
                    .iter()
                    .filter(|s| s.unsigned_abs() > 3000)
                    .count();
                assert!(loud > 300, "{loud}");
            }
        }
        assert_eq!(encode(&[], PLAIN), Ok(vec![]));
    }

    #[test]
    fn forward_error_correction_is_in_the_packets() {
        let encoding = Encoding {
            fec: true,
            loss_percent: 20,
            ..PLAIN
        };
        let packets = encode(&hum(16_000), encoding).unwrap();
        let mut decoder = opus::Decoder::new(16_000, opus::Channels::Mono).unwrap();
        let mut pcm = [0; 320];
        for packet in &packets[..20] {
            decoder.decode(packet, &mut pcm, false).unwrap();
        }
        decoder.decode(&packets[21], &mut pcm, true).unwrap();
        let plain = encode(&hum(16_000), PLAIN).unwrap();
        let bytes = |packets: &[Vec<u8>]| packets.iter().map(Vec::len).sum::<usize>();
        assert_ne!(bytes(&packets), bytes(&plain));
        assert!(pcm.iter().any(|s| s.unsigned_abs() > 5000));
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        for (encoding, name) in [
            (
                Encoding {
                    rate: 44_100,
                    ..PLAIN
                },
                "rate",
            ),
            (
                Encoding {
                    channels: 3,
                    ..PLAIN
                },
                "channels",
            ),
            (
                Encoding {
                    packet_ms: 30,
                    ..PLAIN
                },
                "packet_ms",
            ),
            (
                Encoding {
                    bitrate: 100,
                    ..PLAIN
                },
                "bitrate",
            ),
            (
                Encoding {
                    complexity: 11,
                    ..PLAIN
                },
                "complexity",
            ),
            (
                Encoding {
                    loss_percent: -1,
                    ..PLAIN
                },
                "loss_percent",
            ),
        ] {
            let said = encode(&hum(320), encoding).unwrap_err().to_string();
            assert!(said.starts_with(&format!("{name}: ")), "{said}");
        }
        assert!(decode([&[0x08, 1][..]], 44_100).is_err());
        for malformed in [&[][..], &[0x83, 0], &[0x0B; 3]] {
            let packets = [&[0x08, 1][..], malformed];
            assert_eq!(decode(packets, 16_000), Err(CodecError::Packet(1)));
        }
    }
}
