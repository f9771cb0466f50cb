//! The codecs that a client can be spoken with.

use std::time::Duration;

/// How sound travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    /// Opus (RFC 7587).
    #[default]
    Opus,
    /// G.711 µ-law (RFC 3551 §4.5.14).
    Pcmu,
    /// G.711 A-law (RFC 3551 §4.5.14).
    Pcma,
}

impl Codec {
    /// Ticks of its RTP clock in a second.
    #[must_use]
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Pcmu | Self::Pcma => 8_000,
        }
    }

    /// A time on its RTP clock, rounded down.
    pub(crate) fn ticks(self, duration: Duration) -> u64 {
        (u128::from(self.clock_rate()) * duration.as_micros() / 1_000_000) as u64
    }
}
