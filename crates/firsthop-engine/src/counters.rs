//! What a shard counts: plain atomics, read from any thread. Knows no metric names.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a shard dropped something. A closed set: also a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// Nothing that STUN, DTLS, RTP or a hop header could be.
    Malformed,
    /// Not from a relay, on a shard that takes packets from relays only.
    NotFromRelay,
    /// A hop header under a key that this shard does not have.
    HopUnknownKey,
    /// A hop header whose MAC is wrong.
    HopMac,
    /// A hop header that is too old or from the future.
    HopTick,
    /// For no session of this shard.
    UnknownSession,
    /// From an address that has not proved itself, or to one beyond its allowance.
    Unproved,
    /// Of a client that sends more than any call takes.
    TooMany,
    /// A data channel message that is not UTF-8 text.
    NotText,
    /// A message for a data channel that is not open, or that has too much waiting already.
    NotSent,
    /// Speech beyond what may wait in a session.
    PlayoutFull,
    /// An event that nobody fetched in time.
    EventsFull,
    /// A packet that the kernel would not take.
    SendFailed,
}

impl DropReason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Self; 13] = [
        Self::Malformed,
        Self::NotFromRelay,
        Self::HopUnknownKey,
        Self::HopMac,
        Self::HopTick,
        Self::UnknownSession,
        Self::Unproved,
        Self::TooMany,
        Self::NotText,
        Self::NotSent,
        Self::PlayoutFull,
        Self::EventsFull,
        Self::SendFailed,
    ];

    /// The label, in snake case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotFromRelay => "not_from_relay",
            Self::HopUnknownKey => "hop_unknown_key",
            Self::HopMac => "hop_mac",
            Self::HopTick => "hop_tick",
            Self::UnknownSession => "unknown_session",
            Self::Unproved => "unproved",
            Self::TooMany => "too_many",
            Self::NotText => "not_text",
            Self::NotSent => "not_sent",
            Self::PlayoutFull => "playout_full",
            Self::EventsFull => "events_full",
            Self::SendFailed => "send_failed",
        }
    }
}

/// One shard's counters. They only grow, except `sessions`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions that the shard owns now.
    pub sessions: AtomicU64,
    /// Packets from clients.
    pub ingress_packets: AtomicU64,
    /// Packets to clients.
    pub egress_packets: AtomicU64,
    /// Paths of sessions whose edge relay fell silent.
    pub paths_lost: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
}

impl Counters {
    /// Counts `n` drops for `reason`.
    pub fn drop_many(&self, reason: DropReason, n: u64) {
        if n > 0 {
            self.dropped[reason as usize].fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Drops for `reason` so far.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }
}
