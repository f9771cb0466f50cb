//! The few plain values that cross between a shard and the rest of the process.

use std::fmt;

use crate::collect::Received;
use crate::offer::OfferError;

/// Names a session within its engine. Unique for the engine's lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// Names one thing that the agent says. Chosen by the caller, unique within a session.
pub type UtteranceId = u64;

/// What a shard reports. Every variant names its session.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// ICE and DTLS are done: media flows.
    Connected {
        /// Which session.
        session: SessionId,
    },
    /// The client opened a data channel.
    ChannelOpen {
        /// Which session.
        session: SessionId,
        /// The label that the client gave it.
        label: String,
    },
    /// One text message from the client.
    Message {
        /// Which session.
        session: SessionId,
        /// UTF-8; a message that is not UTF-8 is dropped and counted.
        text: String,
    },
    /// What the client said.
    Audio {
        /// Which session.
        session: SessionId,
        /// Where the first sample stands on the session's audio clock, in samples at the session's
        /// rate since the first one received. Concealed and silent stretches count.
        position: u64,
        /// PCM16, mono, at the session's rate.
        pcm: Vec<i16>,
    },
    /// What the client said, as it came.
    Opus {
        /// Which session.
        session: SessionId,
        /// In order; at least one.
        packets: Vec<Received>,
    },
    /// The first packet of an utterance left.
    PlayoutStarted {
        /// Which session.
        session: SessionId,
        /// Which utterance.
        utterance: UtteranceId,
    },
    /// An utterance left to its end, or was flushed.
    PlayoutEnded {
        /// Which session.
        session: SessionId,
        /// Which utterance.
        utterance: UtteranceId,
        /// How much of it was sent, in milliseconds.
        played_ms: u64,
        /// Flushed before its end.
        interrupted: bool,
    },
    /// The client pressed a key (RFC 4733).
    Digit {
        /// Which session.
        session: SessionId,
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        digit: char,
    },
    /// An offer to renegotiate has been dealt with; offers are answered in their order.
    Renegotiated {
        /// Which session.
        session: SessionId,
        /// The SDP answer, or why the offer was refused: the session goes on as it was.
        answer: Result<String, OfferError>,
    },
    /// The session is gone. The last event of a session.
    Closed {
        /// Which session.
        session: SessionId,
        /// Why.
        reason: CloseReason,
    },
}

/// Why a session ended. A closed set: also a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The server hung up.
    HungUp,
    /// The client closed its side (DTLS close_notify or SCTP shutdown).
    ClientClosed,
    /// The client did not finish ICE and DTLS in time.
    SetupTimeout,
    /// The client fell silent: no consent (RFC 7675).
    ConsentLost,
    /// The WebRTC stack refused something, for example a DTLS fingerprint that does not match.
    ProtocolError,
    /// A bug of ours, caught: this session ends, no other does.
    InternalError,
}

impl CloseReason {
    /// The label, in snake case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HungUp => "hung_up",
            Self::ClientClosed => "client_closed",
            Self::SetupTimeout => "setup_timeout",
            Self::ConsentLost => "consent_lost",
            Self::ProtocolError => "protocol_error",
            Self::InternalError => "internal_error",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
