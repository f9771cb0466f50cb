//! Mailboxes between a relay's workers and its control plane. They carry addresses, never payloads.
//!
//! Bounded both ways: a full mailbox loses what comes, and counts it. A worker never waits.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

use crate::config::Cluster;
use crate::flow::FlowKey;

/// Notices that may wait: those of a second in which 60,000 flows begin.
const MAX_NOTICES: usize = 1 << 16;
/// Commands that may wait for one worker.
pub(crate) const MAX_COMMANDS: usize = 4096;

/// A flow as the control plane names it: the client's IP (16 bytes, IPv4 mapped), its port (2) and
/// the ingress id (2: site and socket), big-endian.
pub type FlowBytes = [u8; FlowKey::LEN];

/// What a worker tells of its flows, to whoever remembers them for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A packet of an unknown flow waits: whose is it?
    LookUp {
        /// The flow.
        flow: FlowBytes,
    },
    /// A proved flow was learned or moved, or is still alive; said again about once per idle time.
    Kept {
        /// The flow.
        flow: FlowBytes,
        /// Its owner.
        owner: SocketAddr,
    },
    /// Its owner ended the flow.
    Gone {
        /// The flow.
        flow: FlowBytes,
    },
}

/// What the control plane tells a worker.
pub(crate) enum Command {
    /// Whose a flow is; `None` when nobody knows.
    Answer {
        flow: FlowBytes,
        owner: Option<SocketAddr>,
    },
    /// Asks for the flows in some slots from `first` on, as [`crate::handover`] writes them;
    /// `None` past the last slot.
    Export {
        first: usize,
        reply: SyncSender<Option<Vec<u8>>>,
    },
    /// Serve these clusters and edges, which were checked, from the next batch on; and say so.
    SetClusters {
        table: Arc<ClusterTable>,
        reply: SyncSender<()>,
    },
}

/// What all workers are told alike.
pub(crate) struct ClusterTable {
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) edges: Vec<IpNet>,
}

type Queue = VecDeque<(usize, Notice)>;

/// A worker's end of the notices' mailbox.
pub(crate) struct NoticeSender {
    worker: usize,
    notices: Arc<Mutex<Queue>>,
    signal: UnixStream,
}

/// The control plane's end.
pub(crate) struct NoticeReceiver {
    notices: Arc<Mutex<Queue>>,
    signal: UnixStream,
    sender_signal: UnixStream,
}

impl NoticeReceiver {
    /// A mailbox without senders.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub(crate) fn new() -> io::Result<Self> {
        let (signal, sender_signal) = UnixStream::pair()?;
        signal.set_nonblocking(true)?;
        sender_signal.set_nonblocking(true)?;
        Ok(Self {
            notices: Arc::default(),
            signal,
            sender_signal,
        })
    }

    /// The end of worker number `worker`.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub(crate) fn sender(&self, worker: usize) -> io::Result<NoticeSender> {
        Ok(NoticeSender {
            worker,
            notices: Arc::clone(&self.notices),
            signal: self.sender_signal.try_clone()?,
        })
    }

    /// All notices that wait, each with its worker's number, oldest first. Clears the signal.
    pub(crate) fn take(&self) -> VecDeque<(usize, Notice)> {
        let mut bytes = [0; 64];
        while matches!((&self.signal).read(&mut bytes), Ok(read) if read > 0) {}
        std::mem::take(&mut *lock(&self.notices))
    }
}

impl AsFd for NoticeReceiver {
    /// Readable when notices wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signal.as_fd()
    }
}

impl NoticeSender {
    /// Puts notices in; returns how many were lost.
    pub(crate) fn send(&self, new: impl ExactSizeIterator<Item = Notice>) -> u64 {
        if new.len() == 0 {
            return 0;
        }
        let mut notices = lock(&self.notices);
        let was_empty = notices.is_empty();
        let lost = (notices.len() + new.len()).saturating_sub(MAX_NOTICES);
        let taken = new.len() - lost.min(new.len());
        notices.extend(new.take(taken).map(|notice| (self.worker, notice)));
        drop(notices);
        if was_empty {
            // Full means that the other side has been told already.
            let _ = (&self.signal).write(&[1]);
        }
        lost as u64
    }
}

fn lock(notices: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    // Nothing panics while it holds the lock; and a queue has no half-done state.
    notices.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_arrive_in_order_and_a_full_mailbox_loses_the_newest() {
        let receiver = NoticeReceiver::new().unwrap();
        let sender = receiver.sender(3).unwrap();
        let gone = |number: usize| {
            let mut flow = [0; FlowKey::LEN];
            flow[..8].copy_from_slice(&number.to_be_bytes());
            Notice::Gone { flow }
        };
        assert_eq!(sender.send((0..3).map(gone)), 0);
        assert_eq!(sender.send((3..MAX_NOTICES + 5).map(gone)), 5);
        assert_eq!(sender.send((0..2).map(gone)), 2);
        let taken = receiver.take();
        assert_eq!(taken.len(), MAX_NOTICES);
        assert!(
            taken
                .into_iter()
                .enumerate()
                .all(|(at, notice)| notice == (3, gone(at)))
        );
        assert!(receiver.take().is_empty());
        assert_eq!(sender.send((0..1).map(gone)), 0);
        assert_eq!(receiver.take().len(), 1);
    }
}
