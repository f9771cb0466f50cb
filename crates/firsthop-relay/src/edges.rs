//! The edge relays that probe this one: who was heard, and who fell silent. No I/O, no clock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::next_hops::SILENCE;

/// Edges that are remembered; of more it is not told when they fall silent.
const MAX_EDGES: usize = 4096;
/// An edge that is silent for so long is forgotten: whom it served has another path, or is gone.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// Between two records. After a longer pause it may be we who did not listen.
const PAUSE: Duration = Duration::from_millis(100);

/// Who was heard, and when.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    heard: HashMap<SocketAddr, Duration>,
    /// When a record last came, and since when they have come without a pause.
    last: Duration,
    listening_since: Duration,
}

impl Edges {
    /// Notes that records are read now; to be called before they are judged.
    pub(crate) fn listen(&mut self, now: Duration) {
        if now > self.last + PAUSE {
            self.listening_since = now;
        }
        self.last = now;
    }

    /// An authenticated probe of `edge` came.
    pub(crate) fn heard(&mut self, now: Duration, edge: SocketAddr) {
        if self.heard.len() < MAX_EDGES || self.heard.contains_key(&edge) {
            self.heard.insert(edge, now);
        }
    }

    /// Whether `edge` used to probe, and is silent now.
    pub(crate) fn is_lost(&self, now: Duration, edge: SocketAddr) -> bool {
        let heard = self.heard.get(&edge);
        heard.is_some_and(|&heard| now > heard.max(self.listening_since) + SILENCE)
    }

    /// Forgets who is silent for long.
    pub(crate) fn expire(&mut self, now: Duration) {
        self.heard.retain(|_, heard| now < *heard + FORGET_AFTER);
    }

    /// How many are remembered.
    pub(crate) fn len(&self) -> usize {
        self.heard.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn an_edge_is_lost_200_ms_after_its_last_probe() {
        let mut edges = Edges::default();
        edges.heard(ms(0), edge(1));
        for now in (0..=200).step_by(10) {
            edges.listen(ms(now));
            assert!(!edges.is_lost(ms(now), edge(1)));
        }
        edges.listen(ms(201));
        assert!(edges.is_lost(ms(201), edge(1)));
        assert!(!edges.is_lost(ms(201), edge(2)), "it never probed");
        edges.heard(ms(202), edge(1));
        assert!(!edges.is_lost(ms(202), edge(1)));
    }

    #[test]
    fn who_did_not_listen_does_not_blame_the_edge() {
        let mut edges = Edges::default();
        edges.heard(ms(0), edge(1));
        edges.listen(ms(0));
        edges.listen(ms(5000));
        assert!(!edges.is_lost(ms(5000), edge(1)));
        for now in (5010..5210).step_by(10) {
            edges.listen(ms(now));
        }
        assert!(edges.is_lost(ms(5201), edge(1)));
    }

    #[test]
    fn edges_are_bounded_and_forgotten() {
        let mut edges = Edges::default();
        for port in 1..=u16::MAX {
            edges.heard(ms(0), edge(port));
        }
        assert_eq!(edges.len(), MAX_EDGES);
        edges.heard(ms(59_000), edge(1));
        edges.expire(ms(60_000));
        assert_eq!(edges.len(), 1);
        edges.heard(ms(60_000), edge(9));
        assert_eq!(edges.len(), 2);
    }
}
