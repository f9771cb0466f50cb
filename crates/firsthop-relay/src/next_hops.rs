//! The relays of a cluster, as an edge relay sees them: which of them live, and which takes a flow.
//!
//! Each is probed again and again, and counts as alive until it has been silent for
//! [`SILENCE`]. Flows are spread over those alive by slots; each slot prefers relays in an order of
//! its own (rendezvous hashing), so only the flows of a relay that is lost move, and back when it
//! returns. The middle keeps no state of a flow, so nothing is lost by a move. No I/O, no clock.

use std::net::SocketAddr;
use std::time::Duration;

use crate::flow::address_to_bytes;
use siphasher::sip::SipHasher13;

/// A relay is probed once per this time.
pub(crate) const PROBE_EVERY: Duration = Duration::from_millis(50);
/// A relay, or an edge, that is silent for longer counts as lost.
pub(crate) const SILENCE: Duration = Duration::from_millis(200);
/// And so many probes: if it was us who stopped for a while, the others have done nothing wrong.
const UNANSWERED: u8 = 3;
/// Probes that are due within this time leave together.
const TOGETHER: Duration = Duration::from_millis(2);
/// Shares into which flows are divided: with four relays each gets a fourth, give or take 5 %.
const SLOTS: usize = 1024;

/// The relays of one cluster.
#[derive(Debug)]
pub(crate) struct NextHops {
    hops: Vec<NextHop>,
    /// Index into `hops`.
    slots: Box<[u8; SLOTS]>,
    /// Nothing is due before.
    next: Duration,
}

#[derive(Debug)]
struct NextHop {
    address: SocketAddr,
    /// What its rank in a slot is made of.
    weight: u64,
    /// When to probe it.
    due: Duration,
    /// When it was last heard; before the first time, when it was first asked.
    heard: Option<Duration>,
    /// Probes since, as far as they matter.
    unanswered: u8,
    alive: bool,
}

impl NextHops {
    /// Relays that are not known yet count as alive; of those in `before`, what is known is kept.
    /// There is at least one, and at most 256: the configuration was checked.
    pub(crate) fn new(now: Duration, addresses: &[SocketAddr], before: Option<Self>) -> Self {
        let mut known = before.map(|before| before.hops).unwrap_or_default();
        let count = addresses.len().max(1) as u32;
        let hops = addresses.iter().zip(0..).map(|(&address, index)| {
            let known_at = known.iter().position(|hop| hop.address == address);
            known_at.map_or_else(
                || NextHop::new(address, now + PROBE_EVERY * index / count),
                |at| known.swap_remove(at),
            )
        });
        let mut all = Self {
            hops: hops.collect(),
            slots: Box::new([0; SLOTS]),
            next: now,
        };
        all.assign();
        all
    }

    /// Where the flows go whose keyed hash is `hash`.
    pub(crate) fn pick(&self, hash: u64) -> SocketAddr {
        let slot = (hash >> 32) as usize % SLOTS;
        self.hops[usize::from(self.slots[slot])].address
    }

    /// Calls `ask` for every relay that is due for a probe, and notes which are silent for too
    /// long. Returns whether that changed anything.
    pub(crate) fn probe(&mut self, now: Duration, mut ask: impl FnMut(SocketAddr)) -> bool {
        if now < self.next {
            return false;
        }
        let mut changed = false;
        for hop in &mut self.hops {
            changed |= hop.give_up(now);
            if hop.due <= now + TOGETHER {
                hop.asked(now);
                ask(hop.address);
            }
        }
        self.next = self.hops.iter().map(NextHop::deadline).min().unwrap_or(now);
        if changed {
            self.assign();
        }
        changed
    }

    /// The relay at `index` answered a probe. Returns whether it was lost before.
    pub(crate) fn answered(&mut self, now: Duration, index: usize) -> bool {
        let hop = &mut self.hops[index];
        (hop.heard, hop.unanswered) = (Some(now), 0);
        if hop.alive {
            return false;
        }
        hop.alive = true;
        self.assign();
        true
    }

    /// When [`NextHops::probe`] is next due.
    pub(crate) fn deadline(&self) -> Duration {
        self.next
    }

