//! Keys that the client presses: telephone events (RFC 4733), each reported once.
//!
//! An event is told of by several packets, all with the time at which it began, so that some may be
//! lost. Takes RTP packets; no I/O, no clock.

const NAMES: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D',
];
/// Event, flags and volume, duration in two bytes (RFC 4733 §2.3).
const REPORT_BYTES: usize = 4;

/// The keys of one stream.
#[derive(Default)]
pub(crate) struct Digits {
    latest: Option<u64>,
}

impl Digits {
    /// Takes one packet, with its extended RTP time. Returns the key, if it is a new one.
    pub(crate) fn push(&mut self, rtp_time: u64, payload: &[u8]) -> Option<char> {
        let digit = *NAMES.get(usize::from(*payload.first()?))?;
        if payload.len() < REPORT_BYTES || self.latest.is_some_and(|latest| rtp_time <= latest) {
            return None;
        }
        self.latest = Some(rtp_time);
        Some(digit)
    }

    /// Starts over with a stream that has another clock.
    pub(crate) fn restart(&mut self) {
        self.latest = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(event: u8, end: bool, duration: u16) -> [u8; 4] {
        let [high, low] = duration.to_be_bytes();
        [event, u8::from(end) << 7 | 10, high, low]
    }

    #[test]
    fn a_key_is_told_once_whichever_of_its_packets_come() {
        let mut digits = Digits::default();
        assert_eq!(digits.push(1000, &report(5, false, 960)), Some('5'));
        for duration in [1920, 2880, 2880] {
            assert_eq!(digits.push(1000, &report(5, true, duration)), None);
        }
        // Of the next one, all but the last are lost; and one of the first comes late.
        assert_eq!(digits.push(9000, &report(11, true, 4800)), Some('#'));
        assert_eq!(digits.push(1000, &report(5, true, 2880)), None);
    }

    #[test]
    fn the_same_key_twice_is_two_keys() {
        let mut digits = Digits::default();
        assert_eq!(digits.push(0, &report(0, false, 960)), Some('0'));
        assert_eq!(digits.push(4800, &report(0, false, 960)), Some('0'));
    }

    #[test]
    fn other_events_and_fragments_are_none() {
        let mut digits = Digits::default();
        for payload in [
            &report(16, false, 960)[..],
            &report(255, false, 960),
            &[1, 2, 3],
            &[],
        ] {
            assert_eq!(digits.push(0, payload), None);
        }
        assert_eq!(digits.push(0, &report(15, false, 960)), Some('D'));
    }
}
