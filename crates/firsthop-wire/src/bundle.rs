//! Several records for one hop in one datagram, and several such datagrams in one train: the
//! largest saving of relay and transceiver alike.
//!
//! A train is made for UDP GSO, which parts it into datagrams of one size: each but the last is
//! filled with zeros to [`STRIDE`], as RE1 allows (`docs/wire-format.md`). Only packets that are
//! there together leave together, so bundling adds no waiting.

use std::net::{Ipv4Addr, SocketAddr};

use crate::MAX_CLIENT_DATAGRAM;
use crate::hop::{MAX_HEADER_LEN, SealedHeader};

/// A datagram grows to this many bytes: below every usual MTU, with room for tunnels. One with a
/// single record may be longer.
pub const STRIDE: usize = 1400;

/// The most datagrams in a train: 63,000 bytes, below what the kernel takes as one (65,507).
pub const MAX_SEGMENTS: usize = 45;

/// Hops with an open train at a time. A batch for more of them bundles less.
const MAX_OPEN: usize = 64;

/// One datagram, or several that leave as one, to the same hop.
#[derive(Debug)]
pub struct Train {
    /// The next hop.
    pub to: SocketAddr,
    /// Packets of clients in it.
    pub packets: u64,
    /// Their bytes, without headers and padding.
    pub bytes: u64,
    contents: Vec<u8>,
    datagrams: usize,
}

impl Train {
    /// The datagrams, one behind the other.
    #[must_use]
    pub fn contents(&self) -> &[u8] {
        &self.contents
    }

    /// Bytes of each datagram, of which the last may be shorter; `None` when there is only one.
    #[must_use]
    pub fn segment_size(&self) -> Option<u16> {
        (self.datagrams > 1).then_some(STRIDE as u16)
    }

    /// How many datagrams it is.
    #[must_use]
    pub fn datagrams(&self) -> u64 {
        self.datagrams as u64
    }

    fn new() -> Self {
        Self {
            to: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            packets: 0,
            bytes: 0,
            contents: Vec::with_capacity(MAX_CLIENT_DATAGRAM + MAX_HEADER_LEN),
            datagrams: 0,
        }
    }

    fn clear(&mut self) {
        self.contents.clear();
        (self.packets, self.bytes, self.datagrams) = (0, 0, 0);
    }

    /// Gives it to `send`, and begins anew.
    fn leave(&mut self, send: &mut impl FnMut(&Self)) {
        if self.packets > 0 {
            send(self);
            self.clear();
        }
    }

    fn push(&mut self, header: &SealedHeader, packet: &[u8], send: &mut impl FnMut(&Self)) {
        let length = header.len() + packet.len();
        let room = self.datagrams * STRIDE - self.contents.len();
        if length > room {
            if length > STRIDE || self.datagrams == MAX_SEGMENTS {
                self.leave(send);
            }
            self.contents.resize(self.datagrams * STRIDE, 0);
            self.datagrams += 1;
        }
        header.write_record(packet, &mut self.contents);
        self.packets += 1;
        self.bytes += packet.len() as u64;
        if length > STRIDE {
            self.leave(send);
        }
    }
}

/// Collects the records of one batch. Its buffers live as long as it does: after the first
/// batches nothing is allocated.
#[derive(Debug, Default)]
pub struct Bundler {
    /// The first `open` are in use; the others keep their buffers for later.
    trains: Vec<Train>,
    open: usize,
    /// The train that was pushed to last: the next packet is mostly for the same hop.
    last: usize,
}

impl Bundler {
    /// Appends a record for `to`; whatever is complete goes to `send`. Records for one hop keep
    /// their order.
    ///
    /// # Panics
    /// When `packet` exceeds 65535 bytes, which no UDP payload does.
    pub fn push(
        &mut self,
        to: SocketAddr,
        header: &SealedHeader,
        packet: &[u8],
        mut send: impl FnMut(&Train),
    ) {
        let open = &self.trains[..self.open];
        if open.get(self.last).is_none_or(|last| last.to != to) {
            let known = open.iter().position(|train| train.to == to);
            self.last = known.unwrap_or_else(|| self.start(to, &mut send));
        }
        self.trains[self.last].push(header, packet, &mut send);
    }

    /// Gives what is left to `send`; to be called at the end of each batch.
    pub fn flush(&mut self, mut send: impl FnMut(&Train)) {
        for train in &mut self.trains[..self.open] {
            train.leave(&mut send);
        }
        self.open = 0;
    }