    /// Every relay, and whether it is alive.
    pub(crate) fn states(&self) -> impl Iterator<Item = (SocketAddr, bool)> + '_ {
        self.hops.iter().map(|hop| (hop.address, hop.alive))
    }

    /// Gives every slot to the relay that ranks highest there among those alive; among all when
    /// none is, since then it may be our probes that fail.
    fn assign(&mut self) {
        let nobody = !self.hops.iter().any(|hop| hop.alive);
        for (slot, share) in self.slots.iter_mut().zip(0..) {
            let usable = self.hops.iter().zip(0..=u8::MAX);
            let usable = usable.filter(|(hop, _)| hop.alive || nobody);
            let best = usable.max_by_key(|(hop, _)| hop.rank(share));
            *slot = best.map_or(0, |(_, index)| index);
        }
    }
}

impl NextHop {
    fn new(address: SocketAddr, due: Duration) -> Self {
        // Every worker of every edge ranks alike; flows are hashed under each one's own key.
        let weight = SipHasher13::new().hash(&address_to_bytes(address));
        Self {
            address,
            weight,
            due,
            heard: None,
            unanswered: 0,
            alive: true,
        }
    }

    fn asked(&mut self, now: Duration) {
        self.heard.get_or_insert(now);
        self.unanswered = self.unanswered.saturating_add(1);
        // In step with the others, however late we are.
        let late = now.saturating_sub(self.due).as_micros() / PROBE_EVERY.as_micros();
        self.due += PROBE_EVERY * (1 + late as u32);
    }

    /// Notes that it is lost, if it is by now.
    fn give_up(&mut self, now: Duration) -> bool {
        let silent = self.silent_at().is_some_and(|at| at <= now);
        let lost = self.alive && silent && self.unanswered >= UNANSWERED;
        self.alive &= !lost;
        lost
    }

    fn silent_at(&self) -> Option<Duration> {
        self.heard.map(|heard| heard + SILENCE)
    }

    fn deadline(&self) -> Duration {
        match self.silent_at() {
            Some(at) if self.alive && self.unanswered >= UNANSWERED => self.due.min(at),
            _ => self.due,
        }
    }

