//! An Opus packet that is one: what it carries fits together, and its length in time is known.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Clock of an Opus RTP stream, whatever it was made from (RFC 7587 §4.1).
pub const RTP_RATE: u32 = 48_000;
/// Largest Opus packet, in bytes: that of the largest frame (RFC 6716 §3.4). With RTP, SRTP and hop
/// header it fits a record of 1,400.
pub const MAX_BYTES: usize = 1276;

/// A well-formed Opus packet (RFC 6716 §3). Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct OpusPacket {
    payload: Arc<[u8]>,
    ticks: u32,
}

/// Why bytes are no packet that can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketError {
    /// They are not what RFC 6716 §3 describes.
    Malformed,
    /// There are so many.
    TooLarge(usize),
}

impl fmt::Display for PacketError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => formatter.write_str("not an Opus packet (RFC 6716 section 3)"),
            Self::TooLarge(bytes) => write!(
                formatter,
                "a packet of {bytes} bytes; at most {MAX_BYTES} fit a datagram"
            ),
        }
    }
}

impl std::error::Error for PacketError {}

impl OpusPacket {
    /// Checks the framing of `payload`: the TOC byte, the number and lengths of frames, at most
    /// 120 ms. What the frames hold is the decoder's to judge.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn new(payload: impl Into<Arc<[u8]>>) -> Result<Self, PacketError> {
        let payload = payload.into();
        if payload.len() > MAX_BYTES {
            return Err(PacketError::TooLarge(payload.len()));
        }
        let malformed = |_| PacketError::Malformed;
        let frames = opus::packet::parse(&payload).map_err(malformed)?;
        let frames = frames.frames.len() as u32;
        let each = opus::packet::get_samples_per_frame(&payload, RTP_RATE);
        let ticks = frames * each.map_err(malformed)? as u32;
        Ok(Self { payload, ticks })
    }

    /// 20 ms of silence.
    #[must_use]
    pub fn silence() -> Self {
        // CELT, full band, one frame, and the bit that says that all of it is silent.
        Self {
            payload: Arc::new([0xF8, 0xFF, 0xFE]),
            ticks: RTP_RATE / 50,
        }
    }

    /// The packet as RTP carries it.
    #[must_use]
    pub fn payload(&self) -> &Arc<[u8]> {
        &self.payload
    }

    /// How long it sounds, on the RTP clock of 48 kHz: 120 (2.5 ms) to 5760 (120 ms).
    #[must_use]
    pub fn ticks(&self) -> u32 {
        self.ticks
    }
}

impl fmt::Debug for OpusPacket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, ticks) = (self.payload.len(), self.ticks);
        write!(formatter, "OpusPacket({bytes} bytes, {ticks} ticks)")
    }
}

/// Whether an Opus payload carries the sound before it a second time, coarsely: in-band FEC (LBRR,
/// RFC 6716 §4.2.4).
pub(crate) fn has_fec(payload: &[u8]) -> bool {
    let (Ok(packet), Ok(ticks)) = (
        opus::packet::parse(payload),
        opus::packet::get_samples_per_frame(payload, RTP_RATE),
    ) else {
        return false;
    };
    let Some(&first) = packet.frames.first().and_then(|frame| frame.first()) else {
        return false;
    };
    // CELT has none. SILK begins with a bit of voice activity per 20 ms and one that tells of
    // FEC; the second channel's follow.
    let silk = packet.toc & 0x80 == 0;
    let bits = ticks.div_ceil(RTP_RATE as usize / 50) + 1;
    let stereo = packet.toc & 0x04 != 0;
    let flag = |bits: usize| first >> (8 - bits) & 1 == 1;
    silk && (flag(bits) || stereo && flag(2 * bits))
}

/// A time on the RTP clock, rounded down.
pub(crate) fn rtp_ticks(duration: Duration) -> u64 {
    (u128::from(RTP_RATE) * duration.as_micros() / 1_000_000) as u64
}

