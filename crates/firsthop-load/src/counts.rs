//! What callers did, in numbers that add up.

use std::ops::AddAssign;

/// Counts of media since the last [restart](crate::Callers::measure).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Audio packets sent.
    pub sent: u64,
    /// Audio packets that came, each once.
    pub received: u64,
    /// Audio packets that did not come, as far as their sequence numbers tell.
    pub lost: u64,
    /// Audio packets of the caller's own that came back as they were.
    pub returned: u64,
    /// Audio packets that did not, while others did: lost on either way.
    pub unreturned: u64,
    /// Audio packets that came after a later one.
    pub reordered: u64,
    /// Audio packets that came once more.
    pub duplicated: u64,
    /// Audio packets that left more than 5 ms after their time, or not at all for that: the load
    /// does not keep up, and what it measures is its own.
    pub late: u64,
    /// Datagrams of any kind that the system refused to send.
    pub unsent: u64,
    /// Data channel messages that came.
    pub messages: u64,
    /// UDP payload sent, of any kind.
    pub sent_bytes: u64,
    /// UDP payload received, of any kind.
    pub received_bytes: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.sent += more.sent;
        self.received += more.received;
        self.lost += more.lost;
        self.returned += more.returned;
        self.unreturned += more.unreturned;
        self.reordered += more.reordered;
        self.duplicated += more.duplicated;
        self.late += more.late;
        self.unsent += more.unsent;
        self.messages += more.messages;
        self.sent_bytes += more.sent_bytes;
        self.received_bytes += more.received_bytes;
    }
}
