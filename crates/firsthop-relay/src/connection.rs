//! One client's TCP connection: frames in, frames out, and what is due by when. The stream and
//! the time come in from outside; that a test's stream is no socket makes no difference here.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::time::Duration;

use crate::backlog::Backlog;
use crate::frame::{Deframer, Oversize};
use crate::label::labels;

/// A client's first frame is complete so soon after it connected: it is its binding request, and
/// clients connect to send one.
pub(crate) const FIRST_FRAME_WITHIN: Duration = Duration::from_secs(5);

/// A frame is complete so soon after it began.
pub(crate) const FRAME_WITHIN: Duration = Duration::from_secs(5);

/// An owner has answered so soon after the client connected: the token was good, and the session
/// is there.
pub(crate) const CONFIRMED_WITHIN: Duration = Duration::from_secs(10);

/// A client takes at least a byte of what waits for it in so long.
pub(crate) const TAKEN_WITHIN: Duration = Duration::from_secs(10);

labels! {
    /// Why a client's TCP connection ended.
    Closing {
        /// The client closed it.
        Client = "client",
        /// The client or the network broke it.
        Reset = "reset",
        /// The client sent a frame that is longer than any packet of a client.
        Oversize = "oversize",
        /// The client connected, and sent no frame.
        Silent = "silent",
        /// The client began a frame, and did not complete it in time.
        SlowFrame = "slow_frame",
        /// No owner answered the client.
        Unconfirmed = "unconfirmed",
        /// The client did not take what was sent to it.
        Stalled = "stalled",
        /// Nothing passed either way.
        Idle = "idle",
    }
}

impl Closing {
    /// Whether it was us who closed it.
    pub(crate) fn is_ours(self) -> bool {
        !matches!(self, Self::Client | Self::Reset)
    }
}

/// A connection over a nonblocking stream.
pub(crate) struct Connection<S> {
    stream: S,
    deframer: Deframer,
    backlog: Backlog,
    accepted: Duration,
    /// When the incomplete frame began.
    begun: Option<Duration>,
    /// The client has sent a frame.
    spoke: bool,
    /// An owner has answered: see [`CONFIRMED_WITHIN`].
    confirmed: bool,
    /// When a frame last passed, either way.
    active: Duration,
    /// Since when the client takes nothing.
    stalled: Option<Duration>,
    /// Frames that the backlog has lost, not counted yet.
    lost: u64,
}

impl<S: Read + Write> Connection<S> {
    /// A connection that was accepted at `now`.
    pub(crate) fn new(now: Duration, stream: S) -> Self {
        Self {
            stream,
            deframer: Deframer::default(),
            backlog: Backlog::default(),
            accepted: now,
            begun: None,
            spoke: false,
            confirmed: false,
            active: now,
            stalled: None,
            lost: 0,
        }
    }

