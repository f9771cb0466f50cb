//! What one caller tells of its call.

use std::time::{Duration, Instant};

use crate::counts::Counts;

/// Where a caller stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its offer has no answer yet.
    Waiting,
    /// ICE and DTLS go on.
    Connecting,
    /// Media flows.
    Connected,
    /// The call was ended, by either side.
    Closed,
    /// The call did not come about, or broke off.
    Failed,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Waiting,
        Self::Connecting,
        Self::Connected,
        Self::Closed,
        Self::Failed,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Closed => "closed",
            Self::Failed => "failed",
        }
    }
}

/// Why a call is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No candidate pair worked within 15 s.
    Ice,
    /// The DTLS handshake failed, or was not done within 15 s.
    Dtls,
    /// Consent was lost, and did not come back within 10 s (RFC 7675).
    Lost,
    /// The server sent something that breaks the protocol.
    Protocol,
    /// The server closed the connection (DTLS close_notify).
    ClosedByServer,
}

impl Failure {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ice => "ice",
            Self::Dtls => "dtls",
            Self::Lost => "lost",
            Self::Protocol => "protocol",
            Self::ClosedByServer => "closed_by_server",
        }
    }
}

/// How long after the answer each stage was reached.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Stages {
    /// A candidate pair works.
    pub ice: Option<Duration>,
    /// DTLS is done.
    pub connected: Option<Duration>,
    /// The data channel is open.
    pub channel: Option<Duration>,
    /// The first audio packet came.
    pub audio: Option<Duration>,
}

impl Stages {
    /// Those that were reached, by name.
    pub fn reached(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let all = [
            ("ice", self.ice),
            ("connected", self.connected),
            ("channel", self.channel),
            ("audio", self.audio),
        ];
        all.into_iter()
            .filter_map(|(name, after)| Some((name, after?)))
    }
}

/// All that is known of one caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Where it stands.
    pub phase: Phase,
    /// Why it is over.
    pub failure: Option<Failure>,
    /// When it came how far.
    pub stages: Stages,
    /// What it sent and what came, since the last measure.
    pub counts: Counts,
    /// When the first and the newest audio packet came.
    pub heard: Option<(Instant, Instant)>,
    /// Interarrival jitter, latest (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// Of the latest STUN check.
    pub round_trip: Option<Duration>,
    /// One for each mark that came back: from when its packet was sent to when the packet with its
    /// onset arrived. Right if marks are further apart than they take to come back.
    pub delays: Vec<Duration>,
    /// Marks that had not come back when the next one was sent.
    pub marks_missed: u64,
}

impl Report {
    /// Of a caller that has no answer yet.
    #[must_use]
    pub fn waiting() -> Self {
        Self {
            phase: Phase::Waiting,
            failure: None,
            stages: Stages::default(),
            counts: Counts::default(),
            heard: None,
            jitter: Duration::ZERO,
            round_trip: None,
            delays: Vec::new(),
            marks_missed: 0,
        }
    }
}
