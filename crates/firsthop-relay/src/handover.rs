//! Flows as bytes, on their way from one process to the next that takes its place.
//!
//! The old process writes its table page by page while it still forwards, and notes what changes
//! meanwhile; when it stops, it writes what changed. The new one reads both in that order, and has
//! the table as it was. Headers are sealed again by whoever reads.

use std::net::SocketAddr;

use crate::flow::{self, ADDRESS_LEN, FlowKey};

/// Bytes of one flow.
const RECORD_LEN: usize = FlowKey::LEN + ADDRESS_LEN + 3;

const PROVED: u8 = 1;
const GONE: u8 = 2;

/// What is handed over about one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowRecord {
    pub(crate) key: FlowKey,
    /// `None` when the flow is gone.
    pub(crate) known: Option<KnownFlow>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownFlow {
    pub(crate) owner: SocketAddr,
    pub(crate) proved: bool,
    /// Since a packet passed.
    pub(crate) idle_seconds: u16,
}

impl FlowRecord {
    pub(crate) fn write(&self, site: u8, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.key.to_bytes(site));
        let (owner, flags, idle_seconds) = match self.known {
            Some(known) => {
                let flags = if known.proved { PROVED } else { 0 };
                let owner = flow::address_to_bytes(known.owner);
                (owner, flags, known.idle_seconds)
            }
            None => ([0; ADDRESS_LEN], GONE, 0),
        };
        bytes.extend_from_slice(&owner);
        bytes.push(flags);
        bytes.extend_from_slice(&idle_seconds.to_be_bytes());
    }
}

/// The records in `bytes`. One of another site is passed over, and so is a torn end: a flow is only
/// a cache.
pub(crate) fn records(bytes: &[u8], site: u8) -> impl Iterator<Item = FlowRecord> {
    bytes.chunks_exact(RECORD_LEN).filter_map(move |record| {
        let (key, rest) = record.split_first_chunk()?;
        let (owner, rest) = rest.split_first_chunk()?;
        let &[flags, high, low] = rest else {
            return None;
        };
        let known = KnownFlow {
            owner: flow::address_from_bytes(owner),
            proved: flags & PROVED != 0,
            idle_seconds: u16::from_be_bytes([high, low]),
        };
        Some(FlowRecord {
            key: FlowKey::from_bytes(key, site)?,
            known: (flags & GONE == 0).then_some(known),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_as_bytes_and_a_torn_end_is_passed_over() {
        let known = KnownFlow {
            owner: "[fd00::1]:4000".parse().unwrap(),
            proved: true,
            idle_seconds: 300,
        };
        let key = |port| FlowKey::new(SocketAddr::from(([192, 0, 2, 1], port)), 3);
        let unproved = KnownFlow {
            proved: false,
            owner: "10.0.0.1:4000".parse().unwrap(),
            ..known
        };
        let all =
            [(1, Some(known)), (2, None), (3, Some(unproved))].map(|(port, known)| FlowRecord {
                key: key(port),
                known,
            });
        let mut bytes = Vec::new();
        for record in &all {
            record.write(9, &mut bytes);
        }
        assert_eq!(bytes.len(), 3 * RECORD_LEN);
        assert_eq!(records(&bytes, 9).collect::<Vec<_>>(), all);
        assert_eq!(records(&bytes[..bytes.len() - 1], 9).count(), 2);
        // A flow of another site.
        bytes[RECORD_LEN + FlowKey::LEN - 2] = 1;
        assert_eq!(records(&bytes, 9).count(), 2);
    }
}