    /// The stream below.
    pub(crate) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Reads once into `buffer`, and passes each packet that is complete to `each`. Whether more
    /// may be waiting.
    ///
    /// # Errors
    /// [`Closing`]: the connection is over.
    pub(crate) fn read(
        &mut self,
        now: Duration,
        buffer: &mut [u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<bool, Closing> {
        let length = match self.stream.read(buffer) {
            Ok(0) => return Err(Closing::Client),
            Ok(length) => length,
            Err(error) => {
                return match error.kind() {
                    ErrorKind::WouldBlock => Ok(false),
                    ErrorKind::Interrupted => Ok(true),
                    _ => Err(Closing::Reset),
                };
            }
        };
        let mut frames = 0_usize;
        let pushed = self.deframer.push(&buffer[..length], |packet| {
            frames += 1;
            each(packet);
        });
        pushed.map_err(|Oversize| Closing::Oversize)?;
        if frames > 0 {
            self.spoke = true;
            self.active = now;
            self.begun = None;
        }
        self.begun = match self.deframer.is_within_a_frame() {
            true => self.begun.or(Some(now)),
            false => None,
        };
        // Even when the buffer was not filled: the end of the stream is told only to who reads on.
        Ok(true)
    }

    /// Sends `packet`, of at most 65,535 bytes, as one frame: now, or when the client takes it. It
    /// may be lost later, as [`Connection::take_lost`] tells.
    ///
    /// # Errors
    /// [`Closing`]: the connection is over.
    pub(crate) fn send(&mut self, now: Duration, packet: &[u8]) -> Result<(), Closing> {
        self.confirmed = true;
        self.active = now;
        self.lost += self.backlog.lose_late(now) as u64;
        let length = (packet.len() as u16).to_be_bytes();
        let mut written = 0;
        if self.backlog.is_empty() {
            let slices = [IoSlice::new(&length), IoSlice::new(packet)];
            written = self.written(now, |connection| connection.stream.write_vectored(&slices))?;
        }
        if written < length.len() + packet.len() {
            self.lost += self.backlog.push(now, [&length, packet], written) as u64;
            self.stalled = self.stalled.or(Some(now));
        }
        Ok(())
    }

    /// Writes what waits, as far as the stream takes it: to be called when it takes more.
    ///
    /// # Errors
    /// [`Closing`]: the connection is over.
    pub(crate) fn flush(&mut self, now: Duration) -> Result<(), Closing> {
        self.lost += self.backlog.lose_late(now) as u64;
        while !self.backlog.is_empty() {
            let written = self.written(now, |connection| {
                connection.backlog.write_to(&mut connection.stream)
            })?;
            if written == 0 {
                return Ok(());
            }
        }
        // It would take something, if there were anything left.
        self.stalled = None;
        Ok(())
    }

    /// Why the connection is to be closed at `now`, if it is. `idle` is how long it may rest.
    pub(crate) fn overdue(&self, now: Duration, idle: Duration) -> Option<Closing> {
        let past = |since: Duration, limit: Duration| now.saturating_sub(since) >= limit;
        if self.begun.is_some_and(|begun| past(begun, FRAME_WITHIN)) {
            Some(Closing::SlowFrame)
        } else if !self.spoke && past(self.accepted, FIRST_FRAME_WITHIN) {
            Some(Closing::Silent)
        } else if !self.confirmed && past(self.accepted, CONFIRMED_WITHIN) {
            Some(Closing::Unconfirmed)
        } else if self
            .stalled
            .is_some_and(|stalled| past(stalled, TAKEN_WITHIN))
        {
            Some(Closing::Stalled)
        } else if past(self.active, idle) {
            Some(Closing::Idle)
        } else {
            None
        }
    }

    /// Frames that were sent and lost since the last call: the client was too slow for them.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Writes once; how many bytes the stream took, 0 when it takes none now.
    fn written(
        &mut self,
        now: Duration,
        mut write: impl FnMut(&mut Self) -> io::Result<usize>,
    ) -> Result<usize, Closing> {
        loop {
            match write(self) {
                Ok(0) => return Err(Closing::Reset),
                Ok(written) => {
                    self.stalled = None;
                    return Ok(written);
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => {
                        self.stalled = self.stalled.or(Some(now));
                        return Ok(0);
                    }
                    _ => return Err(Closing::Reset),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const IDLE: Duration = Duration::from_secs(35);

    /// A client at the other end, who takes `room` bytes more.
    #[derive(Default)]
    struct Peer {
        sent: VecDeque<u8>,
        got: Vec<u8>,
        room: usize,
        gone: bool,
    }

    impl Read for Peer {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.gone {
                return Err(ErrorKind::ConnectionReset.into());
            }
            if self.sent.is_empty() {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.sent.read(buffer)
        }
    }

    impl Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.gone {
                return Err(ErrorKind::BrokenPipe.into());
            }
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room -= taken;
            self.got.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let bytes: Vec<u8> = slices
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .collect();
            self.write(&bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn connection() -> Connection<Peer> {
        let peer = Peer {
            room: 10_000,
            ..Peer::default()
        };
        Connection::new(Duration::ZERO, peer)
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The client sends `bytes`; the packets that they complete.
    fn hear(connection: &mut Connection<Peer>, now: Duration, bytes: &[u8]) -> Vec<Vec<u8>> {
        connection.stream.sent.extend(bytes);
        let mut packets = Vec::new();
        let mut buffer = [0; 64];
        while connection
            .read(now, &mut buffer, |packet| packets.push(packet.to_vec()))
            .unwrap()
        {}
        packets
    }

    /// The first whole second at which it is overdue.
    fn fate(connection: &Connection<Peer>) -> (u64, Closing) {
        (0..)
            .find_map(|second| Some((second, connection.overdue(at(second), IDLE)?)))
            .unwrap()
    }

    #[test]
    fn who_connects_and_says_nothing_is_closed() {
        assert_eq!(fate(&connection()), (5, Closing::Silent));
    }

    #[test]
    fn null_packets_say_nothing() {
        let mut connection = connection();
        for second in 0..5 {
            assert!(hear(&mut connection, at(second), &[0, 0, 0, 0]).is_empty());
        }
        assert_eq!(fate(&connection), (5, Closing::Silent));
    }

    #[test]
    fn a_frame_must_be_completed_in_time_and_bytes_do_not_buy_more() {
        let mut connection = connection();
        assert_eq!(hear(&mut connection, at(1), b"\0\x01a"), [b"a"]);
        connection.send(at(1), b"answer").unwrap();
        assert_eq!(fate(&connection), (36, Closing::Idle));
        for second in 2..7 {
            hear(&mut connection, at(second), b"\0");
        }
        // Two bytes were a null packet, as were two more: the last byte began a frame.
        assert_eq!(fate(&connection), (11, Closing::SlowFrame));
        let rest = [&[99][..], &[b'b'; 10]].concat();
        hear(&mut connection, at(10), &rest);
        assert_eq!(fate(&connection), (11, Closing::SlowFrame));
        assert_eq!(hear(&mut connection, at(10), &[b'b'; 89]).len(), 1);
        assert_eq!(fate(&connection), (45, Closing::Idle));
    }

    #[test]
    fn whoever_always_has_a_frame_begun_but_completes_them_stays() {
        let mut connection = connection();
        connection.send(at(0), b"answer").unwrap();
        hear(&mut connection, at(0), b"\0\x02a");
        for second in 1..100 {
            assert_eq!(hear(&mut connection, at(second), b"b\0\x02a").len(), 1);
            assert_eq!(connection.overdue(at(second), IDLE), None);
        }
    }

    #[test]
    fn a_client_whom_no_owner_answers_is_closed_however_much_it_sends() {
        let mut connection = connection();
        for second in 0..10 {
            hear(&mut connection, at(second), b"\0\x01a");
        }
        assert_eq!(fate(&connection), (10, Closing::Unconfirmed));
    }

    #[test]
    fn whatever_passes_either_way_keeps_it() {
        let mut connection = connection();
        hear(&mut connection, at(0), b"\0\x01a");
        connection.send(at(20), b"answer").unwrap();
        assert_eq!(fate(&connection), (55, Closing::Idle));
        hear(&mut connection, at(40), b"\0\x01a");
        assert_eq!(fate(&connection), (75, Closing::Idle));
    }

    #[test]
    fn frames_leave_with_their_length_before_them() {
        let mut connection = connection();
        connection.send(at(0), b"one").unwrap();
        connection.send(at(0), b"two").unwrap();
        assert_eq!(connection.stream.got, b"\0\x03one\0\x03two");
    }

    #[test]
    fn a_slow_reader_loses_whole_late_frames_and_gets_whole_fresh_ones() {
        let mut connection = connection();
        hear(&mut connection, at(0), b"\0\x01a");
        connection.stream.room = 3;
        for now in 0..4 {
            connection.send(at(now), &[b'0' + now as u8; 4]).unwrap();
        }
        assert_eq!(connection.stream.got, b"\0\x040");
        connection.stream.room = 100;
        connection.flush(at(4)).unwrap();
        assert_eq!(connection.stream.got, b"\0\x040000\0\x043333");
        assert_eq!((connection.take_lost(), connection.take_lost()), (2, 0));
        assert_eq!(fate(&connection), (38, Closing::Idle));
    }

    #[test]
    fn who_takes_nothing_is_closed_though_all_that_waited_is_too_late_now() {
        let mut connection = connection();
        hear(&mut connection, at(0), b"\0\x01a");
        connection.stream.room = 0;
        for now in 1..=11 {
            connection.send(at(now), b"answer").unwrap();
            hear(&mut connection, at(now), b"\0\x01a");
        }
        assert_eq!(fate(&connection), (11, Closing::Stalled));
        connection.stream.room = 1;
        connection.flush(at(11)).unwrap();
        assert_eq!(fate(&connection), (21, Closing::Stalled));
    }

    #[test]
    fn a_broken_stream_ends_it_from_either_side() {
        let mut broken = connection();
        broken.stream.gone = true;
        assert_eq!(broken.read(at(0), &mut [0; 8], |_| ()), Err(Closing::Reset));
        assert_eq!(broken.send(at(0), b"answer"), Err(Closing::Reset));
    }
}