    fn start(&mut self, to: SocketAddr, send: &mut impl FnMut(&Train)) -> usize {
        if self.open == MAX_OPEN {
            self.flush(send);
        }
        if self.open == self.trains.len() {
            self.trains.push(Train::new());
        }
        let index = self.open;
        self.open += 1;
        self.trains[index].to = to;
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hop::{self, Direction, Flags, HOP_LIMIT, Header, HopSecrets};
    use crate::noise::Noise;

    fn hop(number: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], number))
    }

    fn header() -> SealedHeader {
        let mut secrets = HopSecrets::default();
        secrets.insert(0, &[1; 32]);
        let header = Header {
            direction: Direction::Up,
            flags: Flags::default(),
            key_id: 0,
            hop_limit: HOP_LIMIT,
            tick: 0,
            client: SocketAddr::from(([192, 0, 2, 1], 5000)),
            ingress: 0,
            return_hop: None,
        };
        header.seal(&secrets.pair(0, hop(1)).unwrap())
    }

    /// A train as its receiver sees it: the packets of each datagram.
    type Sent = (SocketAddr, Vec<Vec<Vec<u8>>>);

    /// Pushes packets of (hop, length, first byte) and returns what is sent.
    fn run(packets: &[(u16, usize, u8)]) -> Vec<Sent> {
        let mut bundler = Bundler::default();
        let mut sent = Vec::new();
        let mut send = |train: &Train| sent.push((train.to, unpack(train)));
        for &(number, length, byte) in packets {
            bundler.push(hop(number), &header(), &vec![byte; length], &mut send);
        }
        bundler.flush(&mut send);
        bundler.flush(&mut send);
        sent
    }

    /// The packets of each datagram; checks what a train says of itself.
    fn unpack(train: &Train) -> Vec<Vec<Vec<u8>>> {
        let contents = train.contents();
        let size = train.segment_size().map_or(contents.len(), usize::from);
        let datagrams: Vec<Vec<_>> = contents
            .chunks(size)
            .map(|datagram| {
                hop::records(datagram)
                    .map(|record| record.unwrap().payload.to_vec())
                    .collect()
            })
            .collect();
        let packets: Vec<_> = datagrams.iter().flatten().collect();
        assert_eq!(datagrams.len() as u64, train.datagrams());
        assert_eq!(packets.len() as u64, train.packets);
        let bytes: usize = packets.iter().map(|packet| packet.len()).sum();
        assert_eq!(bytes as u64, train.bytes);
        assert!(size <= STRIDE || train.packets == 1);
        assert!(contents.len() <= 65_507);
        datagrams
    }

    /// The first byte of each packet: by train, by datagram.
    fn first_bytes(sent: &[Sent]) -> Vec<Vec<Vec<u8>>> {
        let of_datagram = |packets: &Vec<Vec<u8>>| packets.iter().map(|packet| packet[0]).collect();
        sent.iter()
            .map(|(_, datagrams)| datagrams.iter().map(of_datagram).collect())
            .collect()
    }

    #[test]
    fn packets_for_one_hop_share_a_datagram() {
        let sent = run(&[(1, 100, 1), (2, 100, 2), (1, 100, 3)]);
        assert_eq!(sent.len(), 2);
        assert_eq!(sent[0], (hop(1), vec![vec![vec![1; 100], vec![3; 100]]]));
        assert_eq!(sent[1], (hop(2), vec![vec![vec![2; 100]]]));
    }

    #[test]
    fn no_record_straddles_two_datagrams() {
        let sent = run(&[(1, 700, 1), (1, 640, 2), (1, 700, 3), (1, 700, 4)]);
        assert_eq!(first_bytes(&sent), [vec![vec![1, 2], vec![3], vec![4]]]);
    }

    #[test]
    fn a_datagram_grows_to_its_bound_and_not_a_byte_further() {
        let half = STRIDE / 2 - header().len();
        let datagrams = |sent: Vec<Sent>| sent[0].1.len();
        assert_eq!(datagrams(run(&[(1, half, 1), (1, half, 2)])), 1);
        assert_eq!(datagrams(run(&[(1, half, 1), (1, half + 1, 2)])), 2);
    }

    #[test]
    fn all_but_the_last_are_padded_to_the_stride() {
        let mut bundler = Bundler::default();
        let mut never = |_: &Train| panic!("nothing is complete");
        for length in [1000, 900, 300, 1200] {
            bundler.push(hop(1), &header(), &vec![1; length], &mut never);
        }
        let mut lengths = Vec::new();
        bundler.flush(|train| {
            assert_eq!(train.segment_size(), Some(1400));
            let contents = train.contents();
            assert!(
                contents[1000 + header().len()..1400]
                    .iter()
                    .all(|&byte| byte == 0)
            );
            lengths.extend(contents.chunks(1400).map(<[u8]>::len));
        });
        assert_eq!(lengths, [1400, 1400, 1200 + header().len()]);
    }

    #[test]
    fn a_single_datagram_is_no_train() {
        let mut bundler = Bundler::default();
        bundler.push(hop(1), &header(), b"packet", |_| panic!("not complete"));
        bundler.flush(|train| {
            assert_eq!((train.segment_size(), train.datagrams()), (None, 1));
            assert_eq!(train.contents().len(), header().len() + 6);
        });
    }

    #[test]
    fn a_record_beyond_the_stride_leaves_alone_and_in_order() {
        let longest = STRIDE - header().len();
        let sent = run(&[
            (1, 10, 1),
            (1, longest + 1, 2),
            (1, 10, 3),
            (1, longest, 4),
            (1, 1500, 5),
            (1, 1500, 6),
            (1, 10, 7),
        ]);
        assert_eq!(
            first_bytes(&sent),
            [
                vec![vec![1]],
                vec![vec![2]],
                vec![vec![3], vec![4]],
                vec![vec![5]],
                vec![vec![6]],
                vec![vec![7]],
            ]
        );
    }

    #[test]
    fn a_full_train_leaves_before_the_next_begins() {
        // Two to a datagram.
        let packets: Vec<_> = (0..MAX_SEGMENTS * 2 + 3)
            .map(|n| (1, 600, n as u8))
            .collect();
        let sent = run(&packets);
        let datagrams: Vec<_> = sent.iter().map(|(_, datagrams)| datagrams.len()).collect();
        assert_eq!(datagrams, [45, 2]);
        let bytes = first_bytes(&sent).concat().concat();
        assert!(bytes.into_iter().eq(0..93));
    }

    #[test]
    fn more_hops_than_open_trains_lose_no_packet() {
        let packets: Vec<_> = (0..250)
            .map(|number| (1 + number % 100, 60, number as u8))
            .collect();
        let sent = run(&packets);
        for number in 1..=100 {
            let to = sent.iter().filter(|(to, _)| *to == hop(number)).cloned();
            let bytes = first_bytes(&to.collect::<Vec<_>>()).concat().concat();
            let expected = packets.iter().filter(|(to, ..)| *to == number);
            assert!(bytes.into_iter().eq(expected.map(|&(.., byte)| byte)));
        }
    }

    #[test]
    fn any_mix_comes_whole_and_in_order() {
        let mut noise = Noise(45);
        for _ in 0..30 {
            let packets: Vec<_> = (0..noise.below(2000))
                .map(|number| {
                    let longest = [20, 200, 1600][noise.below(3)];
                    (
                        noise.below(90) as u16,
                        1 + noise.below(longest),
                        number as u8,
                    )
                })
                .collect();
            let sent = run(&packets);
            for number in 0..90 {
                let to = sent.iter().filter(|(to, _)| *to == hop(number));
                let arrived = to.flat_map(|(_, datagrams)| datagrams.iter().flatten());
                let expected = packets.iter().filter(|(to, ..)| *to == number);
                assert!(
                    arrived
                        .map(|p| (p.len(), p[0]))
                        .eq(expected.map(|&(_, l, b)| (l, b)))
                );
            }
        }
    }

    #[test]
    fn buffers_are_used_again() {
        let mut bundler = Bundler::default();
        let mut addresses = Vec::new();
        for _ in 0..3 {
            for number in 0..5 {
                for _ in 0..200 {
                    bundler.push(hop(number), &header(), &[1; 300], |_| {});
                }
            }
            let buffers = bundler.trains.iter();
            addresses.push(
                buffers
                    .map(|train| train.contents.as_ptr())
                    .collect::<Vec<_>>(),
            );
            bundler.flush(|_| {});
        }
        assert_eq!(addresses[0], addresses[1]);
        assert_eq!(addresses[1], addresses[2]);
    }
}