    /// Of `share`; SplitMix64's finish (Steele, Lea and Flood, 2014).
    fn rank(&self, share: u64) -> u64 {
        let mixed = self.weight ^ share.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(count: u16) -> Vec<SocketAddr> {
        let address = |port| SocketAddr::from(([192, 0, 2, 1], port));
        (1..=count).map(address).collect()
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn picks(hops: &NextHops) -> Vec<SocketAddr> {
        let hash = |slot: u64| slot << 32;
        (0..SLOTS as u64)
            .map(|slot| hops.pick(hash(slot)))
            .collect()
    }

    /// From `start` to `end`, a millisecond at a time; all but `dead` answer at once.
    fn run(
        hops: &mut NextHops,
        start: u64,
        end: u64,
        dead: &[SocketAddr],
    ) -> Vec<(u64, SocketAddr)> {
        let mut asked = Vec::new();
        for now in start..end {
            let before = asked.len();
            hops.probe(ms(now), |address| asked.push((now, address)));
            for (_, address) in &asked[before..] {
                if !dead.contains(address) {
                    let index = hops.hops.iter().position(|hop| hop.address == *address);
                    hops.answered(ms(now), index.unwrap());
                }
            }
        }
        asked
    }

    fn lost(hops: &NextHops) -> Vec<SocketAddr> {
        hops.states()
            .filter_map(|(address, alive)| (!alive).then_some(address))
            .collect()
    }

    #[test]
    fn every_relay_is_probed_20_times_a_second_and_not_all_at_once() {
        let all = addresses(5);
        let mut hops = NextHops::new(ms(0), &all, None);
        let asked = run(&mut hops, 0, 1000, &[]);
        for &address in &all {
            let times: Vec<_> = asked.iter().filter(|(_, to)| *to == address).collect();
            assert_eq!(times.len(), 20, "{address}");
            assert!(times.windows(2).all(|pair| pair[1].0 - pair[0].0 == 50));
        }
        let mut moments: Vec<_> = asked.iter().map(|(now, _)| now).collect();
        moments.dedup();
        assert_eq!(moments.len(), asked.len(), "each at a moment of its own");
        assert_eq!(lost(&hops), []);
    }

    #[test]
    fn a_silent_relay_is_lost_after_200_ms_and_only_its_flows_move() {
        let all = addresses(4);
        let mut hops = NextHops::new(ms(0), &all, None);
        run(&mut hops, 0, 500, &[]);
        let before = picks(&hops);
        let dead = all[2];
        let mut lost_at = None;
        for now in 500..1000 {
            run(&mut hops, now, now + 1, &[dead]);
            if lost_at.is_none() && lost(&hops) == [dead] {
                lost_at = Some(now);
            }
        }
        assert!((650..=700).contains(&lost_at.unwrap()), "{lost_at:?}");
        for (before, after) in before.iter().zip(picks(&hops)) {
            assert_ne!(after, dead);
            assert!(*before == dead || *before == after);
        }
        // It comes back, and so do its flows.
        run(&mut hops, 1000, 1060, &[]);
        assert_eq!(picks(&hops), before);
    }

    #[test]
    fn flows_are_shared_out_evenly() {
        for count in [1, 2, 3, 4, 8, 16] {
            let all = addresses(count);
            let picks = picks(&NextHops::new(ms(0), &all, None));
            for address in all {
                let share = picks.iter().filter(|&&picked| picked == address).count();
                let fair = SLOTS / usize::from(count);
                assert!(
                    (fair * 6 / 10..=fair * 15 / 10).contains(&share),
                    "{share} of {fair}"
                );
            }
        }
    }

    #[test]
    fn when_all_are_lost_all_are_tried() {
        let all = addresses(3);
        let mut hops = NextHops::new(ms(0), &all, None);
        let before = picks(&hops);
        run(&mut hops, 0, 1000, &all);
        assert_eq!(lost(&hops), all);
        assert_eq!(picks(&hops), before);
        // The first that answers gets everything.
        hops.answered(ms(1000), 1);
        assert!(picks(&hops).iter().all(|&picked| picked == all[1]));
    }

    #[test]
    fn a_relay_that_never_answers_has_200_ms_from_its_first_probe() {
        let all = addresses(2);
        let mut hops = NextHops::new(ms(0), &all, None);
        run(&mut hops, 0, 200, &all[..1]);
        assert_eq!(lost(&hops), []);
        run(&mut hops, 200, 201, &all[..1]);
        assert_eq!(lost(&hops), [all[0]]);
    }

    #[test]
    fn an_edge_that_stood_still_does_not_blame_its_relays() {
        let all = addresses(3);
        let mut hops = NextHops::new(ms(0), &all, None);
        run(&mut hops, 0, 500, &[]);
        let mut asked = Vec::new();
        assert!(!hops.probe(ms(5000), |address| asked.push(address)));
        assert_eq!(asked, all, "once each, whatever was missed");
        assert_eq!(lost(&hops), []);
    }

    #[test]
    fn what_is_known_of_a_relay_outlives_a_change_of_the_others() {
        let all = addresses(3);
        let mut hops = NextHops::new(ms(0), &all, None);
        run(&mut hops, 0, 1000, &all[..1]);
        assert_eq!(lost(&hops), [all[0]]);
        let more = addresses(4);
        let mut hops = NextHops::new(ms(1000), &more, Some(hops));
        assert_eq!(lost(&hops), [all[0]]);
        let asked = run(&mut hops, 1000, 1050, &all[..1]);
        assert_eq!(asked.len(), 4);
        let hops = NextHops::new(ms(1050), &all[1..], Some(hops));
        assert_eq!(lost(&hops), []);
        assert!(!picks(&hops).contains(&all[0]));
    }

    #[test]
    fn the_largest_table_is_probed_and_shared_out_too() {
        let all = addresses(256);
        let mut hops = NextHops::new(ms(0), &all, None);
        run(&mut hops, 0, 300, &all[..255]);
        assert_eq!(lost(&hops).len(), 255);
        assert!(picks(&hops).iter().all(|&picked| picked == all[255]));
    }
}
