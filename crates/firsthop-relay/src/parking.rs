//! Packets of unknown flows, kept for a moment while somebody is asked whose they are.
//!
//! Bounded in packets, flows and time, so that strangers' packets cost little and delay nobody's.
//! No I/O, no clock.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::flow::FlowKey;

/// Packets that wait for one answer.
const MAX_PACKETS: usize = 8;
/// How long they wait: later they would be of no use to a listener.
const WAIT: Duration = Duration::from_millis(50);
/// Flows that wait at a time.
const MAX_WAITING: usize = 1024;
/// How long it is remembered that nobody knows a flow.
const REFUSE: Duration = Duration::from_secs(1);
/// Flows of which that is remembered; beyond it the oldest may ask again.
const MAX_REFUSED: usize = 4096;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parked {
    /// It waits, as the first of its flow: somebody must be asked.
    First,
    /// It waits with others.
    Waiting,
    /// No room.
    Full,
    /// Nobody knows its flow, as was said a moment ago.
    Refused,
}

#[derive(Default)]
pub(crate) struct Parking {
    lots: HashMap<FlowKey, Lot>,
    /// Lots that wait and lots that were refused, each in the order of their deadlines. A lot that
    /// moved or went leaves its place behind, to be passed over.
    waiting: VecDeque<(Duration, FlowKey)>,
    refused: VecDeque<(Duration, FlowKey)>,
}

struct Lot {
    until: Duration,
    /// Empty, and to stay so, once the flow was refused.
    packets: Vec<Vec<u8>>,
}

impl Parking {
    /// Takes a packet of a flow that is not known.
    pub(crate) fn park(&mut self, now: Duration, key: FlowKey, packet: &[u8]) -> Parked {
        if let Some(lot) = self.lots.get_mut(&key) {
            return match lot.packets.len() {
                0 => Parked::Refused,
                MAX_PACKETS.. => Parked::Full,
                _ => {
                    lot.packets.push(packet.to_vec());
                    Parked::Waiting
                }
            };
        }
        if self.waiting.len() >= MAX_WAITING {
            return Parked::Full;
        }
        let until = now + WAIT;
        let packets = vec![packet.to_vec()];
        self.lots.insert(key, Lot { until, packets });
        self.waiting.push_back((until, key));
        Parked::First
    }

    /// Whether nothing waits and nothing is refused: the usual case, at the price of a look.
    pub(crate) fn is_empty(&self) -> bool {
        self.lots.is_empty()
    }

    /// The flow is known now: its packets, in their order.
    pub(crate) fn take(&mut self, key: &FlowKey) -> Vec<Vec<u8>> {
        self.lots
            .remove(key)
            .map(|lot| lot.packets)
            .unwrap_or_default()
    }

    /// Nobody knows the flow. Returns how many packets are lost.
    pub(crate) fn refuse(&mut self, now: Duration, key: FlowKey) -> usize {
        let lost = self.take(&key).len();
        if self.refused.len() >= MAX_REFUSED
            && let Some((until, oldest)) = self.refused.pop_front()
        {
            self.end(until, &oldest);
        }
        let until = now + REFUSE;
        let packets = Vec::new();
        self.lots.insert(key, Lot { until, packets });
        self.refused.push_back((until, key));
        lost
    }

    /// Gives up what waited for too long. Returns how many packets are lost.
    pub(crate) fn expire(&mut self, now: Duration) -> usize {
        let mut lost = 0;
        while let Some(&(until, key)) = self.waiting.front()
            && until <= now
        {
            self.waiting.pop_front();
            lost += self.end(until, &key);
        }
        while let Some(&(until, key)) = self.refused.front()
            && until <= now
        {
            self.refused.pop_front();
            self.end(until, &key);
        }
        lost
    }

    /// When [`Parking::expire`] is next due for a packet.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.waiting.front().map(|&(until, _)| until)
    }

    /// Ends the lot that has this deadline, if it still has. Returns its packets' number.
    fn end(&mut self, until: Duration, key: &FlowKey) -> usize {
        match self.lots.get(key) {
            Some(lot) if lot.until == until => self.take(key).len(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn key(port: u16) -> FlowKey {
        FlowKey::new(SocketAddr::from(([198, 51, 100, 1], port)), 0)
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn packets_wait_in_their_order_and_leave_once() {
        let mut parking = Parking::default();
        assert_eq!(parking.park(ms(0), key(1), &[1]), Parked::First);
        assert_eq!(parking.park(ms(1), key(1), &[2]), Parked::Waiting);
        assert_eq!(parking.park(ms(1), key(2), &[3]), Parked::First);
        assert_eq!(parking.take(&key(1)), [[1], [2]]);
        assert!(parking.take(&key(1)).is_empty());
        assert_eq!(parking.deadline(), Some(ms(50)));
        assert_eq!(parking.expire(ms(50)), 0);
        assert_eq!(parking.expire(ms(51)), 1);
        assert!(parking.is_empty() && parking.deadline().is_none());
    }

    #[test]
    fn one_flow_has_room_for_eight_packets() {
        let mut parking = Parking::default();
        parking.park(ms(0), key(1), &[0]);
        for number in 1..8 {
            assert_eq!(parking.park(ms(0), key(1), &[number]), Parked::Waiting);
        }
        assert_eq!(parking.park(ms(0), key(1), &[9]), Parked::Full);
        assert_eq!(parking.take(&key(1)).len(), 8);
    }

    #[test]
    fn a_refused_flow_may_ask_again_after_a_second() {
        let mut parking = Parking::default();
        parking.park(ms(0), key(1), &[1]);
        assert_eq!(parking.refuse(ms(5), key(1)), 1);
        assert_eq!(parking.park(ms(6), key(1), &[2]), Parked::Refused);
        // The deadline of the lot that waited before is not the deadline of the refusal.
        assert_eq!(parking.expire(ms(60)), 0);
        assert_eq!(parking.park(ms(61), key(1), &[2]), Parked::Refused);
        parking.expire(ms(1005));
        assert_eq!(parking.park(ms(1005), key(1), &[2]), Parked::First);
    }

    #[test]
    fn a_flood_of_strangers_is_bounded() {
        let mut parking = Parking::default();
        let mut asked = 0;
        for port in 1..60_000 {
            match parking.park(ms(0), key(port), &[0; 100]) {
                Parked::First => asked += 1,
                outcome => assert_eq!(outcome, Parked::Full),
            }
        }
        assert_eq!(asked, MAX_WAITING);
        for port in 1..60_000 {
            parking.refuse(ms(1), key(port));
        }
        assert_eq!(parking.lots.len(), MAX_REFUSED);
        parking.expire(ms(2000));
        assert!(parking.lots.is_empty());
    }
}
