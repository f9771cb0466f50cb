//! Packets of unknown flows, kept for a moment: somebody may be asked whose they are, and an owner's
//! next packet tells it in any case.
//!
//! Bounded in packets, flows and time, so that strangers' packets cost little and delay nobody's.
//! No I/O, no clock.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::flow::FlowKey;

/// Packets of one flow that wait.
const MAX_PACKETS: usize = 8;
/// How long they wait: later they would be of no use to a listener.
const WAIT: Duration = Duration::from_millis(50);
/// Flows that wait at a time.
const MAX_WAITING: usize = 1024;
/// How long it is remembered that nobody knows a flow, or that it ended.
const REMEMBER: Duration = Duration::from_secs(1);
/// Flows of which that is remembered; beyond it the oldest are forgotten.
const MAX_REMEMBERED: usize = 4096;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parked {
    /// It waits, and somebody should be asked.
    Ask,
    /// It waits; somebody was asked, or need not be.
    Waiting,
    /// No room.
    Full,
    /// Its flow ended a moment ago: it is nobody's.
    Ended,
}

#[derive(Default)]
pub(crate) struct Parking {
    lots: HashMap<FlowKey, Lot>,
    /// Lots in the order of their deadlines. One that went leaves its place behind.
    waiting: VecDeque<(Duration, FlowKey)>,
    known: HashMap<FlowKey, (Duration, Known)>,
    /// The same for what is known.
    remembered: VecDeque<(Duration, FlowKey)>,
}

struct Lot {
    until: Duration,
    packets: Vec<Vec<u8>>,
}

/// What is known about a flow that has no owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nobody who was asked knows it.
    Unheard,
    /// Its owner ended it.
    Ended,
}

impl Parking {
    /// Takes a packet of a flow that is not known.
    pub(crate) fn park(&mut self, now: Duration, key: FlowKey, packet: &[u8]) -> Parked {
        let known = self.known.get(&key).map(|&(_, known)| known);
        if known == Some(Known::Ended) {
            return Parked::Ended;
        }
        if let Some(lot) = self.lots.get_mut(&key) {
            if lot.packets.len() >= MAX_PACKETS {
                return Parked::Full;
            }
            lot.packets.push(packet.to_vec());
            return Parked::Waiting;
        }
        if self.waiting.len() >= MAX_WAITING {
            return Parked::Full;
        }
        let until = now + WAIT;
        let packets = vec![packet.to_vec()];
        self.lots.insert(key, Lot { until, packets });
        self.waiting.push_back((until, key));
        match known {
            None => Parked::Ask,
            Some(_) => Parked::Waiting,
        }
    }

    /// Whether nothing waits and nothing is remembered: the usual case, at the price of a look.
    pub(crate) fn is_empty(&self) -> bool {
        self.lots.is_empty() && self.known.is_empty()
    }

    /// The flow has an owner now: its packets, in their order.
    pub(crate) fn take(&mut self, key: &FlowKey) -> Vec<Vec<u8>> {
        self.known.remove(key);
        let lot = self.lots.remove(key);
        lot.map(|lot| lot.packets).unwrap_or_default()
    }

    /// Nobody who was asked knows the flow: for a while they need not be asked again. Its packets
    /// wait on for an owner that speaks up by itself.
    pub(crate) fn unheard(&mut self, now: Duration, key: FlowKey) {
        self.remember(now, key, Known::Unheard);
    }

    /// The flow's owner ended it: what its client still sends is nobody's.
    pub(crate) fn ended(&mut self, now: Duration, key: FlowKey) {
        self.remember(now, key, Known::Ended);
    }

    /// Gives up what waited for too long, and forgets. Returns how many packets are lost.
    pub(crate) fn expire(&mut self, now: Duration) -> usize {
        let mut lost = 0;
        while let Some(&(until, key)) = self.waiting.front()
            && until <= now
        {
            self.waiting.pop_front();
            if self.lots.get(&key).is_some_and(|lot| lot.until == until) {
                let lot = self.lots.remove(&key);
                lost += lot.map_or(0, |lot| lot.packets.len());
            }
        }
        while let Some(&(until, _)) = self.remembered.front()
            && until <= now
        {
            self.forget_oldest();
        }
        lost
    }

    /// When [`Parking::expire`] is next due for a packet.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.waiting.front().map(|&(until, _)| until)
    }

    fn remember(&mut self, now: Duration, key: FlowKey, known: Known) {
        if self.remembered.len() >= MAX_REMEMBERED {
            self.forget_oldest();
        }
        let until = now + REMEMBER;
        self.known.insert(key, (until, known));
        self.remembered.push_back((until, key));
    }

    fn forget_oldest(&mut self) {
        if let Some((until, key)) = self.remembered.pop_front()
            && self.known.get(&key).is_some_and(|known| known.0 == until)
        {
            self.known.remove(&key);
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
        assert_eq!(parking.park(ms(0), key(1), &[1]), Parked::Ask);
        assert_eq!(parking.park(ms(1), key(1), &[2]), Parked::Waiting);
        assert_eq!(parking.park(ms(1), key(2), &[3]), Parked::Ask);
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
    fn a_flow_that_nobody_knows_waits_on_and_is_asked_for_again_after_a_second() {
        let mut parking = Parking::default();
        parking.park(ms(0), key(1), &[1]);
        parking.unheard(ms(5), key(1));
        assert_eq!(parking.park(ms(6), key(1), &[2]), Parked::Waiting);
        assert_eq!(parking.expire(ms(50)), 2);
        assert_eq!(parking.park(ms(60), key(1), &[3]), Parked::Waiting);
        assert_eq!(parking.expire(ms(1005)), 1);
        assert_eq!(parking.park(ms(1005), key(1), &[4]), Parked::Ask);
    }

    #[test]
    fn what_comes_after_the_end_does_not_wait() {
        let mut parking = Parking::default();
        parking.ended(ms(0), key(1));
        assert_eq!(parking.park(ms(999), key(1), &[1]), Parked::Ended);
        parking.expire(ms(1000));
        assert_eq!(parking.park(ms(1000), key(1), &[1]), Parked::Ask);
        // The same client may begin anew at once.
        parking.ended(ms(2000), key(2));
        assert!(parking.take(&key(2)).is_empty());
        assert_eq!(parking.park(ms(2001), key(2), &[1]), Parked::Ask);
    }

    #[test]
    fn a_flood_of_strangers_is_bounded() {
        let mut parking = Parking::default();
        let mut asked = 0;
        for port in 1..60_000 {
            match parking.park(ms(0), key(port), &[0; 100]) {
                Parked::Ask => asked += 1,
                outcome => assert_eq!(outcome, Parked::Full),
            }
        }
        assert_eq!(asked, MAX_WAITING);
        for port in 1..60_000 {
            parking.unheard(ms(1), key(port));
            assert!(parking.known.len() <= MAX_REMEMBERED);
            assert!(parking.remembered.len() <= MAX_REMEMBERED);
        }
        assert_eq!(parking.expire(ms(2000)), MAX_WAITING);
        assert!(parking.is_empty());
    }
}