/// What the RTP clock counts, as time.
pub(crate) fn duration_of(rtp_ticks: u64) -> Duration {
    let (seconds, rest) = (rtp_ticks / 48_000, rtp_ticks % 48_000);
    // Three ticks take 62.5 µs.
    Duration::new(seconds, (rest * 62_500 / 3) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_and_the_count_tell_the_duration() {
        for (payload, ms_by_two) in [
            // One frame: SILK of 10 to 60 ms, hybrid of 10 and 20, CELT of 2.5 to 20.
            (&[0x00][..], 20),
            (&[0x08, 1], 40),
            (&[0x18, 1], 120),
            (&[0x60, 1], 20),
            (&[0x68, 1], 40),
            (&[0x80, 1], 5),
            (&[0xF8, 1], 40),
            // Two of the same size, and two of different ones.
            (&[0x19, 1, 2], 240),
            (&[0xFA, 1, 7, 8, 9], 80),
            // 48 of 2.5 ms are the most that fit 120 ms.
            (&[0x83, 48], 240),
        ] {
            let packet = OpusPacket::new(payload).unwrap();
            assert_eq!(packet.ticks(), ms_by_two * 24, "{payload:?}");
            assert_eq!(**packet.payload(), *payload);
        }
        let silence = OpusPacket::silence();
        assert_eq!(OpusPacket::new(&silence.payload[..]), Ok(silence));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for payload in [
            &[][..],
            // Two frames of the same size in three bytes, of a size beyond the packet, none, 49.
            &[0x09, 1, 2, 3],
            &[0x0A],
            &[0x0A, 200, 1],
            &[0x83],
            &[0x83, 0],
            &[0x83, 49],
            // Three frames of 60 ms.
            &[0x1B, 3, 1, 2, 3],
            // Padding that is longer than the packet.
            &[0xFB, 0x41, 255],
        ] {
            let refused = Err(PacketError::Malformed);
            assert_eq!(OpusPacket::new(payload), refused, "{payload:?}");
        }
    }

    #[test]
    fn a_packet_is_at_most_as_large_as_its_largest_frame() {
        assert!(OpusPacket::new(vec![0x08; MAX_BYTES]).is_ok());
        let refused = OpusPacket::new(vec![0x0B; MAX_BYTES + 1]);
        assert_eq!(refused, Err(PacketError::TooLarge(MAX_BYTES + 1)));
    }

    #[test]
    fn a_packet_says_whether_it_carries_the_one_before_it() {
        let rate = 16_000;
        for channels in [opus::Channels::Mono, opus::Channels::Stereo] {
            for (ms, fec) in [(20, true), (60, true), (10, true), (20, false)] {
                let mode = opus::Application::Voip;
                let mut encoder = opus::Encoder::new(rate, channels, mode).unwrap();
                encoder.set_bitrate(opus::Bitrate::Bits(32_000)).unwrap();
                encoder.set_inband_fec(fec).unwrap();
                encoder.set_packet_loss_perc(30).unwrap();
                let samples = ms * 16 * channels as usize;
                let pcm = |n| ((n * n % 331) as i16 - 165) * 60;
                let with = (0..20).filter(|packet| {
                    let frame: Vec<_> = (packet * samples..(packet + 1) * samples)
                        .map(pcm)
                        .collect();
                    has_fec(&encoder.encode_vec(&frame, 1000).unwrap())
                });
                let with = with.count();
                assert_eq!(with > 10, fec, "{with} of 20 at {ms} ms, {channels:?}");
                assert!(fec || with == 0);
            }
        }
        for payload in [&[][..], &[0x08], &[0xF8, 0xFF, 0xFE], &[0x1B, 3, 1]] {
            assert!(!has_fec(payload), "{payload:?}");
        }
    }

    #[test]
    fn ticks_and_time_are_the_same_clock() {
        for ticks in [0, 120, 960, 5760, 48_000, 120 << 40] {
            assert_eq!(rtp_ticks(duration_of(ticks)), ticks);
        }
    }
}
