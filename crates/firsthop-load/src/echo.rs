//! What of a caller's own packets came back, where a server returns them as they are. No I/O.
//!
//! A server that sends on what comes to it hides what it missed: its own sequence numbers have no
//! gap. But payloads tell which packet came back, and the order tells which ones did not.

use std::collections::VecDeque;
use std::sync::Arc;

/// Packets that may be on their way, there and back: 5 s of 20 ms each. Older ones are given up.
const MAX_UNDER_WAY: usize = 256;
/// So many strangers' packets in a row, and this is no server that returns ours.
const MAX_STRANGERS: u32 = 100;

/// A packet that was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its payload.
    pub payload: Arc<[u8]>,
    /// No other packet of the loop has the same payload, as those of silence have.
    pub alone: bool,
}

/// The books of one caller.
#[derive(Debug, Default)]
pub struct Echo {
    under_way: VecDeque<Sent>,
    /// Sent before all of `under_way`, since something came back.
    given_up: u64,
    strangers: u32,
    /// A packet came back that is like no other: from then on it is known which one is next.
    sure: bool,
    returned: u64,
    missing: u64,
}

impl Echo {
    /// Takes a packet that is sent.
    pub fn sent(&mut self, sent: Sent) {
        if self.strangers >= MAX_STRANGERS {
            return;
        }
        if self.under_way.len() == MAX_UNDER_WAY {
            self.under_way.pop_front();
            self.given_up += 1;
        }
        self.under_way.push_back(sent);
    }

    /// Takes the payload of a packet that came, newer than all before.
    pub fn came(&mut self, payload: &[u8]) {
        if self.strangers >= MAX_STRANGERS {
            return;
        }
        let is_it = |sent: &Sent| *sent.payload == *payload;
        // Of equal ones the oldest: it came back no earlier, and the next one that is like no other
        // tells what is missing.
        let Some(place) = self.under_way.iter().position(is_it) else {
            self.strangers += 1;
            if self.strangers == MAX_STRANGERS {
                self.under_way = VecDeque::new();
            }
            return;
        };
        self.strangers = 0;
        let alone = self.under_way[place].alone;
        self.under_way.drain(..=place);
        let skipped = place as u64 + std::mem::take(&mut self.given_up);
        if self.sure {
            self.returned += 1;
            self.missing += skipped;
        } else if alone {
            self.sure = true;
            self.returned += 1;
        }
    }

    /// Takes note that a packet came after a later one: it was missing until then.
    pub fn came_late(&mut self) {
        if self.sure && self.missing > 0 {
            self.missing -= 1;
            self.returned += 1;
        }
    }

    /// Begins to count anew, as soon as it is sure again.
    pub fn restart(&mut self) {
        self.sure = false;
        self.returned = 0;
        self.missing = 0;
    }

    /// Packets that came back.
    #[must_use]
    pub fn returned(&self) -> u64 {
        self.returned
    }

    /// Packets that did not come back, of those before the newest one that did.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(number: u8) -> Sent {
        Sent {
            payload: Arc::from([number]),
            // Silence.
            alone: number != 0,
        }
    }

    fn echo(packets: &[u8]) -> Echo {
        let mut echo = Echo::default();
        for &number in packets {
            echo.sent(sent(number));
        }
        echo
    }

    fn books(echo: &Echo) -> (u64, u64) {
        (echo.returned(), echo.missing())
    }

    #[test]
    fn what_is_skipped_is_missing_and_what_is_under_way_is_not() {
        let mut echo = echo(&[1, 2, 3, 4, 5, 6]);
        for number in [1, 2, 4] {
            echo.came(&[number]);
        }
        assert_eq!(books(&echo), (3, 1));
        echo.came_late();
        assert_eq!(books(&echo), (4, 0));
    }

    #[test]
    fn nothing_is_missing_from_before_it_is_sure_which_one_came() {
        // The server was not there for the first two, and silence looks all the same.
        let mut echo = echo(&[0, 0, 0, 0, 7, 8]);
        for number in [0, 0, 7, 8] {
            echo.came(&[number]);
        }
        assert_eq!(books(&echo), (2, 0));
    }

    #[test]
    fn what_is_missing_of_silence_is_told_after_it() {
        let mut echo = echo(&[7, 0, 0, 0, 0, 8]);
        for number in [7, 0, 0, 0] {
            echo.came(&[number]);
        }
        assert_eq!(books(&echo), (4, 0));
        echo.came(&[8]);
        assert_eq!(books(&echo), (5, 1));
    }

    #[test]
    fn a_long_outage_is_counted_once_it_is_over() {
        let mut echo = echo(&[1]);
        echo.came(&[1]);
        for _ in 0..2 * MAX_UNDER_WAY {
            echo.sent(sent(2));
        }
        assert_eq!(books(&echo), (1, 0));
        echo.sent(sent(3));
        echo.came(&[3]);
        assert_eq!(books(&echo), (2, 2 * MAX_UNDER_WAY as u64));
    }

    #[test]
    fn counting_begins_anew_with_one_that_is_like_no_other() {
        let mut echo = echo(&[1, 2, 3, 0, 0, 4, 5, 6]);
        echo.came(&[1]);
        echo.came(&[3]);
        echo.restart();
        assert_eq!(books(&echo), (0, 0));
        // One of silence was lost in between, nobody knows when.
        echo.came(&[0]);
        echo.came(&[4]);
        echo.came(&[6]);
        assert_eq!(books(&echo), (2, 1));
    }

    #[test]
    fn who_answers_in_other_words_returns_nothing() {
        let mut echo = echo(&[1, 2, 3]);
        for _ in 0..MAX_STRANGERS {
            echo.came(&[99]);
        }
        echo.sent(sent(4));
        echo.came(&[4]);
        echo.came_late();
        assert_eq!(books(&echo), (0, 0));
    }
}
