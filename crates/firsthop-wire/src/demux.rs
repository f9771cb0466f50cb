//! Tells the protocols of one UDP port apart by their first byte (RFC 7983, RFC 9443).

/// What a datagram claims to be. A claim only: the parser of that protocol decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// STUN, first byte 0–3 (RFC 8489).
    Stun,
    /// A DTLS record, first byte 20–63.
    Dtls,
    /// RTP or RTCP, first byte 128–191.
    Rtp,
    /// A hop header between relay and transceiver ([`crate::hop`]), first byte 0xE5. RFC 7983 gives
    /// it to nothing and RFC 9443 to QUIC, which no client speaks to these ports.
    Hop,
}

/// The kind of `datagram`, or `None` for an empty one and for ranges that WebRTC does not use.
#[must_use]
pub fn kind(datagram: &[u8]) -> Option<Kind> {
    match *datagram.first()? {
        0..=3 => Some(Kind::Stun),
        20..=63 => Some(Kind::Dtls),
        128..=191 => Some(Kind::Rtp),
        crate::hop::MAGIC => Some(Kind::Hop),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_has_the_kind_of_its_range() {
        for byte in 0..=u8::MAX {
            let expected = match byte {
                0..=3 => Some(Kind::Stun),
                20..=63 => Some(Kind::Dtls),
                128..=191 => Some(Kind::Rtp),
                0xE5 => Some(Kind::Hop),
                _ => None,
            };
            assert_eq!(kind(&[byte, 0, 0]), expected, "first byte {byte}");
        }
        assert_eq!(kind(&[]), None);
    }
}
