//! The audio m-lines of a session: which of them is spoken on, and what a packet from them holds.

use std::sync::Arc;
use std::time::Instant;

use str0m::Rtc;
use str0m::format::Codec;
use str0m::media::{Mid, Pt};
use str0m::rtp::{RtpPacket, RtpWrite, SeqNo, Ssrc};

use crate::digits::Digits;
use crate::playout::Packet;

/// What a packet of the client's is.
pub(crate) enum Heard {
    /// Sound, for the decoder. `restarted`: of another stream than the packet before.
    Sound {
        restarted: bool,
        sequence: u64,
        rtp_time: u64,
        payload: Arc<[u8]>,
    },
    /// A key, pressed just now.
    Digit(char),
    /// Nothing new.
    Nothing,
}

struct Voice {
    mid: Mid,
    payload_type: Pt,
    sequence: SeqNo,
}

/// All audio m-lines of a session.
#[derive(Default)]
pub(crate) struct Voices {
    voices: Vec<Voice>,
    /// Payload types of telephone events.
    digit_types: Vec<Pt>,
    digits: Digits,
    /// The stream that the latest of them came by.
    pressed: Option<Ssrc>,
    /// The stream that is heard: each has its own sequence numbers and clock.
    heard: Option<(Ssrc, Mid)>,
}

impl Voices {
    /// Takes note of an m-line that was agreed on, or agreed on anew.
    pub(crate) fn agreed(&mut self, rtc: &Rtc, mid: Mid) {
        // What was stopped does not come back; its place in the SDP gets another mid.
        self.voices.retain(|voice| is_open(rtc, voice.mid));
        let Some(media) = rtc.media(mid).filter(|_| is_open(rtc, mid)) else {
            return;
        };
        let params = rtc.codec_config().params();
        let codec = |pt: Pt| params.iter().find(|p| p.pt() == pt).map(|p| p.spec().codec);
        let mut types = media.remote_pts().iter().copied();
        let sound = types.find(|&pt| codec(pt).is_some_and(|codec| codec.is_audio()));
        let digits = media.remote_pts().iter().copied();
        self.digit_types = digits
            .filter(|&pt| codec(pt) == Some(Codec::Tele))
            .collect();
        let known = self.voices.iter_mut().find(|voice| voice.mid == mid);
        match (known, sound) {
            (Some(voice), Some(payload_type)) => voice.payload_type = payload_type,
            (None, Some(payload_type)) => self.voices.push(Voice {
                mid,
                payload_type,
                // A receiver assumes that the rollover counter starts at zero (RFC 3711 §3.3.1).
                sequence: 1.into(),
            }),
            (_, None) => {}
        }
    }

    /// Tells what `packet` is.
    pub(crate) fn hear(&mut self, rtc: &mut Rtc, packet: RtpPacket) -> Heard {
        let (payload_type, ssrc) = (packet.header.payload_type, packet.header.ssrc);
        let (sequence, rtp_time) = (*packet.seq_no, packet.time.numer());
        let restarted = self.heard.is_none_or(|(heard, _)| heard != ssrc);
        if self.digit_types.contains(&payload_type) {
            if self.pressed.replace(ssrc) != Some(ssrc) {
                self.digits.restart();
            }
            let digit = self.digits.push(rtp_time, &packet.payload);
            return digit.map_or(Heard::Nothing, Heard::Digit);
        }
        let ours = |voice: &Voice| voice.payload_type == payload_type;
        if packet.payload.is_empty() || !self.voices.iter().any(ours) {
            return Heard::Nothing;
        }
        if restarted {
            let stream = rtc.direct_api().stream_rx(&ssrc).map(|stream| stream.mid());
            self.heard = stream.map(|mid| (ssrc, mid));
        }
        Heard::Sound {
            restarted,
            sequence,
            rtp_time,
            payload: packet.payload,
        }
    }

    /// Takes back what an SRTP packet has done that was not the client's: the stack believes what a
    /// packet says of its stream before it knows who sent it, and leaves the stream before.
    pub(crate) fn disown(&mut self, rtc: &mut Rtc, packet: &[u8]) {
        let Some((heard, mid)) = self.heard else {
            return;
        };
        let Some(claimed) = packet.get(8..12).and_then(|ssrc| ssrc.try_into().ok()) else {
            return;
        };
        let claimed = Ssrc::from(u32::from_be_bytes(claimed));
        let known = rtc.media(mid).is_some();
        let mut direct = rtc.direct_api();
        if known && claimed != heard && direct.stream_rx(&claimed).is_some_and(|s| s.mid() == mid) {
            direct.remove_stream_rx(claimed);
            direct.expect_stream_rx(heard, None, mid, None);
        }
    }

    /// Puts `packet` on the m-line that is spoken on, if there is one.
    pub(crate) fn speak(&mut self, now: Instant, rtc: &mut Rtc, packet: Packet) {
        let wanted = |voice: &&mut Voice| {
            let media = rtc.media(voice.mid);
            media.is_some_and(|media| media.direction().is_sending())
        };
        let Some(voice) = self.voices.iter_mut().find(wanted) else {
            return;
        };
        let Packet {
            rtp_time,
            marker,
            payload,
        } = packet;
        let sequence = voice.sequence.inc();
        let write = RtpWrite::new(voice.payload_type, sequence, rtp_time, now, payload);
        let mut direct = rtc.direct_api();
        if let Some(stream) = direct.stream_tx_by_mid(voice.mid, None) {
            stream.write_rtp(write.marker(marker));
        }
    }
}

fn is_open(rtc: &Rtc, mid: Mid) -> bool {
    rtc.media(mid).is_some_and(|media| !media.disabled())
}
